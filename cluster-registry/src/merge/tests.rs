//! Tests of the merge: the truth table of global services, and any order of facts against a naive function.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::testing::{any_change, cluster, endpoint, ip, key, service, shop};

#[test]
fn backends_follow_the_truth_table_of_global_services() {
    // Own global, own shared, other's global, other's shared: whether the other's backends are used.
    let table = [
        (false, false, true, true, false),
        (true, true, false, true, false),
        (true, true, true, true, true),
        (true, true, true, false, false),
        (true, false, true, true, true),
        (true, false, true, false, false),
    ];
    for (global, shared, other_global, other_shared, uses_other) in table {
        let mut merge = Merge::new(cluster("east"));
        offer(&mut merge, "east", global, shared);
        offer(&mut merge, "west", other_global, other_shared);

        let view = merge.view();
        let merged = &view.services[&shop("web")];

        let case = format!("{global} {shared} {other_global} {other_shared}");
        assert!(merged.endpoints.contains_key(&cluster("east")), "{case}");
        assert_eq!(
            merged.endpoints.contains_key(&cluster("west")),
            uses_other,
            "{case}"
        );
        assert_eq!(merged.is_global(), global, "{case}");
    }
}

#[test]
fn a_service_that_only_others_have_is_known_without_backends() {
    let mut merge = Merge::new(cluster("east"));
    offer(&mut merge, "west", true, true);

    let view = merge.view();
    let merged = &view.services[&shop("web")];

    assert!(merged.local.is_none());
    assert!(merged.remote.contains_key(&cluster("west")));
    assert!(merged.endpoints.is_empty());
}

#[test]
fn endpoints_without_a_service_wait_for_it() {
    let mut merge = Merge::new(cluster("east"));
    merge.apply(&web_endpoint("east"), Some(&READY));
    assert!(merge.view().services.is_empty());

    merge.apply(&web("east"), Some(&web_service(true, true)));

    assert_eq!(merge.view().services[&shop("web")].endpoints.len(), 1);
}

#[test]
fn a_view_is_the_same_allocation_until_something_changes() {
    let mut merge = Merge::new(cluster("east"));
    offer(&mut merge, "east", true, true);
    let before = merge.view();

    offer(&mut merge, "east", true, true);
    assert!(Arc::ptr_eq(&before, &merge.view()));

    merge.apply(&web_endpoint("east"), None);
    assert!(!Arc::ptr_eq(&before, &merge.view()));
    assert_eq!(before.services[&shop("web")].endpoints.len(), 1);
}

#[test]
fn only_what_changed_is_touched_and_rebuilt() {
    let mut merge = Merge::new(cluster("east"));
    offer(&mut merge, "east", true, true);
    let api = key("east", ResourceId::Service(shop("api")));
    merge.apply(&api, Some(&web_service(true, true)));
    let before = merge.view();
    merge.take_touched();

    merge.apply(&web_endpoint("east"), None);
    let after = merge.view();

    let touched = merge.take_touched();
    assert_eq!(touched.services, BTreeSet::from([shop("web")]));
    assert!(touched.nodes.is_empty());
    assert!(Arc::ptr_eq(
        &before.services[&shop("api")],
        &after.services[&shop("api")]
    ));
    assert!(merge.take_touched().is_empty());
}

proptest! {
    #[test]
    fn any_order_and_repetition_gives_what_a_naive_merge_gives(
        changes in prop::collection::vec(any_change(), 0..80),
        seed in any::<prop::sample::Index>(),
    ) {
        let mut history = Merge::new(cluster("east"));
        let mut newest = BTreeMap::new();
        for (key, value) in &changes {
            history.apply(key, value.as_ref());
            history.apply(key, value.as_ref());
            history.view();
            newest.insert(key.clone(), value.clone());
        }
        let mut shuffled = Merge::new(cluster("east"));
        let mut order: Vec<_> = newest.iter().collect();
        if !order.is_empty() {
            let middle = seed.index(order.len());
            order.rotate_left(middle);
            order.reverse();
        }
        for (key, value) in order {
            shuffled.apply(key, value.as_ref());
        }

        let expected = naive(&newest);
        prop_assert_eq!(&*history.view(), &expected);
        prop_assert_eq!(&*shuffled.view(), &expected);
    }

    #[test]
    fn what_is_not_touched_is_equal_in_both_views(
        before in prop::collection::vec(any_change(), 0..40),
        after in prop::collection::vec(any_change(), 0..10),
    ) {
        let mut merge = Merge::new(cluster("east"));
        for (key, value) in &before {
            merge.apply(key, value.as_ref());
        }
        let old = merge.view();
        merge.take_touched();
        for (key, value) in &after {
            merge.apply(key, value.as_ref());
        }
        let new = merge.view();
        let touched = merge.take_touched();

        for name in old.services.keys().chain(new.services.keys()) {
            prop_assert!(
                touched.services.contains(name) || old.services.get(name) == new.services.get(name)
            );
        }
        for name in old.nodes.keys().chain(new.nodes.keys()) {
            prop_assert!(touched.nodes.contains(name) || old.nodes.get(name) == new.nodes.get(name));
        }
        for name in old.clusters.keys().chain(new.clusters.keys()) {
            prop_assert!(
                touched.clusters.contains(name) || old.clusters.get(name) == new.clusters.get(name)
            );
        }
    }
}

