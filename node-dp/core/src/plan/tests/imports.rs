//! Frontends of imports: the endpoints of the exporting clusters, and only those of clusters that expose the port.

use std::sync::Arc;

use cluster_registry::{
    endpoint::{Endpoint, EndpointPort},
    mcs::{Export, ImportAddresses, NamespaceSharing},
    merge::Merge,
    name::PortName,
    resource::{Key, Resource, ResourceId},
    service::{Protocol, Service, ServiceKind, ServicePort, Sharing, Timestamp},
    traffic::TrafficPolicy,
};

use super::*;

#[test]
fn an_imports_address_leads_to_the_exporting_clusters_and_the_own_address_stays_local() {
    let mut merge = clusterset();
    put(&mut merge, "east", exported(2, &[("http", 80)]), "10.1.0.1");
    put(&mut merge, "west", exported(1, &[("http", 80)]), "10.2.0.1");

    let planner = planned(&mut merge);

    assert_eq!(behind(&planner, "10.97.0.1", 80), ["10.1.0.1", "10.2.0.1"]);
    assert_eq!(behind(&planner, "10.0.1.1", 80), ["10.1.0.1"]);
}

#[test]
fn a_cluster_that_did_not_export_is_not_behind_the_import_for_its_own_clients_either() {
    let mut merge = clusterset();
    let not_exported = Service {
        export: None,
        ..exported(0, &[("http", 80)])
    };
    put(&mut merge, "east", not_exported, "10.1.0.1");
    put(&mut merge, "west", exported(1, &[("http", 80)]), "10.2.0.1");

    let planner = planned(&mut merge);

    assert_eq!(behind(&planner, "10.97.0.1", 80), ["10.2.0.1"]);
    assert_eq!(behind(&planner, "10.0.1.1", 80), ["10.1.0.1"]);
}

#[test]
fn a_service_that_only_others_have_is_reached_at_the_imports_address() {
    let mut merge = clusterset();
    put(&mut merge, "west", exported(1, &[("http", 80)]), "10.2.0.1");

    let planner = planned(&mut merge);

    assert_eq!(behind(&planner, "10.97.0.1", 80), ["10.2.0.1"]);
    assert_eq!(planner.image().services.len(), 1);
}

#[test]
fn each_port_leads_only_to_clusters_that_expose_it() {
    let mut merge = clusterset();
    put(
        &mut merge,
        "east",
        exported(1, &[("http", 42), ("own", 1)]),
        "10.1.0.1",
    );
    put(
        &mut merge,
        "west",
        exported(2, &[("http", 43), ("other", 2)]),
        "10.2.0.1",
    );

    let planner = planned(&mut merge);

    assert_eq!(behind(&planner, "10.97.0.1", 42), ["10.1.0.1"]);
    assert_eq!(behind(&planner, "10.97.0.1", 1), ["10.1.0.1"]);
    assert_eq!(behind(&planner, "10.97.0.1", 2), ["10.2.0.1"]);
    assert!(
        !planner
            .image()
            .services
            .contains_key(&frontend("10.97.0.1", 43))
    );
}

#[test]
fn an_imports_internal_policy_keeps_it_to_the_node() {
    let mut merge = clusterset();
    let local = Service {
        internal_traffic_policy: TrafficPolicy::Local,
        ..exported(1, &[("http", 80)])
    };
    put(&mut merge, "west", local.clone(), "10.2.0.1");
    put(&mut merge, "east", local, "10.1.0.1");

    let planner = planned(&mut merge);

    // The endpoints of these tests run on no node.
    let frontend = frontend("10.97.0.1", 80);
    assert!(planner.image().services[&frontend].groups().is_empty());
}

#[test]
fn a_headless_import_and_one_without_an_address_have_no_frontend() {
    let mut merge = clusterset();
    let headless = Service {
        kind: ServiceKind::Headless,
        ..exported(1, &[("http", 80)])
    };
    put(&mut merge, "west", headless, "10.2.0.1");
    assert!(planned(&mut merge).image().services.is_empty());

    put(&mut merge, "west", exported(1, &[("http", 80)]), "10.2.0.1");
    merge.apply(
        &key("east", ResourceId::Import(world::service("web"))),
        None,
    );
    assert!(planned(&mut merge).image().services.is_empty());
}

