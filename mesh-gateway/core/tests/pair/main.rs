//! Two sessions against each other: whatever happens to the connection, each ends with what the other has.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and tests need one real instant to count from"
)]

mod end;
mod world;

use std::{collections::BTreeMap, time::Duration};

use cluster_registry::resource::{Key, Resource};
use mesh_gateway_core::{
    reason::DownReason,
    session::{Channel, Features},
};
use proptest::prelude::*;
use world::{INTERVAL, LATENCY, Side, World, index};

#[test]
fn each_side_learns_what_the_other_has_and_then_each_change() {
    let mut world = filled();
    world.connect();
    world.run_for(SETTLED);
    assert_same(&world);

    world.change(Side::East, "s1", None);
    world.change(Side::East, "s2", Some(8080));
    world.change(Side::West, "new", Some(80));
    world.run_for(SETTLED);

    assert_same(&world);
    assert_eq!(world.end(Side::West).snapshots, 1);
}

#[test]
fn a_session_whose_peer_lives_stays_up() {
    let mut world = filled();
    world.connect();

    world.run_for(Duration::from_secs(600));

    assert!(world.end(Side::East).downs.is_empty());
    assert!(world.end(Side::West).downs.is_empty());
}

#[test]
fn a_cut_is_noticed_by_both_sides_after_three_intervals() {
    let mut world = filled();
    world.connect();
    world.run_for(SETTLED);
    let cut_at = world.now;

    world.cut();
    world.run_for(SETTLED);

    for side in Side::BOTH {
        let (at, reason) = world.end(side).downs.first().unwrap();
        assert_eq!(*reason, DownReason::Silent);
        assert!(*at - cut_at <= INTERVAL * 3, "{:?}", *at - cut_at);
        assert!(*at - cut_at >= INTERVAL * 2 - LATENCY);
    }
}

#[test]
fn a_removal_during_a_partition_arrives_after_it_without_a_snapshot() {
    let mut world = filled();
    world.connect();
    world.run_for(SETTLED);
    world.cut();
    world.run_for(SETTLED);

    world.change(Side::East, "s1", None);
    world.connect();
    world.run_for(SETTLED);

    assert_same(&world);
    assert_eq!(world.end(Side::West).ups, [false, true]);
    assert_eq!(world.end(Side::West).snapshots, 1);
}

#[test]
fn a_deferred_session_tells_nothing_until_it_is_asked() {
    let mut world = filled();
    world.connect_deferred();
    world.run_for(SETTLED);
    assert_eq!(world.end(Side::West).ups, [false]);
    assert_eq!(world.end(Side::East).state_bytes, 0);

    world.subscribe(Side::West);
    world.run_for(SETTLED);
    assert_eq!(world.end(Side::West).known, published(&world, Side::East));
    assert!(world.end(Side::East).known.is_empty());

    world.subscribe(Side::East);
    world.change(Side::West, "s1", None);
    world.run_for(SETTLED);
    assert_same(&world);
}

#[test]
fn a_subscription_resumes_where_another_session_ended() {
    let mut world = filled();
    world.connect();
    world.run_for(SETTLED);
    world.lose();
    world.change(Side::East, "s1", None);

    world.connect_deferred();
    world.run_for(SETTLED);
    Side::BOTH.iter().for_each(|side| world.subscribe(*side));
    world.run_for(SETTLED);

    assert_same(&world);
    assert_eq!(world.end(Side::West).ups, [false, false, true]);
    assert_eq!(world.end(Side::West).snapshots, 1);
}

#[test]
fn a_restarted_peer_is_heard_anew() {
    let mut world = filled();
    world.connect();
    world.run_for(SETTLED);

    world.restart(Side::East, 7);
    world.change(Side::East, "s1", None);
    world.connect();
    world.run_for(SETTLED);

    assert_same(&world);
    assert_eq!(world.end(Side::West).snapshots, 2);
    assert_eq!(world.end(Side::East).ups, [false]);
}

