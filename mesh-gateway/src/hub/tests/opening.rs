//! Tests of whom a hub that has just started tells what it knows, and when.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use cluster_registry::{name::NodeName, resource::ResourceId};
use cluster_registry_kube::source::SourceEvent;

use super::{
    resources::{name, node, service, tunnel},
    world::World,
};
use crate::hub::serve::{EXPORTS_GRACE, FEED_GRACE};

const WEST_FLAG: [&str; 2] = ["--link", "name=west,dial=never"];

/// A peer that reads it would withdraw the tunnel keys of nodes that have not reached it yet.
#[tokio::test]
async fn a_gateway_that_has_just_started_tells_peers_nothing_until_its_nodes_were_heard() {
    let known = [node("n1"), node("n2"), service("shop", "web")];
    let mut world = World::start_with(&WEST_FLAG, known).await;
    let west = world.open("west").come_up(&mut world, false).await;
    world.report_tunnel("n1", tunnel()).await;
    assert_is_told_nothing(&world, &west.feed).await;

    world.report_tunnel("n2", tunnel()).await;

    let told = world.fetch_through(&west.feed, None).await;
    let told = told.unwrap().unwrap().changes;
    for node in ["n1", "n2"] {
        let tunnel = ResourceId::Tunnel(NodeName::parse(node).unwrap());
        assert!(told.iter().any(|change| change.key.id == tunnel), "{node}");
    }
}

#[test]
fn a_node_whose_agent_does_not_come_is_waited_for_no_longer_than_the_grace() {
    let (mut hub, _ends) = World::hub(&WEST_FLAG);
    let started = Instant::now();
    hub.handle_source(SourceEvent::Snapshot([node("n1")].into()));
    assert!(!hub.openings.exports && !hub.openings.feed);
    let due = hub.poll_timeout().unwrap();
    assert!(due >= started + EXPORTS_GRACE);

    hub.handle_timeout(due);
    assert!(hub.openings.exports && !hub.openings.feed);

    hub.handle_timeout(started + FEED_GRACE * 2);
    assert!(hub.openings.feed);
    assert_eq!(hub.poll_timeout(), None);
}

#[tokio::test]
async fn a_gateway_whose_source_knows_no_nodes_tells_peers_at_once() {
    let known = [service("shop", "web")];
    let mut world = World::start_with(&WEST_FLAG, known).await;
    let west = world.open("west").come_up(&mut world, false).await;

    assert_eq!(world.told(&west.feed).await.len(), 1);
}

/// The hub answers whoever asks for its status meanwhile, often enough that it would have come to the question.
async fn assert_is_told_nothing(world: &World, feed: &mesh_link::feed::Feed) {
    let mut told = pin!(world.fetch_through(feed, None));
    for _ in 0..100 {
        tokio::select! {
            biased;
            told = &mut told => panic!("{told:?}"),
            _status = world.status() => {}
        }
    }
}

/// The sink would delete the imports of a peer of which nothing is known, and make them again.
#[tokio::test]
async fn a_peer_is_awaited_until_it_was_heard_or_as_long_as_one_that_is_lost_is_held() {
    let flags = [&WEST_FLAG[..], &["--hold-time=1h"]].concat();
    let (mut hub, _ends) = World::hub(&flags);
    let now = Instant::now();
    assert_eq!(hub.link_states(now), None, "objects may name more links");
    hub.handle_source(SourceEvent::Snapshot([].into()));
    let is_awaited = |at| hub.link_states(at).unwrap()[&name("west")].awaited;
    assert!(is_awaited(now));
    assert!(!is_awaited(now + Duration::from_secs(3_700)));

    let mut world = World::start(&flags).await;
    world.until_awaited("west", true).await;
    let mut west = world.open("west").come_up(&mut world, false).await;
    west.say(&mut world, [service("shop", "web")]).await;
    world.until_awaited("west", false).await;

    let dir = tempfile::tempdir().unwrap();
    world.save(dir.path()).await;
    let restarted = World::restart(&flags, dir.path());
    restarted.until_awaited("west", false).await;
}
