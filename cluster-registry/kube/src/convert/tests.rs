//! Tests of the conversion's rules, each on the smallest object that shows it.

use std::net::IpAddr;

use cluster_registry::{
    endpoint::{Conditions, Endpoint},
    mcs::NamespaceSharing,
    node::Node as RegistryNode,
    service::{ClusterAffinity, Service as RegistryService, Sharing},
};
use k8s_openapi::api::{
    core::v1::{Namespace as GivenNamespace, Node, Service},
    discovery::v1::EndpointSlice,
};
use serde_json::{Value, json};

use super::*;
use crate::object::Slice;

mod endpoints;
mod exposure;
mod steering;

#[test]
fn a_service_is_its_own_clusters_unless_it_says_so() {
    assert_eq!(sharing(json!({})), Sharing::default());
    assert_eq!(
        sharing(json!({"isthmus.io/global": "false"})),
        Sharing::default()
    );
    assert_eq!(
        sharing(json!({"isthmus.io/shared": "true", "isthmus.io/affinity": "local"})),
        Sharing::default()
    );
}

#[test]
fn cilium_annotations_mean_what_ours_do() {
    for [global, shared, affinity] in [
        [
            "isthmus.io/global",
            "isthmus.io/shared",
            "isthmus.io/affinity",
        ],
        [
            "service.cilium.io/global",
            "service.cilium.io/shared",
            "service.cilium.io/affinity",
        ],
        [
            "io.cilium/global-service",
            "io.cilium/shared-service",
            "io.cilium/service-affinity",
        ],
    ] {
        let expected = Sharing {
            global: true,
            shared: true,
            affinity: ClusterAffinity::None,
        };
        assert_eq!(sharing(json!({global: "true"})), expected);
        assert_eq!(
            sharing(json!({global: "True", shared: "false", affinity: "remote"})),
            Sharing {
                shared: false,
                affinity: ClusterAffinity::Remote,
                ..expected
            }
        );
        assert_eq!(sharing(json!({global: "true", affinity: "none"})), expected);
    }
}

