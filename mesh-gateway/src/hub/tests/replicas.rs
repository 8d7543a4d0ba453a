//! Several gateways of one peer: one is read, and the next takes its place without a gap.

use isthmus_daemon::status::PeerState;
use mesh_gateway_core::instance::{Incarnation, Instance, InstanceId};
use mesh_link::event::PeerEvent;

use super::{
    resources::{Said, shop},
    world::{PATIENCE, Peer},
    *,
};

#[tokio::test]
async fn when_the_lead_is_lost_the_next_replica_is_asked_and_nothing_is_dropped() {
    let (mut world, first) = world_with_lead([service("shop", "web")]).await;
    let second = world.open("west").with(instance("b", 1)).rise(&world).await;
    world
        .until("the service", |view| {
            view.services.contains_key(&shop("web"))
        })
        .await;
    until_replicas(&world, &[("a", true), ("b", false)]).await;

    assert!(first.is_subscribed() && !second.is_subscribed());

    first.fall_silent(&world).await;

    until_replicas(&world, &[("b", true)]).await;
    assert!(second.is_subscribed());
    assert!(world.view().services.contains_key(&shop("web")));
    let peer = world.status().await.peers.remove(0);
    assert_eq!(peer.state, PeerState::Connected);
}

#[tokio::test]
async fn what_the_next_replica_does_not_say_goes_and_what_it_says_comes() {
    let said = [service("shop", "kept"), service("shop", "gone")];
    let (mut world, first) = world_with_lead(said).await;
    let mut second = world.open("west").with(instance("b", 1)).rise(&world).await;
    // Who is not the lead is not heard.
    second.say(&mut world, [service("shop", "early")]).await;

    first.fall_silent(&world).await;
    second
        .say(
            &mut world,
            [service("shop", "kept"), service("shop", "new")],
        )
        .await;

    world
        .until("the new one instead of the other", |view| {
            let has = |name| view.services.contains_key(&shop(name));
            has("new") && !has("gone")
        })
        .await;
    let view = world.view();
    assert!(view.services.contains_key(&shop("kept")));
    assert!(!view.services.contains_key(&shop("early")));
}

#[tokio::test]
async fn what_a_snapshot_does_not_say_goes_though_a_replica_comes_up_meanwhile() {
    let said = [service("shop", "kept"), service("shop", "gone")];
    let (mut world, mut lead) = world_with_lead(said).await;
    lead.begin(&mut world, [service("shop", "kept")]).await;

    world.open("west").with(instance("b", 1)).rise(&world).await;
    world.report(lead.report(PeerEvent::SnapshotEnd)).await;

    world
        .until("the one that was said", |view| {
            view.services.keys().eq([&shop("kept")])
        })
        .await;
}

#[tokio::test]
async fn an_older_life_of_a_replica_is_refused_and_the_newer_one_stays() {
    let mut world = World::start(&["--link=name=west,dial=never"]).await;
    let newer = world
        .open("west")
        .with(instance("a", 2))
        .come_up(&mut world, false)
        .await;

    let mut older = world.open("west").with(instance("a", 1)).rise(&world).await;

    assert_eq!(older.closed().await, GoodbyeReason::OlderIncarnation);
    assert!(!newer.is_closed());
    until_replicas(&world, &[("a", true)]).await;
}

/// West's gateway `a` is read, and has said something.
async fn world_with_lead<const N: usize>(said: [Said; N]) -> (World, Peer) {
    let mut world = World::start(&["--link=name=west,dial=never"]).await;
    let opening = world.open("west").with(instance("a", 1));
    let mut lead = opening.come_up(&mut world, false).await;
    lead.say(&mut world, said).await;
    (world, lead)
}

/// Waits until the status names these replicas, and which of them is the lead.
async fn until_replicas(world: &World, wanted: &[(&str, bool)]) {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let peer = world.status().await.peers.remove(0);
            let replicas = peer.replicas.iter();
            let named: Vec<_> = replicas
                .map(|r| (r.replica.as_deref().unwrap_or_default(), r.lead))
                .collect();
            if named == wanted {
                return;
            }
        }
    });
    waited.await.expect("the replicas");
}

fn instance(replica: &str, incarnation: u64) -> Instance {
    let mut id = [0; 16];
    id[..replica.len()].copy_from_slice(replica.as_bytes());
    id[15] = u8::try_from(incarnation).unwrap();
    Instance::try_new(InstanceId(id), Incarnation(incarnation), replica).unwrap()
}
