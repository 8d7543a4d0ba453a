//! Tests of the merge: the truth table of global services, what exports add, and in [`model`] random histories.

mod mcs;
mod model;

use std::sync::LazyLock;

use super::*;
use crate::{
    mcs::{ImportAddresses, ImportKind},
    service::Service,
    testing::{cluster, endpoint, ip, key, service, shop},
    view::EndpointsByCluster,
};

#[test]
fn backends_follow_the_truth_table_of_global_services() {
    // Global in 1, in 2; shared by 1, by 2: whether 1 uses 2's backends too, and 2 those of 1.
    let yes_or_no = [false, true];
    for (g1, g2) in yes_or_no.map(|g1| yes_or_no.map(|g2| (g1, g2))).concat() {
        for (s1, s2) in yes_or_no.map(|s1| yes_or_no.map(|s2| (s1, s2))).concat() {
            let expected = match (g1, g2, s1, s2) {
                (true, true, true, true) => (true, true),
                (true, true, true, false) => (false, true),
                (true, true, false, true) => (true, false),
                (_, _, _, _) => (false, false),
            };
            let case = format!("global {g1} {g2}, shared {s1} {s2}");
            let uses = |own: &str, other: &str| {
                let mut merge = Merge::new(cluster(own));
                offer(&mut merge, "one", g1, s1);
                offer(&mut merge, "two", g2, s2);
                let view = merge.view();
                let endpoints = &view.services[&shop("web")].endpoints;
                assert!(endpoints.contains_key(&cluster(own)), "{case}");
                endpoints.contains_key(&cluster(other))
            };

            assert_eq!((uses("one", "two"), uses("two", "one")), expected, "{case}");
        }
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
    merge.apply(&web_endpoint("east"), Some(&*READY));
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

static READY: LazyLock<Resource> = LazyLock::new(|| endpoint(true).into());

fn web(cluster: &str) -> Key {
    key(cluster, ResourceId::Service(shop("web")))
}

fn web_endpoint(cluster: &str) -> Key {
    key(cluster, ResourceId::Endpoint(shop("web"), ip("10.9.0.1")))
}

fn web_service(global: bool, shared: bool) -> Resource {
    Resource::from(service(&["10.0.0.1"], global, shared))
}

fn offer(merge: &mut Merge, cluster: &str, global: bool, shared: bool) {
    merge.apply(&web(cluster), Some(&web_service(global, shared)));
    let value = Resource::from(endpoint(true));
    merge.apply(&web_endpoint(cluster), Some(&value));
}

fn shop_namespace(cluster: &str) -> Key {
    key(cluster, ResourceId::Namespace(shop("web").namespace))
}