#[test]
fn a_position_below_the_compaction_floor_is_not_continued() {
    let mut world = filled();
    world.connect();
    world.run_for(SETTLED);
    world.lose();

    world.change(Side::East, "s1", None);
    let newest = world.end(Side::East).store.cursor().revision;
    world.end_mut(Side::East).store.compact(newest);
    world.connect();
    world.run_for(SETTLED);

    assert_same(&world);
    assert_eq!(world.end(Side::West).ups, [false, false]);
}

#[test]
fn a_connection_lost_after_any_number_of_frames_loses_nothing() {
    lose_after_each_frame(World::connect);
}

/// As gateways do, which hold sessions that they subscribe later.
#[test]
fn a_subscribed_session_lost_after_any_number_of_frames_loses_nothing() {
    lose_after_each_frame(connect_and_subscribe);
}

fn lose_after_each_frame(connect: fn(&mut World)) {
    let mut world = filled();
    connect(&mut world);
    world.run_for(SETTLED);
    let frames = world.carried;
    assert!(frames > 20);

    for lost_after in 0..frames {
        let mut world = filled();
        connect(&mut world);
        while world.carried < lost_after {
            world.step();
        }
        world.lose();
        world.change(Side::East, "s1", None);
        world.change(Side::West, "s2", Some(9));
        world.change(Side::West, "new", Some(1));

        connect(&mut world);
        world.run_for(SETTLED);

        assert_same(&world);
    }
}

fn connect_and_subscribe(world: &mut World) {
    world.connect_deferred();
    while !Side::BOTH.iter().all(|side| world.is_up(*side)) {
        world.step();
    }
    Side::BOTH.iter().for_each(|side| world.subscribe(*side));
}

#[test]
fn one_change_costs_the_same_few_bytes_whatever_the_rest() {
    let bytes_of_one_change = |services: u16| {
        let mut world = World::new();
        for number in 0..services {
            world.change(Side::East, &format!("s{number}"), Some(80));
        }
        world.connect();
        world.run_for(SETTLED);
        let before = world.end(Side::East).state_bytes;
        world.change(Side::East, "s1", Some(81));
        world.run_for(SETTLED);
        assert_same(&world);
        world.end(Side::East).state_bytes - before
    };

    let few = bytes_of_one_change(10);
    let many = bytes_of_one_change(2000);

    assert!(many < 160, "{many}");
    assert!(many <= few + 2, "{many} and {few}");
}

#[test]
fn after_a_restart_only_what_differs_is_said() {
    let said_after_restart = |features: Features| {
        let mut world = World::new();
        for number in 0..3000 {
            world.change(Side::East, &format!("s{number}"), Some(80));
        }
        Side::BOTH
            .iter()
            .for_each(|side| world.end_mut(*side).features = features);
        world.connect();
        world.run_for(SETTLED);
        world.restart(Side::East, 7);
        world.change(Side::East, "s1", None);
        world.change(Side::East, "s2", Some(81));
        world.connect();
        world.run_for(SETTLED);
        assert_same(&world);
        world.end(Side::East).state_bytes
    };

    let (compared, told) = (
        said_after_restart(Features::ALL),
        said_after_restart(Features::FIRST),
    );

    assert!(
        compared * 8 < told,
        "{compared} bytes, {told} without digests"
    );
}

#[test]
fn a_withdrawal_overtakes_a_snapshot_and_is_not_undone_by_it() {
    let mut world = World::new();
    for number in 0..30 {
        world.change(Side::East, &format!("s{number}"), Some(80));
    }
    world.end_mut(Side::East).delays[index(Channel::Bulk)] = Duration::from_secs(2);
    world.connect();
    world.run_for(Duration::from_millis(100));
    assert!(world.end(Side::West).known.is_empty());

    world.change(Side::East, "s1", None);
    world.change(Side::East, "s2", Some(81));
    world.run_for(Duration::from_millis(200));
    assert_eq!(world.end(Side::West).known.len(), 1);

    world.run_for(SETTLED);
    assert_same(&world);
}

