//! The schema's table, question by question: imports with addresses of their own, and headless ones.

use super::*;
use crate::{
    endpoint::{Conditions, Endpoint, EndpointPort},
    mcs::{Export, ImportAddresses},
    service::Protocol,
    testing::port,
};

#[test]
fn an_import_answers_its_own_addresses() {
    let view = imported().view();

    assert_eq!(ask(&view, WEB, RecordKind::A), found(&["10.97.0.1"]));
    assert_eq!(ask(&view, WEB, RecordKind::Aaaa), found(&["fd97::1"]));
}

#[test]
fn an_import_that_waits_for_its_addresses_exists_without_records() {
    let mut merge = imported();
    merge.apply(&key("east", ResourceId::Import(shop("web"))), None);

    assert_eq!(ask(&merge.view(), WEB, RecordKind::A), Answer::NoData);
}

#[test]
fn a_service_that_nobody_exports_does_not_exist() {
    let mut merge = Merge::new(cluster("east"));
    let plain = Resource::from(service(&["10.96.0.1"], false, false));
    merge.apply(&web("east"), Some(&plain));

    assert_eq!(ask(&merge.view(), WEB, RecordKind::A), Answer::NxDomain);
    assert_eq!(ask(&merge.view(), WEB, RecordKind::Srv), Answer::NxDomain);
}

#[test]
fn a_named_port_of_an_import_is_found_at_the_imports_name() {
    let view = imported().view();

    let http = ["_http", "_tcp", "web", "shop", "svc"];
    assert_eq!(
        ask(&view, &http, RecordKind::Srv),
        at(&[("web.shop.svc", 42)])
    );
    assert_eq!(ask(&view, &http, RecordKind::A), Answer::NoData);
    for wrong in [
        ["_http", "_udp", "web", "shop", "svc"],
        ["_other", "_tcp", "web", "shop", "svc"],
        ["_", "_tcp", "web", "shop", "svc"],
        ["_http", "tcp", "web", "shop", "svc"],
    ] {
        assert_eq!(ask(&view, &wrong, RecordKind::Srv), Answer::NxDomain);
    }
    // The name between exists without records, as a name below it does.
    let tcp = ["_tcp", "web", "shop", "svc"];
    assert_eq!(ask(&view, &tcp, RecordKind::Srv), Answer::NoData);
    let sctp = ["_sctp", "web", "shop", "svc"];
    assert_eq!(ask(&view, &sctp, RecordKind::Srv), Answer::NxDomain);
}

#[test]
fn two_ports_of_one_number_are_one_place_at_the_bare_name() {
    // The conformance suite's service: 42 over TCP and over UDP, and exactly one record.
    let view = imported().view();

    assert_eq!(
        ask(&view, WEB, RecordKind::Srv),
        at(&[("web.shop.svc", 42)])
    );
}

#[test]
fn an_unnamed_port_is_found_only_at_the_bare_name() {
    let mut merge = imported();
    let unnamed = Service {
        ports: vec![port("", Protocol::Tcp, 80)],
        ..exported()
    };
    merge.apply(&web("east"), Some(&unnamed.into()));
    merge.apply(&web("west"), None);
    let view = merge.view();

    assert_eq!(
        ask(&view, WEB, RecordKind::Srv),
        at(&[("web.shop.svc", 80)])
    );
    let tcp = ["_tcp", "web", "shop", "svc"];
    assert_eq!(ask(&view, &tcp, RecordKind::Srv), Answer::NxDomain);
}

#[test]
fn a_headless_import_answers_the_ready_endpoints_of_the_exporting_clusters() {
    let view = headless_import().view();

    assert_eq!(
        ask(&view, WEB, RecordKind::A),
        found(&["10.1.0.1", "10.2.0.1"])
    );
    assert_eq!(ask(&view, WEB, RecordKind::Aaaa), found(&["fd02::1"]));
}

#[test]
fn each_ready_endpoint_has_a_name_in_its_cluster() {
    let view = headless_import().view();
    let pod = |host, cluster| [host, cluster, "web", "shop", "svc"];

    assert_eq!(
        ask(&view, &pod("web-0", "west"), RecordKind::A),
        found(&["10.2.0.1"])
    );
    assert_eq!(
        ask(&view, &pod("web-0", "west"), RecordKind::Aaaa),
        found(&["fd02::1"])
    );
    // Without a host name the address is the name.
    assert_eq!(
        ask(&view, &pod("10-1-0-1", "east"), RecordKind::A),
        found(&["10.1.0.1"])
    );
    for (host, cluster) in [
        ("web-0", "east"),
        ("web-1", "west"),
        ("10-2-0-1", "west"),
        ("10-1-0-1", "north"),
    ] {
        let labels = pod(host, cluster);
        assert_eq!(ask(&view, &labels, RecordKind::A), Answer::NxDomain);
    }
}

#[test]
fn a_cluster_id_before_a_headless_service_is_reserved_too() {
    let view = headless_import().view();

    for labels in [
        &["west", "web", "shop", "svc"][..],
        &["west", "registry", "web", "shop", "svc"],
    ] {
        assert_eq!(ask(&view, labels, RecordKind::A), Answer::NxDomain);
    }
}

#[test]
fn a_cluster_id_of_two_labels_adds_a_label() {
    let mut merge = headless_import();
    merge.apply(&web("west.example"), Some(&headless_export().into()));
    put(&mut merge, "west.example", "10.3.0.1", Some("web-7"), true);
    let view = merge.view();

    let pod = ["web-7", "west", "example", "web", "shop", "svc"];
    assert_eq!(ask(&view, &pod, RecordKind::A), found(&["10.3.0.1"]));
    let reserved = ["west", "example", "web", "shop", "svc"];
    assert_eq!(ask(&view, &reserved, RecordKind::A), Answer::NxDomain);
}

