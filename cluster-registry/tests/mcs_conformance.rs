//! The cases of the Multi-Cluster Services API's conformance suite that registry, merge and DNS can show.
//!
//! Each test plays a clusterset of two: what one registry exports the other imports, as sessions carry it. The names are
//! those of the suite's cases; what it asks of Kubernetes objects is shown where they are written.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod mcs_conformance_world;

use cluster_registry::{
    dns::{Answer, RecordKind},
    mcs::{ConflictReason, ImportKind},
    name::ClusterName,
    service::{Service, ServiceKind},
    traffic::{IpFamily, SessionAffinity, TrafficDistribution, TrafficPolicy},
};
use mcs_conformance_world::{HELLO, World, exported, hello, reasons};

#[test]
fn service_import_exists_only_as_long_as_at_least_one_cluster_exports() {
    let mut world = World::new();
    world.put("c1", exported(1, hello()));
    world.put("c2", exported(2, hello()));
    world.put("c1", hello());
    assert!(world.import("c1").is_some() && world.import("c2").is_some());

    world.put("c2", hello());

    assert!(world.import("c1").is_none() && world.import("c2").is_none());
}

#[test]
fn exporting_a_cluster_ip_service_creates_an_import_of_type_cluster_set_ip_in_every_cluster() {
    let mut world = World::new();
    world.put("c1", exported(1, hello()));

    for cluster in ["c1", "c2"] {
        let import = world.import(cluster).unwrap();
        assert_eq!(import.kind, ImportKind::ClusterSetIp);
        assert!(import.conflicts.is_empty());
    }
    world.delete("c1");
    assert!(world.import("c1").is_none() && world.import("c2").is_none());
}

#[test]
fn session_affinity_internal_traffic_policy_and_traffic_distribution_are_copied() {
    let mut world = World::new();
    let steered = Service {
        internal_traffic_policy: TrafficPolicy::Local,
        traffic_distribution: Some(TrafficDistribution::PreferSameZone),
        ..hello()
    };
    world.put("c1", exported(1, steered.clone()));

    let import = world.import("c2").unwrap();

    assert!(
        matches!(import.session_affinity, SessionAffinity::ClientIp { timeout } if timeout.as_secs() == 10)
    );
    assert_eq!(
        import.internal_traffic_policy,
        steered.internal_traffic_policy
    );
    assert_eq!(import.traffic_distribution, steered.traffic_distribution);
}

#[test]
fn the_import_has_one_valid_ip_per_family_in_the_order_of_its_families() {
    let mut world = World::new();
    world.put("c1", exported(1, hello()));

    for cluster in ["c1", "c2"] {
        let families: Vec<IpFamily> = world.import(cluster).unwrap().ip_families.iter().collect();
        let of_ips: Vec<IpFamily> = world.ips(cluster).into_iter().map(IpFamily::of).collect();
        assert_eq!(of_ips, families);
        assert_eq!(of_ips.len(), 2);
    }
}

#[test]
fn the_ports_of_the_import_match_the_exported_service() {
    let mut world = World::new();
    world.put("c1", exported(1, hello()));

    assert_eq!(world.import("c2").unwrap().ports, hello().ports);
}

#[test]
fn the_import_exposes_the_union_of_ports_and_tells_the_conflict() {
    let mut world = World::new();
    let (mut first, mut second) = (hello(), hello());
    first.ports.truncate(1);
    second.ports.remove(0);
    world.put("c1", exported(1, first));
    world.put("c2", exported(2, second));

    for cluster in ["c1", "c2"] {
        let import = world.import(cluster).unwrap();
        assert_eq!(import.ports, hello().ports);
        assert_eq!(reasons(&import), [ConflictReason::Port]);
    }
}