#[test]
fn a_withdrawal_overtakes_the_update_before_it_and_is_not_undone_by_it() {
    let mut world = filled();
    world.connect();
    world.run_for(SETTLED);
    world.end_mut(Side::East).delays[index(Channel::Updates)] = Duration::from_millis(200);

    world.change(Side::East, "s1", Some(81));
    world.change(Side::East, "s1", None);
    world.change(Side::East, "s2", None);
    world.change(Side::East, "s2", Some(82));
    world.run_for(LATENCY * 2);
    assert_eq!(world.end(Side::West).known.len(), 8);

    world.run_for(SETTLED);
    assert_same(&world);
}

proptest! {
    /// Whatever overtakes what, and whichever versions the sides are of.
    #[test]
    fn any_history_ends_with_each_side_knowing_what_the_other_has(
        history in any_history(),
        delays in prop::array::uniform2(prop::array::uniform3(0..150u64)),
        features in prop::array::uniform2(any::<(bool, bool, bool, bool)>()),
    ) {
        let mut world = World::new();
        for ((side, delays), features) in Side::BOTH.into_iter().zip(delays).zip(features) {
            let [urgent, updates, bulk] = delays.map(Duration::from_millis);
            let end = world.end_mut(side);
            end.delays = [Duration::ZERO, urgent, updates, bulk];
            let (subscribe, digests, streams, zstd) = features;
            end.features = Features {
                subscribe,
                digests,
                streams,
                zstd,
            };
        }
        for (number, happening) in history.into_iter().enumerate() {
            apply(&mut world, happening, u64::try_from(number).unwrap() + 10);
        }

        world.connect();
        world.run_for(SETTLED);

        assert_same(&world);
    }
}

#[derive(Debug, Clone)]
enum Happening {
    Change(Side, u8, Option<u16>),
    Steps(u8),
    Lose,
    Cut,
    Connect,
    ConnectDeferred,
    Subscribe(Side),
    Compact(Side),
    Restart(Side),
}

fn apply(world: &mut World, happening: Happening, epoch: u64) {
    match happening {
        Happening::Change(side, number, port) => world.change(side, &format!("s{number}"), port),
        Happening::Steps(count) => (0..count).for_each(|_| world.step()),
        Happening::Lose => world.lose(),
        Happening::Cut => world.cut(),
        Happening::Connect => world.connect(),
        Happening::ConnectDeferred => world.connect_deferred(),
        Happening::Subscribe(side) => world.subscribe(side),
        Happening::Compact(side) => {
            let store = &mut world.end_mut(side).store;
            store.compact(store.cursor().revision);
        }
        Happening::Restart(side) => world.restart(side, epoch),
    }
}

fn any_history() -> impl Strategy<Value = Vec<Happening>> {
    let side = || prop_oneof![Just(Side::East), Just(Side::West)];
    let port = prop::option::of(1..5u16);
    let happening = prop_oneof![
        6 => (side(), 0..12u8, port).prop_map(|(s, n, p)| Happening::Change(s, n, p)),
        4 => (0..40u8).prop_map(Happening::Steps),
        1 => Just(Happening::Lose),
        1 => Just(Happening::Cut),
        2 => Just(Happening::Connect),
        1 => Just(Happening::ConnectDeferred),
        2 => side().prop_map(Happening::Subscribe),
        1 => side().prop_map(Happening::Compact),
        1 => side().prop_map(Happening::Restart),
    ];
    prop::collection::vec(happening, 0..60)
}

/// Longer than coming up, a snapshot and the detection time take together.
const SETTLED: Duration = Duration::from_secs(5);

fn filled() -> World {
    let mut world = World::new();
    for number in 0..10 {
        world.change(Side::East, &format!("s{number}"), Some(80));
        world.change(Side::West, &format!("s{number}"), Some(80));
    }
    world
}

fn published(world: &World, side: Side) -> BTreeMap<Key, Resource> {
    world.end(side).store.iter().collect()
}

fn assert_same(world: &World) {
    for side in Side::BOTH {
        let theirs = published(world, side.other());
        assert_eq!(world.end(side).known, theirs, "what {side:?} knows");
    }
}
