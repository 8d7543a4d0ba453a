//! Many subscribers of one publisher: what an idle one takes, and how soon a change is with all.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::Context;
use cluster_registry::store::Cursor;
use mesh_link::event::{PeerEvent, Report, SessionId};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Found, Size,
    ends::{PATIENCE, Publisher, dialer},
    millis,
    world::World,
};
use crate::task::load::usage::{Busy, resident_bytes};

/// The subscribers: both ends of a thousand, each with ten heartbeats a second, are more than two cores carry.
const SUBSCRIBERS: usize = 500;

/// How many of them dial at once, so that none is turned away.
const AT_ONCE: usize = 50;

/// How long they are left alone, but for heartbeats.
const IDLE: Duration = Duration::from_secs(5);

/// Changes, one after the other.
const CHANGES: u32 = 100;

/// The time between two changes.
const PAUSE: Duration = Duration::from_millis(50);

/// What they take and how soon all of them have a change.
pub(super) async fn subscribers(size: Size) -> anyhow::Result<Found> {
    let world = World::create()?;
    let publisher = Publisher::start(&world, 0, size)?;
    let (events, mut reports) = mpsc::channel(4 * SUBSCRIBERS);
    let newest = publisher.newest();
    let before = resident_bytes()?;
    for _ in 0..SUBSCRIBERS / AT_ONCE {
        for _ in 0..AT_ONCE {
            let (cluster, address) = (&publisher.cluster, publisher.address);
            let dialer = dialer(&world, cluster, address, events.clone())?;
            tokio::spawn(dialer.run(CancellationToken::new()));
        }
        all_have(&mut reports, newest, AT_ONCE).await?;
    }
    let each = (resident_bytes()? - before) / SUBSCRIBERS as f64;
    let busy = Busy::start()?;
    tokio::time::sleep(IDLE).await;
    let mut found = vec![
        ("bytes_per_idle_session", each),
        ("idle_sessions_cpus", busy.cpus()?),
    ];
    for number in 0..CHANGES {
        tokio::time::sleep(PAUSE).await;
        let started = Instant::now();
        let newest = publisher.change([number]).await?;
        all_have(&mut reports, newest, SUBSCRIBERS).await?;
        found.push(("fanout_ms", millis(started.elapsed())));
    }
    Ok(found)
}

/// Waits until so many sessions have told everything up to a position.
async fn all_have(
    reports: &mut mpsc::Receiver<Report>,
    wanted: Cursor,
    count: usize,
) -> anyhow::Result<()> {
    let mut have: BTreeSet<SessionId> = BTreeSet::new();
    let waited = timeout(PATIENCE, async {
        while have.len() < count {
            let report = reports.recv().await.context("the sessions are gone")?;
            if let PeerEvent::Down { reason } = report.event {
                anyhow::bail!("a session has ended: {reason}");
            }
            if matches!(report.event, PeerEvent::Progress(cursor) if cursor == wanted) {
                have.insert(report.session);
            }
        }
        anyhow::Ok(())
    });
    waited.await.context("waiting for all subscribers")?
}