#[test]
fn a_port_conflict_is_resolved_for_the_oldest_export_and_told() {
    let mut world = World::new();
    let mut other = hello();
    other.ports[0].port = 43;
    world.put("c1", exported(2, other));
    world.put("c2", exported(1, hello()));

    for cluster in ["c1", "c2"] {
        let import = world.import(cluster).unwrap();
        assert_eq!(import.ports, hello().ports);
        assert_eq!(import.oldest.cluster.as_str(), "c2");
        assert_eq!(reasons(&import), [ConflictReason::Port]);
    }
}

#[test]
fn exporting_a_headless_service_creates_a_headless_import_without_ips() {
    let mut world = World::new();
    world.put("c1", exported(1, headless()));

    for cluster in ["c1", "c2"] {
        assert_eq!(world.import(cluster).unwrap().kind, ImportKind::Headless);
        assert!(world.ips(cluster).is_empty());
    }
}

#[test]
fn an_external_name_service_is_not_imported() {
    let mut world = World::new();
    let external = Service {
        kind: ServiceKind::ExternalName,
        ..hello()
    };
    world.put("c1", exported(1, external));

    assert!(world.import("c1").is_none() && world.import("c2").is_none());
}

#[test]
fn a_type_conflict_is_resolved_for_the_oldest_export_and_told() {
    let mut world = World::new();
    world.put("c1", exported(1, hello()));
    world.put("c2", exported(2, headless()));

    for cluster in ["c1", "c2"] {
        let import = world.import(cluster).unwrap();
        assert_eq!(import.kind, ImportKind::ClusterSetIp);
        assert_eq!(reasons(&import), [ConflictReason::Type]);
    }
}

#[test]
fn an_unexported_service_is_unreachable_from_every_cluster() {
    let mut world = World::new();
    world.put("c1", hello());
    world.put_endpoint("c1", "10.1.0.1", None);

    for cluster in ["c1", "c2"] {
        assert_eq!(world.ask(cluster, HELLO, RecordKind::A), Answer::NxDomain);
        assert!(world.behind_import(cluster).is_empty());
    }
}

#[test]
fn only_exported_labels_and_annotations_are_propagated() {
    let mut world = World::new();
    let mut service = exported(1, hello());
    let export = service.export.as_mut().unwrap();
    export.labels = [("team".to_owned(), "a".to_owned())].into();
    export.annotations = [("note".to_owned(), "b".to_owned())].into();
    world.put("c1", service);

    let import = world.import("c2").unwrap();

    assert_eq!(import.labels.get("team").map(String::as_str), Some("a"));
    assert_eq!(
        import.annotations.get("note").map(String::as_str),
        Some("b")
    );
}

#[test]
fn label_and_annotation_conflicts_are_resolved_for_the_oldest_export_and_told() {
    let mut world = World::new();
    for (cluster, created) in [("c1", 2), ("c2", 1)] {
        let mut service = exported(created, hello());
        let export = service.export.as_mut().unwrap();
        export.labels = [("of".to_owned(), cluster.to_owned())].into();
        export.annotations = [("of".to_owned(), cluster.to_owned())].into();
        world.put(cluster, service);
    }

    for cluster in ["c1", "c2"] {
        let import = world.import(cluster).unwrap();
        assert_eq!(import.labels["of"], "c2");
        assert_eq!(
            reasons(&import),
            [ConflictReason::Labels, ConflictReason::Annotations]
        );
    }
}

#[test]
fn a_service_exported_from_one_cluster_of_two_reaches_only_that_cluster() {
    let mut world = World::new();
    world.put("c1", exported(1, hello()));
    world.put("c2", hello());
    world.put_endpoint("c1", "10.1.0.1", None);
    world.put_endpoint("c2", "10.2.0.1", None);

    for cluster in ["c1", "c2"] {
        assert_eq!(world.behind_import(cluster), ["10.1.0.1"]);
    }
}

