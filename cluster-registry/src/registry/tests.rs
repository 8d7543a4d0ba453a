//! Tests of the registry: what peers and nodes may know, and that a snapshot replaces without a flap.

use std::{collections::BTreeMap, sync::LazyLock};

use proptest::prelude::*;

use super::*;
use crate::{
    cluster::Control,
    digest::KeyRange,
    import::Refusal,
    store::Revision,
    testing::{
        any_id, any_value, cluster, endpoint, ip, key, link, node, node_name, service, shop, tunnel,
    },
};

#[test]
fn only_shared_global_services_and_their_endpoints_are_exported() {
    let mut east = registry();
    put_web(&mut east, false, true);
    put_endpoint(&mut east, "10.1.0.1");
    assert_eq!(exported(&east), []);

    put_web(&mut east, true, true);
    assert_eq!(exported(&east), [web_id(), endpoint_id("10.1.0.1")]);

    put_endpoint(&mut east, "10.1.0.2");
    put_web(&mut east, true, false);
    assert_eq!(exported(&east), []);
    assert_eq!(east.feed().iter().count(), 3);
}

#[test]
fn a_service_is_exported_before_its_endpoints_and_withdrawn_after_them() {
    let mut east = registry();
    put_endpoint(&mut east, "10.1.0.1");
    put_web(&mut east, true, true);
    assert_eq!(
        changes(&east, 0),
        [(web_id(), true), (endpoint_id("10.1.0.1"), true)]
    );

    east.apply_local(&web_id(), None, None);
    assert_eq!(
        changes(&east, 2),
        [(endpoint_id("10.1.0.1"), false), (web_id(), false)]
    );
}

#[test]
fn nodes_and_tunnels_of_this_cluster_are_exported() {
    let mut east = registry();
    let name = node_name("n1");
    let value = Resource::from(node(&["192.0.2.1"], &["10.1.0.0/24"]));
    east.apply_local(&ResourceId::Node(name.clone()), Some(value), None);
    east.apply_tunnel(&name, Some(tunnel(1).into()), None);

    let ids = [ResourceId::Node(name.clone()), ResourceId::Tunnel(name)];
    assert_eq!(exported(&east), ids);
}

#[test]
fn imports_reach_the_nodes_and_never_other_peers() {
    let mut east = linked();
    import(&mut east, web_id(), Some(web(true, true))).unwrap();

    assert_eq!(exported(&east), []);
    let west_web = key("west", web_id());
    assert!(east.feed().get(&west_web).is_some());
    assert_eq!(east.peer_summary(&cluster("west")).unwrap().services, 1);
}

#[test]
fn a_snapshot_replaces_what_was_known_without_a_flap() {
    let mut east = linked();
    let west = cluster("west");
    for address in ["10.2.0.1", "10.2.0.2"] {
        import(&mut east, endpoint_id(address), Some(READY.clone())).unwrap();
    }
    let before = east.feed().cursor();

    east.handle_import_begin(&west, &[KeyRange::default()]);
    import(&mut east, endpoint_id("10.2.0.1"), Some(READY.clone())).unwrap();
    assert_eq!(east.feed().cursor(), before);
    east.handle_import_end(&west);

    let batch = east.feed().changes_after(Some(before), 10).unwrap();
    let [gone] = &batch.changes[..] else {
        panic!("{batch:?}");
    };
    assert_eq!(gone.key.id, endpoint_id("10.2.0.2"));
    assert_eq!(gone.value, None);
}

#[test]
fn a_snapshot_that_broke_off_removes_nothing() {
    let mut east = linked();
    let west = cluster("west");
    import(&mut east, endpoint_id("10.2.0.1"), Some(READY.clone())).unwrap();

    east.handle_import_begin(&west, &[KeyRange::default()]);
    east.set_control(&west, Control::Lost);
    east.set_control(&west, Control::Connected);
    east.handle_import_end(&west);

    assert_eq!(east.peer_summary(&west).unwrap().endpoints, 1);
}

