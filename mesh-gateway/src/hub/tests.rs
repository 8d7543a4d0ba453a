//! Tests of the hub with sessions in memory: links that come, change and go while it runs.

mod imports;
mod limits;
mod opening;
mod replicas;
mod resources;
mod restart;
mod world;

use std::collections::BTreeMap;

use cluster_registry::{cluster::Control, import::Namespaces, store::ResumeError};
use mesh_link::event::GoodbyeReason;

use self::{
    resources::{bank, endpoint, link, name, service},
    world::World,
};

#[tokio::test]
async fn a_link_object_makes_a_peer_whose_services_are_taken() {
    let mut world = World::start(&[]).await;

    world.link_objects([link("west")]).await;
    let mut west = world.connect("west").await;
    west.say(&mut world, [service("shop", "web")]).await;

    world
        .until("west's service", |view| view.services.len() == 1)
        .await;
    let view = world.view();
    assert_eq!(view.clusters[&name("west")].control, Control::Connected);
}

#[tokio::test]
async fn a_removed_links_services_are_gone_and_its_session_ends() {
    let mut world = World::start(&[]).await;
    world.link_objects([link("north"), link("west")]).await;
    let mut west = world.connect("west").await;
    west.say(&mut world, [service("shop", "web")]).await;
    world
        .until("west's service", |view| view.services.len() == 1)
        .await;

    world.link_objects([link("north")]).await;

    world
        .until("no trace of west", |view| {
            view.services.is_empty() && !view.clusters.contains_key(&name("west"))
        })
        .await;
    assert_eq!(west.closed().await, GoodbyeReason::NotAuthorised);
    assert!(world.fetch_through(&west.feed, None).await.is_none());
    assert!(!world.links().contains_key(&name("west")));
    assert!(world.links().contains_key(&name("north")));
}

#[tokio::test]
async fn a_session_that_comes_up_after_its_link_was_removed_is_closed() {
    let mut world = World::start(&[]).await;
    world.link_objects([link("west")]).await;
    world.until_linked(&["west"]).await;
    let west = world.open("west");

    world.link_objects([]).await;
    world.until_linked(&[]).await;
    let mut west = west.come_up(&mut world, false).await;

    assert_eq!(west.closed().await, GoodbyeReason::NotAuthorised);
}

#[tokio::test]
async fn a_narrower_grant_withdraws_at_once_and_a_wider_one_asks_for_everything() {
    let mut world = World::start(&[]).await;
    world.link_objects([link("west")]).await;
    let mut west = world.connect("west").await;
    west.say(&mut world, [service("shop", "web"), service("bank", "web")])
        .await;
    world.until("both", |view| view.services.len() == 2).await;

    let mut narrower = link("west");
    narrower.grants.namespaces = bank();
    world.link_objects([narrower]).await;
    world
        .until("one of them", |view| view.services.len() == 1)
        .await;
    assert_eq!(west.end(&world).await, GoodbyeReason::LinkChanged);

    world.link_objects([link("west")]).await;
    world
        .until_spec("west", |spec| spec.grants.namespaces == Namespaces::All)
        .await;
    assert_eq!(world.links()[&name("west")].resume.get(), None);
    // A session from before that continues what it knew would leave out what was refused.
    let mut stale = world.open("west").come_up(&mut world, true).await;
    assert_eq!(stale.closed().await, GoodbyeReason::LinkChanged);
}

#[tokio::test]
async fn a_peer_is_told_of_the_granted_namespaces_and_of_no_other() {
    let mut world = World::start(&[]).await;
    let mut only_bank = link("west");
    only_bank.export_to = bank();
    world.link_objects([only_bank, link("north")]).await;
    world.until_linked(&["north", "west"]).await;
    world
        .source_snapshot([
            service("shop", "web"),
            endpoint("shop", "web", "10.1.0.1"),
            service("bank", "api"),
            service("kube-system", "dns"),
        ])
        .await;
    world
        .until("all three", |view| view.services.len() == 3)
        .await;
    let (north, west) = (world.open("north"), world.open("west"));

    assert_eq!(
        world.told(&north.feed).await,
        texts(&[("bank", "api"), ("shop", "web"), ("shop", "web")])
    );
    assert_eq!(world.told(&west.feed).await, texts(&[("bank", "api")]));

    world
        .source_change(endpoint("shop", "web", "10.1.0.2"))
        .await;
    world
        .source_change(endpoint("bank", "api", "10.1.0.3"))
        .await;
    world
        .until("the later endpoint", |view| {
            let mut bank = view
                .services
                .iter()
                .filter(|(name, _)| name.namespace.as_str() == "bank");
            bank.any(|(_, service)| !service.endpoints.is_empty())
        })
        .await;
    assert_eq!(
        world.told(&west.feed).await,
        texts(&[("bank", "api"), ("bank", "api")])
    );
}

