//! Tests of a hub that starts with what an earlier life saved, through the file that it is kept in.

use std::{fs, path::Path};

use cluster_registry::{
    cluster::Control,
    store::{Cursor, Epoch, Revision},
};
use tempfile::TempDir;

use super::{
    resources::{bank, link, name, service, shop, tunnel},
    world::World,
};
use crate::state;

const WEST_FLAG: [&str; 2] = ["--link", "name=west,dial=never"];

#[tokio::test]
async fn a_restarted_hub_serves_what_it_knew_before_source_and_peers_speak() {
    let dir = saved_world().await;

    let mut world = World::restart(&WEST_FLAG, dir.path());

    assert!(world.serves());
    world
        .until("both services", |view| view.services.len() == 2)
        .await;
    let view = world.view();
    assert_eq!(view.clusters[&name("west")].control, Control::Lost);
    assert!(
        view.services[&shop("web")]
            .remote
            .contains_key(&name("west"))
    );
    assert_eq!(world.links()[&name("west")].resume.get(), Some(at(9)));
    // Nodes are told at once, and all of it.
    let told = world.told_nodes().await;
    assert!(told.contains(&("shop".to_owned(), "web".to_owned())));
    assert!(!world.status().await.source.synced);
}

#[tokio::test]
async fn what_source_and_peers_no_longer_say_goes() {
    let dir = saved_world().await;
    let mut world = World::restart(&WEST_FLAG, dir.path());

    world.source_snapshot([]).await;
    world
        .until("west's alone", |view| view.services.len() == 1)
        .await;
    let mut west = world.connect("west").await;
    west.say(&mut world, []).await;

    world
        .until("nothing", |view| view.services.is_empty())
        .await;
    // The node was not in the snapshot, and its agent is not here.
    world.until("no node", |view| view.nodes.is_empty()).await;
}

#[tokio::test]
async fn a_session_resumes_where_the_earlier_life_was() {
    let dir = saved_world().await;
    let mut world = World::restart(&WEST_FLAG, dir.path());

    let west = world.open("west").come_up(&mut world, true).await;

    let connected = |view: &cluster_registry::view::View| {
        view.clusters[&name("west")].control == Control::Connected
    };
    world.until("west connected", connected).await;
    assert!(!west.is_closed());
    assert_eq!(world.view().services.len(), 2);
    assert!(world.status().await.peers[0].synced);
}

#[tokio::test]
async fn other_grants_after_a_restart_withdraw_and_ask_for_everything() {
    let dir = saved_world().await;
    let flags = ["--link", "name=west,dial=never,namespaces=bank"];

    let mut world = World::restart(&flags, dir.path());

    world
        .until("our own", |view| view.services.len() == 1)
        .await;
    assert!(world.view().services[&shop("api")].remote.is_empty());
    assert_eq!(world.links()[&name("west")].resume.get(), None);
}

#[tokio::test]
async fn a_peer_whose_link_is_gone_is_not_restored() {
    let dir = saved_world().await;

    let mut world = World::restart(&[], dir.path());

    world
        .until("our own", |view| view.services.len() == 1)
        .await;
    assert!(world.links().is_empty());
}

#[tokio::test]
async fn a_link_object_counts_until_the_source_says_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::start(&[]).await;
    let mut object = link("west");
    object.export_to = bank();
    world.link_objects([object]).await;
    let mut west = world.connect("west").await;
    west.say(&mut world, [service("shop", "web")]).await;
    world
        .until("west's service", |view| view.services.len() == 1)
        .await;
    world.save(dir.path()).await;

    let mut world = World::restart(&[], dir.path());
    world
        .until("west's service", |view| view.services.len() == 1)
        .await;
    assert_eq!(world.links()[&name("west")].spec.export_to, bank());

    world.source_snapshot([]).await;
    world.until_linked(&[]).await;
    world
        .until("nothing", |view| view.services.is_empty())
        .await;
}

#[tokio::test]
async fn a_half_said_snapshot_is_no_position_to_resume_from() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::start(&WEST_FLAG).await;
    let mut west = world.connect("west").await;
    west.say(&mut world, [service("shop", "web")]).await;
    west.progress(&mut world, at(9)).await;
    west.begin(&mut world, [service("shop", "api")]).await;
    world
        .until("both services", |view| view.services.len() == 2)
        .await;
    world.save(dir.path()).await;

    let mut world = World::restart(&WEST_FLAG, dir.path());

    world
        .until("both services", |view| view.services.len() == 2)
        .await;
    assert_eq!(world.links()[&name("west")].resume.get(), None);
    let mut stale = world.open("west").come_up(&mut world, false).await;
    stale.say(&mut world, [service("shop", "api")]).await;
    world
        .until("what was said", |view| view.services.len() == 1)
        .await;
}

#[tokio::test]
async fn a_damaged_state_is_set_aside_and_the_start_is_from_nothing() {
    let dir = saved_world().await;
    let path = dir.path().join("gateway.state");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();

    assert_eq!(state::load(dir.path(), &name("zurich")).unwrap(), None);

    assert!(!path.exists());
    assert!(dir.path().join("gateway.state.damaged").exists());
    // And the next start finds nothing to complain about.
    assert_eq!(state::load(dir.path(), &name("zurich")).unwrap(), None);
}

#[tokio::test]
async fn another_clusters_state_is_set_aside() {
    let dir = saved_world().await;

    assert_eq!(state::load(dir.path(), &name("berlin")).unwrap(), None);

    assert!(dir.path().join("gateway.state.foreign").exists());
}

/// A directory in which a hub saved a service of its own, a node's tunnel, and a service of west's.
async fn saved_world() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::start(&WEST_FLAG).await;
    world.source_snapshot([service("shop", "api")]).await;
    let mut west = world.connect("west").await;
    west.say(&mut world, [service("shop", "web")]).await;
    west.progress(&mut world, at(9)).await;
    // Reports are taken in their order, so that the node is there when all before it is.
    world.report_tunnel("n1", tunnel()).await;
    world
        .until("both services", |view| view.services.len() == 2)
        .await;
    world.until("the node", |view| view.nodes.len() == 1).await;
    world.save(dir.path()).await;
    assert!(is_private(dir.path()));
    dir
}

fn is_private(dir: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(dir.join("gateway.state"))
        .unwrap()
        .permissions();
    mode.mode() & 0o077 == 0
}

fn at(revision: u64) -> Cursor {
    Cursor::at(Epoch(4), Revision(revision))
}