const READY: Resource = Resource::Endpoint(Endpoint {
    ports: Vec::new(),
    conditions: crate::endpoint::Conditions::READY,
    node: None,
    zone: None,
    hostname: None,
});

fn web(cluster: &str) -> Key {
    key(cluster, ResourceId::Service(shop("web")))
}

fn web_endpoint(cluster: &str) -> Key {
    key(cluster, ResourceId::Endpoint(shop("web"), ip("10.9.0.1")))
}

fn web_service(global: bool, shared: bool) -> Resource {
    Resource::Service(service(&["10.0.0.1"], global, shared))
}

fn offer(merge: &mut Merge, cluster: &str, global: bool, shared: bool) {
    merge.apply(&web(cluster), Some(&web_service(global, shared)));
    let value = Resource::Endpoint(endpoint(true));
    merge.apply(&web_endpoint(cluster), Some(&value));
}

/// The view that the newest state of all keys adds up to, by asking each question of all of them.
fn naive(newest: &BTreeMap<Key, Option<Resource>>) -> View {
    let own = cluster("east");
    let mut view = View {
        cluster: own.clone(),
        clusters: BTreeMap::new(),
        nodes: BTreeMap::new(),
        services: BTreeMap::new(),
    };
    let mut services: BTreeMap<ServiceName, MergedService> = BTreeMap::new();
    let mut nodes: BTreeMap<(ClusterName, NodeName), MergedNode> = BTreeMap::new();
    let present = newest
        .iter()
        .filter_map(|(key, value)| Some((key, value.as_ref()?)));
    for (key, value) in present {
        let cluster = key.cluster.clone();
        match (&key.id, value) {
            (ResourceId::Cluster, Resource::Cluster(control)) if cluster != own => {
                view.clusters.insert(cluster, *control);
            }
            (ResourceId::Node(name), Resource::Node(node)) => {
                let merged = nodes.entry((cluster, name.clone())).or_default();
                merged.node = Some(node.clone());
            }
            (ResourceId::Tunnel(name), Resource::Tunnel(tunnel)) => {
                let merged = nodes.entry((cluster, name.clone())).or_default();
                merged.tunnel = Some(tunnel.clone());
            }
            (ResourceId::Service(name), Resource::Service(service)) => {
                if cluster == own {
                    services.entry(name.clone()).or_default().local = Some(service.clone());
                } else if service.sharing.global && service.sharing.shared {
                    let merged = services.entry(name.clone()).or_default();
                    merged.remote.insert(cluster, service.clone());
                }
            }
            (ResourceId::Endpoint(name, address), Resource::Endpoint(endpoint))
                if is_used(newest, &cluster, name) =>
            {
                let merged = services.entry(name.clone()).or_default();
                let endpoints = merged.endpoints.entry(cluster).or_default();
                endpoints.insert(*address, Arc::new(endpoint.clone()));
            }
            _ => {}
        }
    }
    let shared = |(name, service)| (name, Arc::new(service));
    view.services = services.into_iter().map(shared).collect();
    view.nodes = nodes.into_iter().map(|(k, v)| (k, Arc::new(v))).collect();
    view
}

/// Whether clients in east use the endpoints that a cluster has for a service.
fn is_used(
    newest: &BTreeMap<Key, Option<Resource>>,
    cluster: &ClusterName,
    name: &ServiceName,
) -> bool {
    let sharing = |cluster: &str| match newest.get(&key(cluster, ResourceId::Service(name.clone())))
    {
        Some(Some(Resource::Service(service))) => Some(service.sharing),
        _ => None,
    };
    match (sharing("east"), sharing(cluster.as_str())) {
        (Some(_), _) if cluster.as_str() == "east" => true,
        (Some(own), Some(other)) => own.global && other.global && other.shared,
        _ => false,
    }
}