#[tokio::test]
async fn a_changed_export_filter_ends_the_session_and_starts_over_with_a_snapshot() {
    let mut world = World::start(&[]).await;
    world.link_objects([link("west")]).await;
    world
        .source_snapshot([service("shop", "web"), service("bank", "api")])
        .await;
    let mut west = world.connect("west").await;
    world
        .until("both services", |view| view.services.len() == 2)
        .await;
    let known = world
        .fetch_through(&west.feed, None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(known.changes.len(), 2);

    let mut only_bank = link("west");
    only_bank.export_to = bank();
    world.link_objects([only_bank]).await;
    world
        .until_spec("west", |spec| spec.export_to == bank())
        .await;

    assert_eq!(west.closed().await, GoodbyeReason::LinkChanged);
    assert!(world.fetch_through(&west.feed, None).await.is_none());
    let again = world.open("west");
    let resumed = world.fetch_through(&again.feed, Some(known.cursor)).await;
    assert_eq!(resumed, Some(Err(ResumeError::OtherEpoch)));
    assert_eq!(world.told(&again.feed).await, texts(&[("bank", "api")]));
}

#[tokio::test]
async fn a_flag_beats_an_object_of_the_same_name_and_says_so() {
    let mut world = World::start(&["--link", "name=west,dial=never,exports=bank"]).await;

    world.link_objects([link("west"), link("north")]).await;
    world.until_linked(&["north", "west"]).await;

    let status = world.status().await;
    let origins: BTreeMap<&str, &str> = status
        .peers
        .iter()
        .map(|peer| (peer.cluster.as_str(), peer.origin.as_str()))
        .collect();
    assert_eq!(
        origins,
        BTreeMap::from([("north", "ClusterLink"), ("west", "flag")])
    );
    let [problem] = &status.source.problems[..] else {
        panic!("{:?}", status.source.problems);
    };
    assert_eq!(problem.file, "ClusterLink west");
    assert_eq!(world.links()[&name("west")].spec.export_to, bank());
}

#[tokio::test]
async fn a_links_limits_bind_its_own_peer_only() {
    let mut world = World::start(&[]).await;
    let mut small = link("west");
    small.limits.services = 1;
    world.link_objects([small, link("north")]).await;
    let mut west = world.connect("west").await;
    let mut north = world.connect("north").await;
    let services = ["a", "b", "c"].map(|service_name| service("shop", service_name));

    west.say(&mut world, services.clone()).await;
    north.say(&mut world, services).await;

    world
        .until("north's three", |view| view.services.len() == 3)
        .await;
    let status = world.status().await;
    let by_name: BTreeMap<&str, u64> = status
        .peers
        .iter()
        .map(|peer| (peer.cluster.as_str(), peer.services))
        .collect();
    assert_eq!(by_name, BTreeMap::from([("north", 3), ("west", 1)]));
    let west = status
        .peers
        .iter()
        .find(|peer| peer.cluster == "west")
        .unwrap();
    assert_eq!(west.refused, BTreeMap::from([("too_many".to_owned(), 2)]));
    assert!(west.synced && west.certificate_expires_unix_s.is_some());
}

#[tokio::test]
async fn a_changed_address_keeps_the_session_and_what_it_said() {
    let mut world = World::start(&[]).await;
    world.link_objects([link("west")]).await;
    let mut west = world.connect("west").await;
    west.say(&mut world, [service("shop", "web")]).await;
    let mut moved = link("west");
    moved.addresses = vec!["gw.west.example:4700".parse().unwrap()];

    world.link_objects([moved]).await;
    world
        .until_spec("west", |spec| !spec.addresses.is_empty())
        .await;

    assert!(!west.is_closed());
    assert_eq!(world.view().services.len(), 1);
    assert!(world.fetch_through(&west.feed, None).await.is_some());
}

fn texts(names: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(namespace, name): &(&str, &str)| ((*namespace).to_owned(), (*name).to_owned());
    names.iter().map(owned).collect()
}