#[test]
fn a_lost_peer_keeps_its_state_until_it_is_dropped() {
    let mut east = linked();
    let west = cluster("west");
    import(&mut east, web_id(), Some(web(true, true))).unwrap();

    east.set_control(&west, Control::Lost);
    assert_eq!(east.view().clusters[&west].control, Control::Lost);
    assert_eq!(east.view().services.len(), 1);

    east.drop_peer_state(&west);
    assert!(east.view().services.is_empty());
    assert_eq!(east.view().clusters[&west].control, Control::Lost);
}

#[test]
fn refused_updates_are_counted_and_withdraw_what_they_replace() {
    let mut east = linked();
    let id = ResourceId::Node(node_name("n1"));
    let good = Resource::from(node(&["192.0.2.2"], &["10.2.0.0/24"]));
    let bad = Resource::from(node(&["192.0.2.2"], &["0.0.0.0/0"]));
    import(&mut east, id.clone(), Some(good)).unwrap();

    import(&mut east, id.clone(), Some(bad)).unwrap_err();

    let summary = east.peer_summary(&cluster("west")).unwrap();
    assert_eq!(summary.nodes, 0);
    assert_eq!(summary.accepted, 1);
    assert_eq!(summary.refused, BTreeMap::from([("unroutable", 1)]));
    assert!(east.feed().get(&key("west", id)).is_none());
}

#[test]
fn another_clusters_resources_are_safe_from_a_lying_peer() {
    let mut east = linked();
    east.add_peer(&link("north"));
    let north = key("north", web_id());
    let honest = east.handle_import(
        &cluster("north"),
        north.clone(),
        Some(web(true, true)),
        None,
    );
    assert_eq!(honest, Ok(()));

    let lie = east.handle_import(&cluster("west"), north.clone(), None, None);

    assert_eq!(lie, Err(Refusal::ForeignCluster(cluster("north"))));
    assert!(east.feed().get(&north).is_some());
}

#[test]
fn an_unlinked_cluster_is_refused() {
    let mut east = registry();

    let refused = import(&mut east, web_id(), Some(web(true, true)));

    assert_eq!(refused, Err(Refusal::UnknownPeer(cluster("west"))));
}

#[test]
fn imports_are_withdrawn_when_their_range_turns_out_to_be_our_own() {
    let mut east = linked();
    import(&mut east, endpoint_id("10.1.0.7"), Some(READY.clone())).unwrap();
    import(&mut east, endpoint_id("10.2.0.7"), Some(READY.clone())).unwrap();

    let own = Resource::from(node(&[], &["10.1.0.0/24"]));
    east.apply_local(&ResourceId::Node(node_name("n1")), Some(own), None);

    let summary = east.peer_summary(&cluster("west")).unwrap();
    assert_eq!(summary.endpoints, 1);
    assert_eq!(summary.refused, BTreeMap::from([("own_range", 1)]));
}

#[test]
fn a_peer_may_not_flood_the_registry() {
    let mut east = linked();
    let most = link("west").limits.nodes;
    for n in 0..most {
        let id = ResourceId::Node(node_name(&format!("n{n}")));
        import(&mut east, id, Some(Resource::from(node(&[], &[])))).unwrap();
    }
    let one_more = ResourceId::Node(node_name("one-more"));
    let known = ResourceId::Node(node_name("n7"));

    let refused = import(&mut east, one_more, Some(Resource::from(node(&[], &[]))));
    assert_eq!(refused.unwrap_err().label(), "too_many");
    let update = import(
        &mut east,
        known,
        Some(Resource::from(node(&["192.0.2.7"], &[]))),
    );
    assert_eq!(update, Ok(()));
    assert_eq!(east.peer_summary(&cluster("west")).unwrap().nodes, most);
}

#[test]
fn a_sources_snapshot_removes_what_it_does_not_hold_but_not_tunnels() {
    let mut east = registry();
    put_web(&mut east, true, true);
    put_endpoint(&mut east, "10.1.0.1");
    east.apply_tunnel(&node_name("n1"), Some(tunnel(1).into()), None);

    east.apply_local_snapshot(vec![(web_id(), web(true, true))]);

    let ids = [ResourceId::Tunnel(node_name("n1")), web_id()];
    assert_eq!(exported(&east), ids);
}

