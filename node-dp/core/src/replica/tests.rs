//! Tests of the replica: snapshots, updates and what is touched.

use cluster_registry::{
    name::{NodeName, ServiceName},
    node::Node,
    service::{Service, Sharing},
};

use super::*;

#[test]
fn what_a_snapshot_does_not_say_again_is_gone() {
    let now = Instant::now();
    let mut replica = synced(&[node("east", "e1"), node("east", "e2")], now);

    snapshot(&mut replica, &[node("east", "e2")], now);

    let view = replica.view();
    let nodes: Vec<_> = view.nodes.keys().map(|(_, node)| node.as_str()).collect();
    assert_eq!(nodes, ["e2"]);
}

#[test]
fn nothing_is_gone_before_a_snapshot_ends() {
    let now = Instant::now();
    let mut replica = synced(&[node("east", "e1"), node("east", "e2")], now);

    replica.handle_snapshot_begin();
    let (key, value) = node("east", "e2");
    replica.handle_update(&key, Some(&value), now);
    assert_eq!(replica.view().nodes.len(), 2);

    replica.handle_session_end();
    assert_eq!(replica.view().nodes.len(), 2);
}

#[test]
fn a_gateway_that_forgot_a_linked_cluster_does_not_take_its_services() {
    let now = Instant::now();
    let mut replica = synced(&with_west(Control::Connected), now);

    snapshot(
        &mut replica,
        &[service("east"), cluster(Control::Lost)],
        now,
    );
    assert_eq!(services_of_west(&mut replica), 1);

    let (key, value) = cluster(Control::Connected);
    replica.handle_update(&key, Some(&value), now);
    let (key, value) = service("west");
    replica.handle_update(&key, Some(&value), now);
    replica.handle_timeout(now + SETTLE);

    assert_eq!(services_of_west(&mut replica), 1);
    assert_eq!(replica.poll_timeout(), None);
}

#[test]
fn what_a_connected_cluster_does_not_say_again_goes_once_it_has_settled() {
    let now = Instant::now();
    let mut replica = synced(&with_west(Control::Connected), now);

    snapshot(
        &mut replica,
        &[service("east"), cluster(Control::Connected)],
        now,
    );

    assert_eq!(replica.poll_timeout(), Some(now + SETTLE));
    replica.handle_timeout(now + SETTLE - Duration::from_millis(1));
    assert_eq!(services_of_west(&mut replica), 1);
    replica.handle_timeout(now + SETTLE);
    assert_eq!(services_of_west(&mut replica), 0);
}

#[test]
fn what_a_lost_cluster_said_goes_after_the_hold_time_however_often_the_gateway_restarts() {
    let now = Instant::now();
    let mut replica = synced(&with_west(Control::Connected), now);
    let forgotten = [service("east"), cluster(Control::Lost)];

    for minute in 0..15 {
        snapshot(
            &mut replica,
            &forgotten,
            now + Duration::from_secs(60 * minute),
        );
    }

    assert_eq!(replica.poll_timeout(), Some(now + HOLD));
    replica.handle_timeout(now + HOLD);
    assert_eq!(services_of_west(&mut replica), 0);
}

#[test]
fn a_cluster_that_is_no_longer_linked_goes_at_once() {
    let now = Instant::now();
    let mut replica = synced(&with_west(Control::Connected), now);

    snapshot(&mut replica, &[service("east")], now);

    assert_eq!(services_of_west(&mut replica), 0);
}

#[test]
fn unlinking_a_cluster_takes_what_was_kept_of_it() {
    let now = Instant::now();
    let mut replica = synced(&with_west(Control::Connected), now);
    snapshot(
        &mut replica,
        &[service("east"), cluster(Control::Lost)],
        now,
    );

    let (key, _) = cluster(Control::Lost);
    replica.handle_update(&key, None, now);

    assert_eq!(services_of_west(&mut replica), 0);
    assert_eq!(replica.poll_timeout(), None);
}

fn synced(resources: &[(Key, Resource)], now: Instant) -> Replica {
    let mut replica = Replica::new(name("east"));
    assert!(!replica.is_synced());
    snapshot(&mut replica, resources, now);
    assert!(replica.is_synced());
    replica
}

fn snapshot(replica: &mut Replica, resources: &[(Key, Resource)], now: Instant) {
    replica.handle_snapshot_begin();
    for (key, value) in resources {
        replica.handle_update(key, Some(value), now);
    }
    replica.handle_snapshot_end(now);
}

fn services_of_west(replica: &mut Replica) -> usize {
    let view = replica.view();
    let services = view.services.values();
    services
        .filter(|service| service.remote.contains_key(&name("west")))
        .count()
}

fn with_west(control: Control) -> [(Key, Resource); 3] {
    [service("east"), service("west"), cluster(control)]
}

fn cluster(control: Control) -> (Key, Resource) {
    let id = ResourceId::Cluster;
    let cluster = name("west");
    (Key { cluster, id }, Resource::Cluster(Cluster { control }))
}

fn node(cluster: &str, node: &str) -> (Key, Resource) {
    let id = ResourceId::Node(NodeName::parse(node).unwrap());
    let cluster = name(cluster);
    (Key { cluster, id }, Resource::from(Node::default()))
}

fn service(cluster: &str) -> (Key, Resource) {
    let id = ResourceId::Service(ServiceName::parse("shop", "web").unwrap());
    let cluster = name(cluster);
    let service = Service {
        sharing: Sharing {
            global: true,
            shared: true,
            ..Sharing::default()
        },
        ..Service::default()
    };
    (Key { cluster, id }, Resource::from(service))
}

fn name(text: &str) -> ClusterName {
    ClusterName::parse(text).unwrap()
}
