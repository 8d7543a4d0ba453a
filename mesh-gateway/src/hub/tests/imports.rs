//! Imports as a gateway makes them: their addresses, also after a restart, and whose word counts for their age.

use std::sync::Arc;

use cluster_registry::{
    mcs::Export,
    resource::{Resource, ResourceId},
    service::{Service, Timestamp},
    traffic::{IpFamilies, IpFamily, IpFamilyPolicy},
    view::{MergedService, View},
};

use super::{
    resources::{link, shop},
    world::World,
};

const POOL: [&str; 2] = ["--clusterset-cidr", "10.97.0.0/16"];

#[tokio::test]
async fn an_import_has_the_same_address_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::start(&POOL).await;
    world.source_change(exported(500)).await;
    world
        .until("an address", |view| address(view).is_some())
        .await;
    let before = address(&world.view());
    world.save(dir.path()).await;

    // With a longer pool the hash of the name leads elsewhere: what was saved counts.
    let mut again = World::restart(&["--clusterset-cidr", "10.96.0.0/15"], dir.path());
    again.source_snapshot([exported(500)]).await;
    again
        .until("an address", |view| address(view).is_some())
        .await;

    assert_eq!(address(&again.view()), before);
}

#[tokio::test]
async fn a_peer_that_antedates_its_export_does_not_win() {
    let mut world = World::start(&POOL).await;
    world.source_change(exported(500)).await;
    world.link_objects([link("west")]).await;
    let mut west = world.connect("west").await;

    west.say(&mut world, [exported(1)]).await;

    world
        .until("west's export", |view| {
            import(view).is_some_and(|service| service.remote.len() == 1)
        })
        .await;
    let view = world.view();
    let import = import(&view).unwrap().import.as_ref().unwrap();
    assert_eq!(import.oldest.cluster.as_str(), "zurich");
    assert_eq!(import.clusters.len(), 2);
}

#[tokio::test]
async fn an_import_without_a_pool_is_there_and_the_status_says_what_it_lacks() {
    let mut world = World::start(&[]).await;

    world.source_change(exported(500)).await;
    world
        .until("the import", |view| import(view).is_some())
        .await;

    let problems = world.status().await.source.problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].file, "import of shop/web");
    assert_eq!(
        problems[0].reason,
        "no pool has addresses of the families IPv4: configure one"
    );
}

fn exported(created: u64) -> (ResourceId, Resource) {
    let service = Service {
        export: Some(Box::new(Export {
            created: Timestamp(created),
            ..Export::default()
        })),
        ip_families: IpFamilies::new([IpFamily::V4], IpFamilyPolicy::SingleStack),
        ..Service::default()
    };
    (ResourceId::Service(shop("web")), Resource::from(service))
}

fn import(view: &View) -> Option<&Arc<MergedService>> {
    let service = view.services.get(&shop("web"))?;
    service.import.is_some().then_some(service)
}

fn address(view: &View) -> Option<std::net::IpAddr> {
    import(view)?.clusterset_ips.first().copied()
}
