//! What the gateway and the probes say reaches the maps whole, in order and in time.

mod facts;
mod fake;
mod faults;
mod life;
mod rig;
mod routes;
mod turns;

use std::net::Ipv4Addr;

use cluster_registry::{cluster::Control, digest::KeyRange, name::NodeName};
use mesh_link::event::{PeerEvent, Update};
use node_dp_common::{
    BackendKey, BackendValue, ClusterState, ClusterValue, FrontendKey, ServiceValue,
};
use node_dp_core::{image::Image, verdict::Path};

use super::*;

use facts::{cluster, endpoint, endpoint_for, global, gone, key, name, own_node, service, west};
use fake::{Done, FakeMaps};
use rig::{Rig, TunnelKind};

#[tokio::test(start_paused = true)]
async fn a_restarted_agent_adopts_what_the_maps_hold() {
    let maps = FakeMaps::default();
    let first = Rig::start(&maps, TunnelKind::Kernel);
    first.sync(everything()).await;
    first.probe("west", Path::Good);
    first.settle().await;
    first.end().await;
    let before = maps.image();
    maps.take_done();

    let second = Rig::start(&maps, TunnelKind::Kernel);
    second.sync(everything()).await;
    second.probe("west", Path::Good);
    second.settle().await;

    assert_eq!(maps.take_done(), [Done::Activated]);
    assert_eq!(maps.image(), before);
    assert_eq!(before.services.len(), 2);
    assert_eq!(state_of(&before, "west"), Some(ClusterState::Up));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_planned_then_swept_then_put_to_use() {
    let maps = FakeMaps::default();
    let dead = FrontendKey::new(Ipv4Addr::new(10, 96, 9, 9), 80, 6);
    maps.tamper(&MapOp::PutService(dead, empty_service(7)));
    maps.tamper(&MapOp::PutBackend(BackendKey::new(7, 0, 0), strange()));
    let rig = Rig::start(&maps, TunnelKind::None);
    rig.up().await;
    rig.say(PeerEvent::SnapshotBegin(vec![KeyRange::default()]))
        .await;
    rig.say(PeerEvent::Updates(everything())).await;
    rig.settle().await;
    assert_eq!(maps.take_done(), [], "half a snapshot is not planned");
    assert!(!rig.readiness.is_ready());

    rig.say(PeerEvent::SnapshotEnd).await;
    rig.settle().await;

    assert!(rig.readiness.is_ready());
    let done = maps.take_done();
    let (last, ops) = done.split_last().unwrap();
    assert_eq!(*last, Done::Activated);
    let first_delete = ops.iter().position(is_delete).unwrap();
    assert!(ops[first_delete..].iter().all(is_delete), "{ops:?}");
    assert!(!ops.contains(&Done::Activated));
    let image = maps.image();
    assert!(!image.services.contains_key(&dead));
    assert_eq!((image.services.len(), image.backends.len()), (2, 4));
}

#[tokio::test(start_paused = true)]
async fn maps_are_put_to_use_once_however_many_snapshots_come() {
    let maps = FakeMaps::default();
    let mut rig = Rig::start(&maps, TunnelKind::None);
    rig.sync(everything()).await;
    rig.down().await;
    rig.renew_session();
    maps.take_done();

    rig.sync(everything()).await;

    assert_eq!(maps.take_done(), []);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_departs_is_told_of_once_the_maps_no_longer_lead_to_it() {
    let maps = FakeMaps::default();
    let mut rig = Rig::start(&maps, TunnelKind::None);
    let leaving = endpoint("east", "s1", "10.1.0.2");
    rig.sync(vec![
        service("east", "s1", "10.96.0.1"),
        endpoint("east", "s1", "10.1.0.1"),
        leaving.clone(),
    ])
    .await;
    assert!(rig.gone.try_recv().is_err());

    rig.change(vec![gone(leaving)]).await;

    let told = rig.gone.try_recv().unwrap();
    assert_eq!(told.clusters, BTreeSet::new());
    let backends = told.backends.iter();
    let backends: Vec<String> = backends.map(|d| d.backend.to_string()).collect();
    assert_eq!(backends, ["10.1.0.2:8080"]);
    assert_eq!(maps.image().backends.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_taken_out_is_told_of_and_one_that_an_ending_agent_takes_out_is_not() {
    let maps = FakeMaps::default();
    let mut rig = Rig::start(&maps, TunnelKind::Userspace);
    rig.sync(everything()).await;
    rig.probe("west", Path::Good);
    rig.settle().await;
    assert!(rig.gone.try_recv().is_err());

    rig.probe("west", Path::Lost);
    rig.settle().await;

    let told = rig.gone.try_recv().unwrap();
    let west = Gone {
        clusters: [1].into(),
        ..Gone::default()
    };
    assert_eq!(told, west);
    rig.probe("west", Path::Good);
    rig.settle().await;
    let mut gone = std::mem::replace(&mut rig.gone, mpsc::channel(1).1);
    rig.end().await;
    assert!(gone.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_learns_its_zone_plans_its_services_anew() {
    let maps = FakeMaps::default();
    let rig = Rig::start(&maps, TunnelKind::None);
    rig.sync(vec![
        service("east", "s1", "10.96.0.1"),
        endpoint_for("a", "east", "s1", "10.1.0.1"),
        endpoint_for("b", "east", "s1", "10.1.0.2"),
        own_node(None),
    ])
    .await;
    let backends = |maps: &FakeMaps| -> Vec<String> {
        let backends = maps.image().backends;
        backends.values().map(ToString::to_string).collect()
    };
    assert_eq!(backends(&maps), ["10.1.0.1:8080", "10.1.0.2:8080"]);

    rig.change(vec![own_node(Some("b"))]).await;
    assert_eq!(backends(&maps), ["10.1.0.2:8080"]);

    rig.change(vec![own_node(Some("a"))]).await;
    assert_eq!(backends(&maps), ["10.1.0.1:8080"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_one_service_writes_only_what_it_changes() {
    let maps = FakeMaps::default();
    let rig = Rig::start(&maps, TunnelKind::None);
    let services = (1..200).flat_map(global);
    rig.sync(
        services
            .chain([cluster("west", Control::Connected)])
            .collect(),
    )
    .await;
    maps.take_done();

    rig.change(vec![endpoint("west", "s7", "10.2.9.9")]).await;

    let image = maps.image();
    let id = image.services[&frontend(7)].id();
    let west = index_of(&image, "west");
    let added = MapOp::PutBackend(
        BackendKey::new(id, west, 1),
        BackendValue::new(Ipv4Addr::new(10, 2, 9, 9), 8080),
    );
    let grown = MapOp::PutService(frontend(7), image.services[&frontend(7)]);
    assert_eq!(maps.take_ops(), [added, grown]);
}

#[tokio::test(start_paused = true)]
async fn services_are_planned_although_the_gateway_never_falls_silent() {
    let maps = FakeMaps::default();
    let rig = Rig::start(&maps, TunnelKind::None);
    rig.sync(everything()).await;
    maps.take_done();

    let mut number = 1000;
    while maps.done_count() == 0 {
        number += 1;
        assert!(number < 2000, "nothing is planned while updates come");
        rig.say(PeerEvent::Updates(global(number))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_linked_no_more_leaves_the_maps() {
    let maps = FakeMaps::default();
    let rig = Rig::start(&maps, TunnelKind::Kernel);
    rig.sync(everything()).await;
    rig.probe("west", Path::Good);
    rig.settle().await;
    assert!(rig.targets.borrow().contains_key(&(name("west"), w1())));

    let ends = everything()
        .into_iter()
        .filter(|u| u.key.cluster == name("west"));
    rig.change(ends.map(gone).collect()).await;

    let image = maps.image();
    assert_eq!(state_of(&image, "west"), None);
    assert_eq!((image.services.len(), image.backends.len()), (2, 2));
    assert!(rig.status().await.clusters.is_empty());
    assert!(rig.targets.borrow().is_empty());
    assert!(rig.plan.borrow().as_ref().unwrap().peers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_change_is_applied_although_nothing_traces_it() {
    let maps = FakeMaps::default();
    let rig = Rig::start(&maps, TunnelKind::None);
    rig.sync(everything()).await;
    let mut update = gone(endpoint("east", "s1", "10.1.0.1"));
    update.trace = Some(TraceContext {
        trace_id: [7; 16],
        span_id: [9; 8],
        sampled: true,
    });

    rig.change(vec![update]).await;

    assert_eq!(maps.image().backends.len(), 3);
}

/// Two global services, and the other cluster.
fn everything() -> Vec<Update> {
    let services = (1..3).flat_map(global);
    services.chain(west(Control::Connected)).collect()
}

/// What no plan asks for.
fn strange() -> BackendValue {
    BackendValue::new(Ipv4Addr::new(10, 9, 9, 9), 9)
}

fn frontend(number: u16) -> FrontendKey {
    let [high, low] = number.to_be_bytes();
    FrontendKey::new(Ipv4Addr::new(10, 96, high, low), 80, 6)
}

fn empty_service(id: u32) -> ServiceValue {
    ServiceValue::try_new(id, &[]).unwrap()
}

fn is_delete(done: &Done) -> bool {
    matches!(
        done,
        Done::Op(MapOp::DeleteService(_) | MapOp::DeleteBackend(_))
    )
}

fn index_of(image: &Image, cluster: &str) -> u16 {
    let mut clusters = image.clusters.iter();
    let found = clusters.find(|(_, value)| value.name() == cluster);
    *found.unwrap().0
}

fn state_of(image: &Image, cluster: &str) -> Option<ClusterState> {
    let mut clusters = image.clusters.values();
    let found = clusters.find(|value| value.name() == cluster);
    found.and_then(ClusterValue::state)
}

fn w1() -> NodeName {
    NodeName::parse("w1").unwrap()
}