#[test]
fn an_import_that_ends_takes_its_frontends_along() {
    let mut merge = clusterset();
    put(&mut merge, "west", exported(1, &[("http", 80)]), "10.2.0.1");
    let mut planner = planned(&mut merge);

    merge.apply(&key("west", web()), None);
    planner.update(&merge.view(), [&world::service("web")]);

    assert!(planner.image().services.is_empty());
    assert!(planner.image().backends.is_empty());
}

#[test]
fn a_service_that_is_global_by_annotation_has_both_ways_in() {
    let mut merge = clusterset();
    let both = Service {
        sharing: Sharing {
            global: true,
            shared: true,
            ..Sharing::default()
        },
        ..exported(1, &[("http", 80)])
    };
    put(&mut merge, "east", both.clone(), "10.1.0.1");
    let shared_only = Service {
        export: None,
        ..both
    };
    put(&mut merge, "west", shared_only, "10.2.0.1");

    let planner = planned(&mut merge);

    assert_eq!(behind(&planner, "10.0.1.1", 80), ["10.1.0.1", "10.2.0.1"]);
    assert_eq!(behind(&planner, "10.97.0.1", 80), ["10.1.0.1"]);
}

/// East, where the import of `web` has an address.
fn clusterset() -> Merge {
    let mut merge = Merge::new(name("east"));
    let namespace = ResourceId::Namespace(world::service("web").namespace);
    let sharing = Resource::Namespace(NamespaceSharing::Allowed);
    merge.apply(&key("east", namespace), Some(&sharing));
    let addresses = ImportAddresses {
        ips: vec![ip("10.97.0.1")],
    };
    let id = ResourceId::Import(world::service("web"));
    merge.apply(&key("east", id), Some(&addresses.into()));
    merge
}

fn exported(created: u64, ports: &[(&str, u16)]) -> Service {
    let port = |(label, number): &(&str, u16)| {
        let label = PortName::parse(label).unwrap();
        ServicePort::new(Some(label), Protocol::Tcp, *number)
    };
    Service {
        cluster_ips: vec![ip("10.0.1.1")],
        ports: ports.iter().map(port).collect(),
        export: Some(Box::new(Export {
            created: Timestamp(created),
            ..Export::default()
        })),
        ..Service::default()
    }
}

/// The service in a cluster with one endpoint, which serves all of its ports at 8080.
fn put(merge: &mut Merge, cluster: &str, service: Service, address: &str) {
    let ports = service.ports.iter().map(|port| EndpointPort {
        name: port.name.clone(),
        protocol: port.protocol,
        port: 8080,
    });
    let endpoint = Endpoint::ready(ports.collect::<Arc<[_]>>());
    let id = ResourceId::Endpoint(world::service("web"), ip(address));
    merge.apply(&key(cluster, id), Some(&endpoint.into()));
    merge.apply(&key(cluster, web()), Some(&service.into()));
}

fn planned(merge: &mut Merge) -> Planner {
    let mut planner = Planner::adopt(here(), Image::default());
    for cluster in ["east", "west"] {
        planner.rule(&name(cluster), Ruling::Up);
    }
    let view = merge.view();
    planner.update(&view, view.services.keys());
    planner
}

fn behind(planner: &Planner, address: &str, port: u16) -> Vec<String> {
    let image = planner.image();
    let service = &image.services[&frontend(address, port)];
    let backends = image.service(service.id());
    let mut backends: Vec<String> = backends.map(|(_, b)| b.address().to_string()).collect();
    backends.sort();
    backends
}

fn frontend(address: &str, port: u16) -> FrontendKey {
    FrontendKey::new(ip(address), port, Protocol::Tcp.number())
}

fn key(cluster: &str, id: ResourceId) -> Key {
    Key {
        cluster: name(cluster),
        id,
    }
}

fn web() -> ResourceId {
    ResourceId::Service(world::service("web"))
}