proptest! {
    /// Whatever happens, the exports are the shared part of what is local, and the counts are those of the feed.
    #[test]
    fn exports_and_counts_agree_with_the_feed(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut east = linked();
        let west = cluster("west");
        for (is_local, id, value) in steps {
            if is_local {
                east.apply_local(&id, value, None);
            } else {
                let outcome = east.handle_import(&west, key("west", id), value, None);
                prop_assert!(!matches!(outcome, Err(Refusal::UnknownPeer(_))));
            }
            let expected: Vec<Key> = expected_exports(&east);
            let actual: Vec<Key> = east.exports().iter().map(|(key, _)| key).collect();
            prop_assert_eq!(actual, expected);
            let count = |is_it: fn(&ResourceId) -> bool| {
                east.feed().iter_of(&west).filter(|(key, _)| is_it(&key.id)).count()
            };
            let summary = east.peer_summary(&west).unwrap();
            prop_assert_eq!(summary.services, count(|id| matches!(id, ResourceId::Service(_))));
            prop_assert_eq!(summary.endpoints, count(|id| matches!(id, ResourceId::Endpoint(..))));
            prop_assert_eq!(summary.nodes, count(|id| matches!(id, ResourceId::Node(_))));
        }
    }
}

pub(super) static READY: LazyLock<Resource> = LazyLock::new(|| endpoint(true).into());

fn any_step() -> impl Strategy<Value = (bool, ResourceId, Option<Resource>)> {
    (any::<bool>(), any_id()).prop_flat_map(|(is_local, id)| {
        let value = prop::option::weighted(0.7, any_value(&id));
        (Just(is_local), Just(id), value)
    })
}

fn expected_exports(registry: &Registry) -> Vec<Key> {
    let is_shared = |name: &ServiceName| {
        let key = key("east", ResourceId::Service(name.clone()));
        matches!(registry.feed().get(&key), Some(Resource::Service(s)) if s.is_exported())
    };
    registry
        .feed()
        .iter_of(&cluster("east"))
        .filter(|(key, _)| match &key.id {
            ResourceId::Service(name) | ResourceId::Endpoint(name, _) => is_shared(name),
            ResourceId::Node(_) | ResourceId::Tunnel(_) => true,
            ResourceId::Cluster | ResourceId::Namespace(_) | ResourceId::Import(_) => false,
        })
        .map(|(key, _)| key)
        .collect()
}

pub(super) fn registry() -> Registry {
    Registry::new(cluster("east"), Epoch(1), Epoch(2))
}

pub(super) fn linked() -> Registry {
    let mut registry = registry();
    registry.add_peer(&link("west"));
    registry.set_control(&cluster("west"), Control::Connected);
    registry
}

pub(super) fn web_id() -> ResourceId {
    ResourceId::Service(shop("web"))
}

pub(super) fn endpoint_id(address: &str) -> ResourceId {
    ResourceId::Endpoint(shop("web"), ip(address))
}

pub(super) fn web(global: bool, shared: bool) -> Resource {
    Resource::from(service(&["10.96.0.1"], global, shared))
}

fn put_web(registry: &mut Registry, global: bool, shared: bool) {
    registry.apply_local(&web_id(), Some(web(global, shared)), None);
}

fn put_endpoint(registry: &mut Registry, address: &str) {
    let value = Resource::from(endpoint(true));
    registry.apply_local(&endpoint_id(address), Some(value), None);
}

pub(super) fn import(
    registry: &mut Registry,
    id: ResourceId,
    value: Option<Resource>,
) -> Result<(), Refusal> {
    registry.handle_import(&cluster("west"), key("west", id), value, None)
}

fn exported(registry: &Registry) -> Vec<ResourceId> {
    let exports = registry.exports().iter();
    exports.map(|(key, _)| key.id).collect()
}

/// What a peer reads after a revision, and whether each is there.
fn changes(registry: &Registry, after: u64) -> Vec<(ResourceId, bool)> {
    let cursor = crate::store::Cursor::at(Epoch(1), Revision(after));
    let batch = registry.exports().changes_after(Some(cursor), 100).unwrap();
    let changes = batch.changes.into_iter();
    changes.map(|c| (c.key.id, c.value.is_some())).collect()
}
