//! Tests of what peers may announce: the lies that are refused, each by its name.

use super::*;
use crate::testing::{cluster, endpoint, ip, key, node, node_name, service, shop};

#[test]
fn a_peer_may_announce_its_own_shared_services() {
    assert_eq!(announce_endpoint("10.2.0.7"), Ok(()));
    assert_eq!(announce_endpoint("fd00:2::7"), Ok(()));
    assert_eq!(announce_service("shop", "web"), Ok(()));
    assert_eq!(announce_node(&["192.0.2.2"], &["10.2.0.0/24"]), Ok(()));
}

#[test]
fn a_peer_speaks_only_for_itself() {
    let id = ResourceId::Service(shop("web"));
    let value = Resource::from(service(&[], true, true));
    for victim in ["east", "north"] {
        let foreign = Err(Refusal::ForeignCluster(cluster(victim)));

        let put = key(victim, id.clone());
        assert_eq!(run(&Grants::default(), &put, Some(&value)), foreign);
        assert_eq!(run(&Grants::default(), &put, None), foreign);
    }
}

#[test]
fn a_peer_may_not_say_whether_it_lives() {
    let control = crate::cluster::Control::Connected;
    let value = Resource::Cluster(crate::cluster::Cluster { control });
    let key = key("west", ResourceId::Cluster);

    let refused = run(&Grants::default(), &key, Some(&value));

    assert_eq!(refused, Err(Refusal::WrongKind));
}

#[test]
fn addresses_that_no_cluster_has_are_refused() {
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:10.2.0.7",
        "fe80::1",
        "ff02::1",
    ] {
        let refused = announce_endpoint(address).unwrap_err();
        assert_eq!(refused.label(), "unroutable", "{address}");
    }
}

#[test]
fn ranges_that_hold_forbidden_addresses_are_refused() {
    for range in [
        "0.0.0.0/0",
        "0.0.0.0/1",
        "128.0.0.0/1",
        "96.0.0.0/3",
        "::/0",
        "::/1",
        "8000::/1",
        "fe80::/64",
    ] {
        let refused = announce_node(&["192.0.2.2"], &[range]).unwrap_err();
        assert_eq!(refused.label(), "unroutable", "{range}");
    }
}

#[test]
fn a_node_may_not_have_more_than_the_pods_of_a_large_cluster() {
    for range in ["32.0.0.0/3", "8.0.0.0/7", "fc00::/7", "2001::/16"] {
        let refused = announce_node(&[], &[range]).unwrap_err();
        assert_eq!(refused.label(), "too_wide", "{range}");
    }
    for range in ["10.0.0.0/8", "2001:db8::/32"] {
        assert_eq!(announce_node(&[], &[range]), Ok(()), "{range}");
    }
}

#[test]
fn a_link_restricts_the_ranges_of_endpoints_and_pods() {
    let grants = Grants {
        cidrs: vec!["10.2.0.0/16".parse().unwrap()],
        ..Grants::default()
    };
    let run_node = |range: &str| {
        let key = key("west", ResourceId::Node(node_name("n1")));
        let value = Resource::from(node(&["192.0.2.2"], &[range]));
        run(&grants, &key, Some(&value))
    };

    assert_eq!(run_node("10.2.3.0/24"), Ok(()));
    assert_eq!(
        run_node("10.2.0.0/15").unwrap_err().label(),
        "range_not_granted"
    );
    assert_eq!(
        run_endpoint(&grants, "10.3.0.1").unwrap_err().label(),
        "range_not_granted"
    );
    assert_eq!(run_endpoint(&grants, "10.2.0.1"), Ok(()));
}

#[test]
fn system_services_are_refused_unless_their_namespace_is_named() {
    let named = Grants {
        namespaces: Namespaces::Only(BTreeSet::from([
            Namespace::parse("kube-system").unwrap(),
            Namespace::parse("default").unwrap(),
        ])),
        ..Grants::default()
    };

    let refused = announce_service("kube-system", "dns").unwrap_err();
    assert_eq!(refused.label(), "namespace_not_granted");
    assert_eq!(run_service(&named, "kube-system", "dns"), Ok(()));
    for grants in [&Grants::default(), &named] {
        let refused = run_service(grants, "default", "kubernetes").unwrap_err();
        assert_eq!(refused.label(), "reserved_service");
    }
    let refused = run_service(&named, "shop", "web").unwrap_err();
    assert_eq!(refused.label(), "namespace_not_granted");
}

fn run(grants: &Grants, key: &Key, value: Option<&Resource>) -> Result<(), Refusal> {
    check_form(&cluster("west"), key, value)?;
    value.map_or(Ok(()), |value| check_grants(grants, &key.id, value))
}

fn announce_endpoint(address: &str) -> Result<(), Refusal> {
    run_endpoint(&Grants::default(), address)
}

fn run_endpoint(grants: &Grants, address: &str) -> Result<(), Refusal> {
    let key = key("west", ResourceId::Endpoint(shop("web"), ip(address)));
    run(grants, &key, Some(&Resource::from(endpoint(true))))
}

fn announce_service(namespace: &str, name: &str) -> Result<(), Refusal> {
    run_service(&Grants::default(), namespace, name)
}

fn run_service(grants: &Grants, namespace: &str, name: &str) -> Result<(), Refusal> {
    let value = Resource::from(service(&["10.96.0.1"], true, true));
    run(grants, &west_service(namespace, name), Some(&value))
}

fn west_service(namespace: &str, name: &str) -> Key {
    let name = ServiceName::parse(namespace, name).unwrap();
    key("west", ResourceId::Service(name))
}

fn announce_node(addresses: &[&str], pod_cidrs: &[&str]) -> Result<(), Refusal> {
    let key = key("west", ResourceId::Node(node_name("n1")));
    let value = Resource::from(node(addresses, pod_cidrs));
    run(&Grants::default(), &key, Some(&value))
}
