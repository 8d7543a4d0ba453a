//! Tests of peers that share more than is taken: degraded, and heard anew once they share less.

use cluster_registry::{
    resource::{Key, ResourceId},
    store::{Cursor, Epoch, Revision},
};
use mesh_link::event::{GoodbyeReason, PeerEvent, Update};

use super::{
    resources::{bank, link, name, service, shop},
    world::World,
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
