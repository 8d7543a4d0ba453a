//! What a full sync takes of memory at its height, beyond the state that it brings.

use super::{
    Found, Size,
    ends::{Publisher, Subscriber},
    world::{World, for_each_resource, west},
};
use crate::task::load::usage::{peak_bytes, reset_peak, total_resident_bytes};

/// Takes the state once as it stands, and then over a session.
pub(super) async fn extra(size: Size) -> anyhow::Result<Found> {
    let west = west(0)?;
    let before = total_resident_bytes()?;
    let mut reference = Subscriber::new()?;
    reference.link(&west);
    for_each_resource(0, size, |id, value| reference.hear(&west, id, value))?;
    let state = total_resident_bytes()? - before;
    let world = World::create()?;
    let publisher = Publisher::start(&world, 0, size)?;
    let mut subscriber = Subscriber::new()?;
    reset_peak()?;
    let before = total_resident_bytes()?;
    subscriber.dial(&world, &publisher, publisher.address)?;
    subscriber.until(publisher.newest()).await?;
    let extra = peak_bytes()? - before - state;
    // Were it freed before, it would make room for the other.
    drop(reference);
    let mib = f64::from(1 << 20);
    Ok(vec![
        ("full_sync_extra_mib", extra / mib),
        ("full_sync_state_mib", state / mib),
    ])
}