#[test]
fn a_headless_port_has_a_place_for_each_ready_endpoint() {
    let view = headless_import().view();
    let expected = at(&[
        ("10-1-0-1.east.web.shop.svc", 8080),
        ("web-0.west.web.shop.svc", 8080),
    ]);

    let http = ["_http", "_tcp", "web", "shop", "svc"];
    assert_eq!(ask(&view, &http, RecordKind::Srv), expected);
    // At the bare name, UDP's equal place is not told twice.
    assert_eq!(ask(&view, WEB, RecordKind::Srv), expected);
}

#[test]
fn an_endpoint_whose_name_is_too_long_for_dns_has_no_place() {
    let label = "a".repeat(63);
    let mut merge = Merge::new(cluster("east"));
    let name = ServiceName::parse(&label, &label).unwrap();
    let id = ResourceId::Service(name.clone());
    merge.apply(&key("east", id.clone()), Some(&headless_export().into()));
    merge.apply(&key(&label, id), Some(&headless_export().into()));
    for (cluster, hostname, address) in
        [("east", "short", "10.1.0.1"), (&label, &label, "10.2.0.1")]
    {
        let endpoint = Endpoint {
            hostname: Some(hostname.into()),
            ..serving()
        };
        let id = ResourceId::Endpoint(name.clone(), ip(address));
        merge.apply(&key(cluster, id), Some(&endpoint.into()));
    }

    let answer = ask(&merge.view(), &[&label, &label, "svc"], RecordKind::Srv);

    assert_eq!(
        answer,
        at(&[(&format!("short.east.{label}.{label}.svc"), 8080)])
    );
}

#[test]
fn an_answer_of_too_many_addresses_is_cut_to_the_same_hosts_in_both_families() {
    let mut merge = headless_import();
    for n in 0..3_000u32 {
        let host = format!("h{n:04}");
        // The later the host, the lower its IPv4 address, so that order by address would pick others.
        let v4 = std::net::Ipv4Addr::from(0x0a05_0000 + 3_000 - n);
        let v6 = format!("fd05::{n:x}");
        put(&mut merge, "east", &v4.to_string(), Some(&host), true);
        put(&mut merge, "east", &v6, Some(&host), true);
    }
    let view = merge.view();

    let (Answer::Addresses(four), Answer::Addresses(six)) = (
        ask(&view, WEB, RecordKind::A),
        ask(&view, WEB, RecordKind::Aaaa),
    ) else {
        panic!("both have addresses");
    };

    assert_eq!((four.len(), six.len()), (1_000, 1_000));
    let endpoints = &view.services[&shop("web")].import_endpoints[&cluster("east")];
    let hosts = |ips: &[IpAddr]| -> std::collections::BTreeSet<_> {
        let known = ips.iter().filter_map(|ip| endpoints.get(ip));
        known.filter_map(|e| e.hostname.clone()).collect()
    };
    assert!(hosts(&four).symmetric_difference(&hosts(&six)).count() <= 2);
}

fn at(places: &[(&str, u16)]) -> Answer {
    let places = places.iter().map(|(target, port)| Place {
        target: (*target).to_owned(),
        port: *port,
    });
    Answer::Places(places.collect())
}

/// East's view of web, which east and west export with 42 over TCP and UDP.
pub(super) fn imported() -> Merge {
    let mut merge = Merge::new(cluster("east"));
    for cluster in ["east", "west"] {
        merge.apply(&web(cluster), Some(&exported().into()));
    }
    let addresses = ImportAddresses {
        ips: vec![ip("10.97.0.1"), ip("fd97::1")],
    };
    let id = ResourceId::Import(shop("web"));
    merge.apply(&key("east", id), Some(&addresses.into()));
    merge
}

/// The same, headless: one ready endpoint in east, one dual-stack host in west, and others that are not ready.
pub(super) fn headless_import() -> Merge {
    let mut merge = Merge::new(cluster("east"));
    for cluster in ["east", "west"] {
        merge.apply(&web(cluster), Some(&headless_export().into()));
    }
    // North has the service but does not export it.
    merge.apply(&web("north"), Some(&service(&[], true, true).into()));
    for (cluster, address, hostname, is_ready) in [
        ("east", "10.1.0.1", None, true),
        ("east", "10.1.0.2", None, false),
        ("west", "10.2.0.1", Some("web-0"), true),
        ("west", "fd02::1", Some("web-0"), true),
        ("west", "10.2.0.2", Some("web-1"), false),
        ("north", "10.9.0.1", None, true),
    ] {
        put(&mut merge, cluster, address, hostname, is_ready);
    }
    merge
}

fn put(merge: &mut Merge, cluster: &str, address: &str, hostname: Option<&str>, is_ready: bool) {
    let endpoint = Endpoint {
        hostname: hostname.map(Into::into),
        conditions: Conditions {
            ready: is_ready,
            ..Conditions::READY
        },
        ..serving()
    };
    merge.apply(&web_endpoint(cluster, address), Some(&endpoint.into()));
}

fn serving() -> Endpoint {
    let ports = exported().ports;
    let ports = ports.into_iter().map(|port| EndpointPort {
        name: port.name,
        protocol: port.protocol,
        port: 8080,
    });
    Endpoint::ready(ports.collect::<Vec<_>>())
}

fn exported() -> Service {
    Service {
        ports: vec![
            port("http", Protocol::Tcp, 42),
            port("dns", Protocol::Udp, 42),
        ],
        export: Some(Box::new(Export::default())),
        ..service(&["10.96.0.1"], false, false)
    }
}

fn headless_export() -> Service {
    Service {
        kind: ServiceKind::Headless,
        cluster_ips: Vec::new(),
        ..exported()
    }
}