#[test]
fn traffic_to_a_port_goes_only_to_clusters_that_expose_it() {
    let mut world = World::new();
    let mut other = hello();
    other.ports[0].port = 43;
    world.put("c1", exported(1, hello()));
    world.put("c2", exported(2, other));
    world.put_endpoint("c1", "10.1.0.1", None);
    world.put_endpoint("c2", "10.2.0.1", None);

    for cluster in ["c1", "c2"] {
        let view = world.view(cluster);
        let service = world.service(&view);
        let import = service.import.as_ref().unwrap();
        let serving = |at: usize| -> Vec<&ClusterName> {
            let endpoints = service.import_endpoints_of(&import.ports[at]);
            endpoints.map(|(cluster, _)| cluster).collect()
        };
        assert_eq!(serving(0).len(), 1);
        assert_eq!(serving(0)[0].as_str(), "c1");
        assert_eq!(serving(1).len(), 2);
    }
}

#[test]
fn dns_lookup_of_a_cluster_set_ip_service_resolves_to_the_clusterset_ip() {
    let mut world = World::new();
    world.put("c1", exported(1, hello()));

    for cluster in ["c1", "c2"] {
        for (kind, ip) in [RecordKind::A, RecordKind::Aaaa]
            .iter()
            .zip(world.ips(cluster))
        {
            assert_eq!(
                world.ask(cluster, HELLO, *kind),
                Answer::Addresses(vec![ip])
            );
        }
    }
}

#[test]
fn dns_srv_lookup_of_a_cluster_set_ip_service_has_one_record() {
    let mut world = World::new();
    world.put("c1", exported(1, hello()));

    for cluster in ["c1", "c2"] {
        let Answer::Places(places) = world.ask(cluster, HELLO, RecordKind::Srv) else {
            panic!("no places");
        };
        assert_eq!(places.len(), 1);
        assert_eq!(places[0].target, "hello.conformance.svc");
        assert_eq!(places[0].port, 42);
    }
}

#[test]
fn dns_lookup_of_a_headless_service_resolves_to_the_ready_endpoints() {
    let mut world = World::new();
    world.put("c1", exported(1, headless()));
    world.put_endpoint("c1", "10.1.0.1", None);
    world.put_unready("c1", "10.1.0.2");

    for cluster in ["c1", "c2"] {
        let expected = Answer::Addresses(vec!["10.1.0.1".parse().unwrap()]);
        assert_eq!(world.ask(cluster, HELLO, RecordKind::A), expected);
    }
}

#[test]
fn dns_lookup_of_a_stateful_sets_host_names_resolves_to_each_pod() {
    let mut world = World::new();
    world.put("c1", exported(1, headless()));
    world.put_endpoint("c1", "10.1.0.1", Some("hello-0"));
    world.put_endpoint("c1", "10.1.0.2", Some("hello-1"));

    let name = ["hello-1", "c1", "hello", "conformance", "svc"];
    for cluster in ["c1", "c2"] {
        let expected = Answer::Addresses(vec!["10.1.0.2".parse().unwrap()]);
        assert_eq!(world.ask(cluster, &name, RecordKind::A), expected);
    }
}

#[test]
fn dns_srv_lookup_of_a_headless_service_has_one_record_per_endpoint() {
    let mut world = World::new();
    world.put("c1", exported(1, headless()));
    world.put_endpoint("c1", "10.1.0.1", Some("hello-0"));
    world.put_endpoint("c1", "10.1.0.2", None);

    for cluster in ["c1", "c2"] {
        let Answer::Places(places) = world.ask(cluster, HELLO, RecordKind::Srv) else {
            panic!("no places");
        };
        let targets: Vec<&str> = places.iter().map(|place| place.target.as_str()).collect();
        assert_eq!(
            targets,
            [
                "10-1-0-2.c1.hello.conformance.svc",
                "hello-0.c1.hello.conformance.svc"
            ]
        );
    }
}

fn headless() -> Service {
    Service {
        kind: ServiceKind::Headless,
        cluster_ips: Vec::new(),
        ..hello()
    }
}
