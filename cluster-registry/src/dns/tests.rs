//! Tests of the answers below `clusterset.local`.

mod clusterset;
mod questions;

use super::*;
use crate::{
    merge::Merge,
    resource::{Key, Resource, ResourceId},
    service::{Service, ServiceKind},
    testing::{cluster, endpoint, ip, key, service, shop},
};

#[test]
fn a_global_service_answers_this_clusters_own_addresses() {
    let view = view_of(service(&["10.96.0.1", "fd96::1"], true, true));

    assert_eq!(ask(&view, WEB, RecordKind::A), found(&["10.96.0.1"]));
    assert_eq!(ask(&view, WEB, RecordKind::Aaaa), found(&["fd96::1"]));
    assert_eq!(ask(&view, WEB, RecordKind::Txt), Answer::NoData);
    assert_eq!(ask(&view, WEB, RecordKind::Other), Answer::NoData);
}

#[test]
fn a_family_that_the_service_lacks_is_no_data() {
    let view = view_of(service(&["10.96.0.1"], true, true));

    assert_eq!(ask(&view, WEB, RecordKind::Aaaa), Answer::NoData);
}

#[test]
fn only_global_services_of_this_cluster_exist() {
    let local_only = view_of(service(&["10.96.0.1"], false, false));
    assert_eq!(ask(&local_only, WEB, RecordKind::A), Answer::NxDomain);

    let mut merge = Merge::new(cluster("east"));
    let definition = Resource::from(service(&["10.96.0.2"], true, true));
    merge.apply(&web("west"), Some(&definition));
    assert_eq!(ask(&merge.view(), WEB, RecordKind::A), Answer::NxDomain);
}

#[test]
fn a_headless_service_answers_the_ready_endpoints_of_all_clusters() {
    let view = view_of(headless());

    assert_eq!(
        ask(&view, WEB, RecordKind::A),
        found(&["10.1.0.1", "10.2.0.1"])
    );
    assert_eq!(ask(&view, WEB, RecordKind::Aaaa), found(&["fd00:2::1"]));
}

#[test]
fn a_headless_service_without_ready_endpoints_does_not_exist() {
    let mut merge = Merge::new(cluster("east"));
    merge.apply(&web("east"), Some(&Resource::from(headless())));
    let not_ready = Resource::from(endpoint(false));
    merge.apply(&web_endpoint("east", "10.1.0.1"), Some(&not_ready));

    assert_eq!(ask(&merge.view(), WEB, RecordKind::A), Answer::NxDomain);
}

#[test]
fn a_cluster_name_before_the_service_is_reserved() {
    let view = view_of(service(&["10.96.0.1"], true, true));

    for labels in [
        &["east", "web", "shop", "svc"][..],
        &["web-0", "east", "web", "shop", "svc"],
    ] {
        assert_eq!(ask(&view, labels, RecordKind::A), Answer::NxDomain);
    }
}

#[test]
fn the_schemas_version_is_told() {
    let view = view_of(service(&[], true, true));

    assert_eq!(
        ask(&view, &["dns-version"], RecordKind::Txt),
        Answer::Text("1.0.0")
    );
    assert_eq!(ask(&view, &["dns-version"], RecordKind::A), Answer::NoData);
}

#[test]
fn names_above_existing_ones_exist_without_records() {
    let view = view_of(service(&["10.96.0.1"], true, true));

    for labels in [&[][..], &["svc"], &["shop", "svc"]] {
        assert_eq!(ask(&view, labels, RecordKind::A), Answer::NoData);
    }
    assert_eq!(
        ask(&view, &["bank", "svc"], RecordKind::A),
        Answer::NxDomain
    );
}

#[test]
fn labels_that_are_no_names_do_not_exist() {
    let view = view_of(service(&["10.96.0.1"], true, true));

    for label in ["", "-", "WEB", "w.b", "w\u{0}b", "*"] {
        assert_eq!(
            ask(&view, &[label, "shop", "svc"], RecordKind::A),
            Answer::NxDomain
        );
    }
}

const WEB: &[&str] = &["web", "shop", "svc"];

fn ask(view: &View, labels: &[&str], kind: RecordKind) -> Answer {
    lookup(view, labels, kind)
}

fn found(addresses: &[&str]) -> Answer {
    Answer::Addresses(addresses.iter().map(|text| ip(text)).collect())
}

fn headless() -> Service {
    Service {
        kind: ServiceKind::Headless,
        ..service(&[], true, true)
    }
}

/// East's view of web, which west has too with two endpoints, one of each family, and one that is not ready.
fn view_of(web_service: Service) -> View {
    let mut merge = Merge::new(cluster("east"));
    let definition = Resource::from(web_service);
    for cluster in ["east", "west"] {
        merge.apply(&web(cluster), Some(&definition));
    }
    for (cluster, address, is_ready) in [
        ("east", "10.1.0.1", true),
        ("east", "10.1.0.2", false),
        ("west", "10.2.0.1", true),
        ("west", "fd00:2::1", true),
    ] {
        let value = Resource::from(endpoint(is_ready));
        merge.apply(&web_endpoint(cluster, address), Some(&value));
    }
    (*merge.view()).clone()
}

fn web(cluster: &str) -> Key {
    key(cluster, ResourceId::Service(shop("web")))
}

fn web_endpoint(cluster: &str, address: &str) -> Key {
    key(cluster, ResourceId::Endpoint(shop("web"), ip(address)))
}
