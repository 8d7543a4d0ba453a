//! Tests of the merge: the truth table of global services, what exports add, and in [`model`] random histories.

mod mcs;
mod model;

use std::sync::LazyLock;

use super::*;
use crate::testing::{cluster, endpoint, ip, key, service, shop};

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