#[test]
fn every_value_of_the_annotations_means_one_safe_thing() {
    use ClusterAffinity::{Local, None as Any, Remote};
    // What stands in global, shared and affinity, and what it comes to; a flaw for each value that is unknown.
    type Row = ([&'static str; 3], Option<(bool, ClusterAffinity)>, usize);
    let table: [Row; 12] = [
        (["true", "true", "none"], Some((true, Any)), 0),
        (["true", "false", "local"], Some((false, Local)), 0),
        (["TRUE", " true ", "Remote"], Some((true, Remote)), 0),
        (["true", "true", ""], Some((true, Any)), 0),
        // The literal none, and what is unknown, must drop nobody's backends.
        (["true", "true", "None"], Some((true, Any)), 0),
        (["true", "true", "nearest"], Some((true, Any)), 1),
        (["true", "yes", "local"], Some((true, Local)), 1),
        (["false", "true", "local"], None, 0),
        (["1", "true", "none"], None, 1),
        (["yes", "maybe", "far"], None, 3),
        (["", "true", "none"], None, 1),
        (["false", "false", "remote"], None, 0),
    ];
    for ([global, shared, affinity], expected, unknown) in table {
        let (service, flaws) = service(json!({"metadata": {"name": "web", "annotations": {
            "isthmus.io/global": global, "isthmus.io/shared": shared, "isthmus.io/affinity": affinity}},
            "spec": {"clusterIP": "10.96.0.1"}}));

        let expected = expected.map_or_else(Sharing::default, |(shared, affinity)| Sharing {
            global: true,
            shared,
            affinity,
        });
        assert_eq!(service.sharing, expected, "{global} {shared} {affinity}");
        assert_eq!(flaws.len(), unknown, "{flaws:?}");
    }
}

#[test]
fn our_annotation_wins_over_ciliums() {
    let both = json!({"service.cilium.io/global": "true", "isthmus.io/global": "false"});

    assert!(!sharing(both).global);
}

#[test]
fn an_unknown_annotation_value_is_told_and_the_default_taken() {
    let (service, flaws) = service(json!({"metadata": {"name": "web", "annotations": {
        "isthmus.io/global": "true", "isthmus.io/shared": "maybe", "service.cilium.io/affinity": "nearest"}},
        "spec": {"clusterIP": "10.96.0.1"}}));

    assert!(service.sharing.shared);
    assert_eq!(service.sharing.affinity, ClusterAffinity::None);
    assert_eq!(
        flaws,
        [
            r#"annotation isthmus.io/shared is 'maybe', not "true" or "false": 'true' is taken"#,
            r#"annotation service.cilium.io/affinity is 'nearest', not "local", "remote" or "none": 'none' is taken"#
        ]
    );
}

#[test]
fn a_namespace_can_keep_its_services_at_home() {
    let said = |annotations: Value| {
        let given: GivenNamespace =
            parse(json!({"metadata": {"name": "shop", "annotations": annotations}}));
        given.convert(&mut Vec::new()).unwrap()
    };
    let excluded = Object::Namespace(NamespaceSharing::Excluded);
    let allowed = Object::Namespace(NamespaceSharing::Allowed);

    assert_eq!(said(json!({"isthmus.io/global": "false"})), excluded);
    assert_eq!(
        said(json!({"clustermesh.cilium.io/global": "false"})),
        excluded
    );
    assert_eq!(
        said(json!({"clustermesh.cilium.io/global": "true"})),
        allowed
    );
    assert_eq!(said(json!({})), allowed);
}

#[test]
fn a_headless_service_has_no_address() {
    let (service, flaws) = service(json!({"metadata": {"name": "db"},
        "spec": {"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 5432}]}}));

    assert!(service.is_headless());
    assert_eq!(service.cluster_ips, [] as [IpAddr; 0]);
    assert_eq!(flaws, [] as [String; 0]);
}

#[test]
fn a_service_without_an_address_counts_and_is_told() {
    let (service, flaws) = service(json!({"metadata": {"name": "db"}, "spec": {"clusterIP": ""}}));

    assert!(!service.is_headless());
    assert_eq!(
        flaws,
        [
            "it has neither a clusterIP nor 'clusterIP: None', so clients of this cluster cannot dial it"
        ]
    );
}

#[test]
fn the_bad_parts_of_a_service_are_left_out() {
    let (service, flaws) = service(json!({"metadata": {"name": "web"}, "spec": {
        "clusterIPs": ["10.96.0.1", "10.96.0.2", "127.0.0.1", "::ffff:1.2.3.4", "x"],
        "ports": [{"port": 80}, {"port": 0}, {"port": 81, "protocol": "ICMP"}, {"port": 82, "name": "A"},
            {"port": 80, "name": "b"}, {"port": 83}, {"port": 80, "protocol": "UDP"}]}}));

    assert_eq!(
        service.cluster_ips,
        ["10.96.0.1".parse::<IpAddr>().unwrap()]
    );
    let ports: Vec<_> = service.ports.iter().map(|p| (p.protocol, p.port)).collect();
    assert_eq!(ports.len(), 2, "{ports:?}");
    assert_eq!(
        flaws,
        [
            "cluster IP '10.96.0.2' is a second one of its family: it is left out",
            "cluster IP '127.0.0.1' is a loopback address: it is left out",
            "cluster IP '::ffff:1.2.3.4' is an IPv4 address in IPv6 form: it is left out",
            "cluster IP 'x' is not an IP address: it is left out",
            "port 0 is not between 1 and 65535: it is left out",
            "protocol 'ICMP' is not TCP, UDP or SCTP: its port is left out",
            "port name 'A' is not valid ('A' may only have lower-case letters, digits and '-', and must begin and end with a letter or digit): the port is left out",
            "port 80/TCP is there twice: the second is left out",
            "two TCP ports are named '': the second is left out",
        ]
    );
}

#[test]
fn conditions_that_are_not_set_are_good() {
    let slice = slice(json!([
        {"addresses": ["10.1.0.1"]},
        {"addresses": ["10.1.0.2"], "conditions": {"ready": false}},
        {"addresses": ["10.1.0.3"], "conditions": {"ready": false, "serving": true, "terminating": true}},
    ]));

    let conditions = |address: &str| endpoint(&slice.0, address).conditions;
    assert_eq!(conditions("10.1.0.1"), Conditions::READY);
    assert!(!conditions("10.1.0.2").ready && !conditions("10.1.0.2").terminating);
    assert_eq!(
        conditions("10.1.0.3"),
        Conditions {
            ready: false,
            serving: true,
            terminating: true
        }
    );
}

#[test]
fn of_an_endpoints_addresses_the_first_counts() {
    let (slice, flaws) = slice(json!([{"addresses": ["10.1.0.1", "10.1.0.9"]}]));

    assert_eq!(slice.endpoint_by_address.len(), 1);
    assert_eq!(flaws, [] as [String; 0]);
}

#[test]
fn a_bad_endpoint_costs_only_itself() {
    let (slice, flaws) = slice(json!([
        {"addresses": []},
        {"addresses": ["fd00::1"]},
        {"addresses": ["169.254.1.1"]},
        {"addresses": ["10.1.0.1"], "nodeName": "N1", "zone": "a zone", "hostname": "web-0", "unknown": 1},
    ]));

    let kept = endpoint(&slice, "10.1.0.1");
    assert_eq!(slice.endpoint_by_address.len(), 1);
    assert_eq!((&kept.node, &kept.zone), (&None, &None));
    assert_eq!(kept.hostname.as_deref(), Some("web-0"));
    assert_eq!(
        flaws,
        [
            "an endpoint has no address: it is left out",
            "endpoint address 'fd00::1' is not an address of the slice's addressType: it is left out",
            "endpoint address '169.254.1.1' is a link-local address: it is left out",
            "nodeName 'N1' is not valid ('N1' may only have lower-case letters, digits and '-', and must begin and end with a letter or digit): the endpoint counts without its node",
            "zone 'a zone' is not a label: it is left out",
        ]
    );
}

#[test]
fn a_port_without_a_number_is_none() {
    let given: EndpointSlice = parse(json!({"addressType": "IPv4",
        "metadata": {"name": "web", "labels": {"kubernetes.io/service-name": "web"}},
        "endpoints": [{"addresses": ["10.1.0.1"]}],
        "ports": [{"name": "all"}, {"name": "http", "port": 80}, {"port": 53, "protocol": "UDP", "name": ""}]}));

    let Object::Slice(slice) = given.convert(&mut Vec::new()).unwrap() else {
        panic!();
    };
    let ports = &endpoint(&slice, "10.1.0.1").ports;
    assert_eq!(ports.len(), 2);
    assert_eq!(ports[0].name, None);
}

#[test]
fn another_meshs_slices_are_not_ours() {
    let given: EndpointSlice = parse(json!({"addressType": "IPv4", "endpoints": [],
        "metadata": {"name": "web", "labels": {
            "kubernetes.io/service-name": "web", "multicluster.kubernetes.io/source-cluster": "west"}}}));

    assert_eq!(given.convert(&mut Vec::new()), Err(NotOurs::OtherCluster));
}

#[test]
fn a_node_gives_its_internal_addresses_and_ranges() {
    let (node, flaws) = node(json!({
        "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "eu-1a"}},
        "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd01::5/64"]},
        "status": {"addresses": [
            {"type": "ExternalIP", "address": "203.0.113.7"},
            {"type": "InternalIP", "address": "172.18.0.2"},
            {"type": "InternalIP", "address": "fc00::2"},
            {"type": "Hostname", "address": "n1"}]}}));

    assert_eq!(node.zone.as_deref(), Some("eu-1a"));
    assert_eq!(node.addresses.len(), 2);
    assert_eq!(
        node.pod_cidrs,
        ["10.1.0.0/24".parse().unwrap(), "fd01::/64".parse().unwrap()]
    );
    assert_eq!(flaws, [] as [String; 0]);
}

#[test]
fn a_range_that_would_take_everything_is_left_out() {
    let (node, flaws) = node(json!({"metadata": {"name": "n1"},
        "spec": {"podCIDRs": ["0.0.0.0/0", "10.1.0.1", "224.0.0.0/8"], "podCIDR": "10.9.0.0/24"}}));

    assert_eq!(node.pod_cidrs, []);
    assert_eq!(
        flaws,
        [
            "it has no address of type InternalIP, so no tunnel can reach it",
            "pod CIDR '0.0.0.0/0' holds every address: it is left out",
            "pod CIDR '10.1.0.1' is not a range of IP addresses: it is left out",
            "pod CIDR '224.0.0.0/8' is a multicast address: it is left out",
        ]
    );
}

#[test]
fn names_default_to_the_default_namespace_and_must_be_there() {
    let key = |meta: Value| {
        let given: Service = parse(json!({"metadata": meta}));
        given.key().map(|key| key.to_string())
    };

    assert_eq!(
        key(json!({"name": "web"})),
        Ok("Service default/web".to_owned())
    );
    assert_eq!(key(json!({"generateName": "web-"})), Err(KeyError::NoName));
    assert!(matches!(
        key(json!({"name": "web", "namespace": "a/b"})),
        Err(KeyError::BadName(_))
    ));
}

#[test]
fn of_many_flaws_a_few_are_told() {
    let flaws: Vec<Flaw> = (0..5).map(|n| Flaw::PortNumber(-n)).collect();

    let text = FlawList(&flaws).to_string();

    assert!(text.ends_with("; and 2 more"), "{text}");
    assert_eq!(FlawList(&flaws[..1]).to_string(), flaws[0].to_string());
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn converted(given: &impl Convert) -> (Object, Vec<String>) {
    let mut flaws = Vec::new();
    let object = given.convert(&mut flaws).unwrap();
    (object, flaws.iter().map(Flaw::to_string).collect())
}

fn service(value: Value) -> (RegistryService, Vec<String>) {
    match converted(&parse::<Service>(value)) {
        (Object::Service(service), flaws) => (service, flaws),
        (other, _) => panic!("{other:?}"),
    }
}

fn node(value: Value) -> (RegistryNode, Vec<String>) {
    match converted(&parse::<Node>(value)) {
        (Object::Node(node), flaws) => (node, flaws),
        (other, _) => panic!("{other:?}"),
    }
}

fn slice(endpoints: Value) -> (Slice, Vec<String>) {
    let given: EndpointSlice = parse(json!({"addressType": "IPv4", "endpoints": endpoints,
        "metadata": {"name": "web", "labels": {"kubernetes.io/service-name": "web"}}}));
    match converted(&given) {
        (Object::Slice(slice), flaws) => (slice, flaws),
        (other, _) => panic!("{other:?}"),
    }
}

fn endpoint<'a>(slice: &'a Slice, address: &str) -> &'a Endpoint {
    &slice.endpoint_by_address[&address.parse::<IpAddr>().unwrap()]
}

fn sharing(annotations: Value) -> Sharing {
    let given = json!({"metadata": {"name": "web", "annotations": annotations},
        "spec": {"clusterIP": "10.96.0.1"}});
    let (service, flaws) = service(given);
    assert_eq!(flaws, [] as [String; 0]);
    service.sharing
}
