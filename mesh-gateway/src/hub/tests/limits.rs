//! Tests of peers that share more than is taken: degraded, and heard anew once they share less.

use std::num::NonZeroU32;

use cluster_registry::{
    resource::{Key, ResourceId},
    store::{Cursor, Epoch, Revision},
};
use mesh_link::event::{DownReason, GoodbyeReason, PeerEvent, Update};

use super::{
    resources::{bank, link, name, service, shop},
    world::{Peer, World},
};

#[tokio::test]
async fn a_peer_over_its_limit_is_degraded_and_is_asked_for_everything_once_it_is_below() {
    let mut world = World::start(&[]).await;
    let mut limited = link("west");
    limited.limits.services = 1;
    world.link_objects([limited]).await;
    let mut west = world.connect("west").await;
    west.say(&mut world, [service("shop", "a"), service("shop", "b")])
        .await;
    west.progress(&mut world, at(2)).await;
    world
        .until("the one that there is room for", |view| {
            view.services.len() == 1
        })
        .await;
    let reason = world.status().await.peers[0].reason.clone().unwrap();
    assert!(reason.starts_with("degraded"), "{reason}");
    assert!(!west.is_closed());

    let gone = Update {
        key: Key {
            cluster: name("west"),
            id: ResourceId::Service(shop("a")),
        },
        value: None,
        trace: None,
    };
    let gone = west.report(PeerEvent::Updates(vec![gone]));
    world.report(gone).await;
    west.progress(&mut world, at(3)).await;

    assert_eq!(west.end(&world).await, GoodbyeReason::LinkChanged);
    assert_eq!(world.links()[&name("west")].resume.get(), None);
    let mut west = world.open("west").come_up(&mut world, false).await;
    west.say(&mut world, [service("shop", "b")]).await;
    world
        .until("the other one", |view| {
            view.services.contains_key(&shop("b"))
        })
        .await;
    assert_eq!(world.status().await.peers[0].reason, None);
}

#[tokio::test]
async fn a_peer_that_is_too_fast_is_degraded_until_it_is_slow_enough() {
    let mut world = World::start(&[]).await;
    let mut limited = link("west");
    limited.limits.updates_per_second = NonZeroU32::MIN;
    world.link_objects([limited]).await;
    let mut west = world.connect("west").await;

    world.report(west.report(PeerEvent::Slowed(true))).await;

    let reason = reason_after(&mut world, &mut west, "a").await.unwrap();
    assert!(
        reason.contains("more than the 1 updates a second"),
        "{reason}"
    );
    world.report(west.report(PeerEvent::Slowed(false))).await;
    assert_eq!(reason_after(&mut world, &mut west, "b").await, None);
    world.report(west.report(PeerEvent::Slowed(true))).await;
    let down = PeerEvent::Down {
        reason: DownReason::Silent,
    };
    world.report(west.report(down)).await;
    let mut west = world.connect("west").await;
    assert_eq!(reason_after(&mut world, &mut west, "c").await, None);
}

/// What is wrong with the peer once all that was reported so far was taken, as what it says then shows.
async fn reason_after(world: &mut World, west: &mut Peer, service_name: &str) -> Option<String> {
    west.say(world, [service("shop", service_name)]).await;
    world
        .until("its next word", |view| {
            view.services.contains_key(&shop(service_name))
        })
        .await;
    world.status().await.peers[0].reason.clone()
}

#[tokio::test]
async fn a_position_is_not_saved_while_something_that_was_said_is_withheld() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::start(&[]).await;
    let mut narrow = link("west");
    narrow.grants.namespaces = bank();
    world.link_objects([narrow.clone()]).await;
    let mut west = world.connect("west").await;
    west.say(&mut world, [service("bank", "api"), service("shop", "web")])
        .await;
    west.progress(&mut world, at(9)).await;
    world
        .until("what is granted", |view| view.services.len() == 1)
        .await;
    let peer = world.status().await.peers.remove(0);
    assert_eq!(peer.withheld, 1);
    world.save(dir.path()).await;

    let mut world = World::restart(&[], dir.path());

    world
        .until("what was granted", |view| view.services.len() == 1)
        .await;
    assert_eq!(world.links()[&name("west")].resume.get(), None);
}

fn at(revision: u64) -> Cursor {
    Cursor::at(Epoch(1), Revision(revision))
}
