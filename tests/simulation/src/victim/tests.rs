//! Tests of bounds: what one peer can cost, and what saying things again does.

use mesh_gateway_core::{limits::MAX_FRAME_BYTES, reason::Violation};

use super::*;
use crate::scenery;

#[test]
fn a_frame_of_a_gigabyte_ends_the_session_at_its_header() {
    for channel in [Channel::Control, Channel::Bulk] {
        let mut victim = Victim::new(LinkSpec::new(cluster_name(HOSTILE)));

        victim.send(channel, &(1_u32 << 30).to_be_bytes());

        let Some(DownReason::ProtocolViolation(violation)) = victim.ended else {
            panic!("{:?}", victim.ended);
        };
        let max = MAX_FRAME_BYTES;
        let length = 1 << 30;
        assert_eq!(violation, Violation::FrameTooLong { length, max });
    }
}

#[test]
fn a_frame_of_as_many_empty_updates_as_fit_ends_the_session() {
    let mut victim = Victim::new(LinkSpec::new(cluster_name(HOSTILE)));
    let updates = vec![wire::Update::default(); 20_000];

    victim.say(
        Channel::Bulk,
        Body::Updates(wire::Updates { updates, batch: 0 }),
    );

    let violation = DownReason::ProtocolViolation(Violation::TooManyUpdates);
    assert_eq!(victim.ended, Some(violation));
}

#[test]
fn a_snapshot_that_is_said_again_has_no_effect() {
    let mut victim = Victim::new(LinkSpec::new(cluster_name(HOSTILE)));
    say_all(&mut victim, 1);
    let (feed, picture) = (victim.gateway.registry.feed().cursor(), victim.picture());

    for _ in 0..3 {
        victim.reconnect();
        say_all(&mut victim, 1);
    }

    assert_eq!(victim.gateway.registry.feed().cursor(), feed);
    assert_eq!(victim.picture(), picture);
}

#[test]
fn half_a_snapshot_takes_nothing_away() {
    let mut victim = Victim::new(LinkSpec::new(cluster_name(HOSTILE)));
    say_all(&mut victim, 1);
    let picture = victim.picture();

    victim.reconnect();
    victim
        .gateway
        .registry
        .set_control(&cluster_name(HOSTILE), Control::Connected);

    assert_eq!(victim.picture(), picture);
}

#[test]
fn a_peer_that_floods_costs_no_more_than_its_limit() {
    let limits = cluster_registry::link::Limits {
        endpoints: 5_000,
        ..Default::default()
    };

    let flood = crate::flood(50_000, limits);

    assert_eq!(flood.held, 5_000);
    assert_eq!(flood.refused, 45_000);
    assert!(flood.is_degraded);
    let grown = flood.end_kib.saturating_sub(flood.full_kib);
    assert!(grown < 4096, "{grown} KiB more");
}

/// Everything that the peer has.
fn say_all(victim: &mut Victim, version: u16) {
    let sharing = cluster_registry::service::Sharing {
        global: true,
        shared: true,
        ..Default::default()
    };
    for (id, value) in [
        scenery::node(HOSTILE, 0, version),
        scenery::service(0, sharing, version),
        scenery::endpoint(HOSTILE, 0, 0, version),
        scenery::endpoint(HOSTILE, 0, 3, version),
    ] {
        victim.announce(HOSTILE, id, Some(value));
    }
    victim.end_snapshot();
    assert!(victim.refused.is_empty(), "{:?}", victim.refused);
}
