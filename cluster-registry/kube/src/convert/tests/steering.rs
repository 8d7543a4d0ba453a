//! What steers a service's traffic: its type, families, affinity, policies, and when it was made.

use std::time::Duration;

use cluster_registry::{
    service::{MAX_PORTS, ServiceKind, Timestamp},
    traffic::{IpFamily, IpFamilyPolicy, SessionAffinity, TrafficDistribution, TrafficPolicy},
};

use super::*;

#[test]
fn the_type_is_the_objects_and_headless_is_one_of_its_own() {
    let cases = [
        (json!({"clusterIP": "10.96.0.1"}), ServiceKind::ClusterIp),
        (
            json!({"type": "NodePort", "clusterIP": "10.96.0.1"}),
            ServiceKind::NodePort,
        ),
        (
            json!({"type": "LoadBalancer", "clusterIP": "10.96.0.1"}),
            ServiceKind::LoadBalancer,
        ),
        (
            json!({"type": "ExternalName", "externalName": "example.org"}),
            ServiceKind::ExternalName,
        ),
        (json!({"clusterIP": "None"}), ServiceKind::Headless),
    ];
    for (spec, kind) in cases {
        let (service, flaws) = of_spec(spec);
        assert_eq!(service.kind, kind);
        assert_eq!(flaws, [] as [String; 0]);
    }
}

#[test]
fn an_external_name_is_never_exported_whatever_it_says() {
    let (service, _) = service(
        json!({"metadata": {"name": "web", "annotations": {"isthmus.io/global": "true"}},
        "spec": {"type": "ExternalName", "clusterIP": "10.96.0.1", "externalName": "example.org"}}),
    );

    assert!(!service.is_exported() && !service.sharing.global);
    assert_eq!(service.cluster_ips, [] as [IpAddr; 0]);
}

#[test]
fn the_headless_label_keeps_proxies_from_the_cluster_ip() {
    let (service, flaws) = service(json!({"metadata": {"name": "web",
        "labels": {"service.kubernetes.io/headless": ""}}, "spec": {"clusterIP": "10.96.0.1"}}));

    assert_eq!(service.kind, ServiceKind::Headless);
    assert_eq!(service.cluster_ips, [] as [IpAddr; 0]);
    assert_eq!(flaws, [] as [String; 0]);
}

#[test]
fn everything_that_steers_traffic_is_taken() {
    let (service, flaws) = service(json!({
        "metadata": {"name": "web", "creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": {
            "clusterIPs": ["10.96.0.1", "fd96::1"], "ipFamilies": ["IPv4", "IPv6"],
            "ipFamilyPolicy": "PreferDualStack", "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10}},
            "internalTrafficPolicy": "Local", "trafficDistribution": "PreferSameNode",
            "publishNotReadyAddresses": true, "type": "NodePort", "ports": [
                {"name": "http", "port": 80, "nodePort": 30080, "appProtocol": "kubernetes.io/h2c", "targetPort": "web"},
                {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "sig", "port": 36412, "protocol": "SCTP"}]}}));

    assert_eq!(flaws, [] as [String; 0]);
    assert_eq!(service.created, Timestamp(1_767_323_045));
    let families: Vec<_> = service.ip_families.iter().collect();
    assert_eq!(families, [IpFamily::V4, IpFamily::V6]);
    assert_eq!(
        service.ip_families.policy(),
        IpFamilyPolicy::PreferDualStack
    );
    let timeout = Duration::from_secs(10);
    assert_eq!(
        service.session_affinity,
        SessionAffinity::ClientIp { timeout }
    );
    assert_eq!(service.internal_traffic_policy, TrafficPolicy::Local);
    assert_eq!(
        service.traffic_distribution,
        Some(TrafficDistribution::PreferSameNode)
    );
    assert!(service.publish_not_ready);
    assert_eq!(service.ports.len(), 3);
    assert_eq!(service.ports[0].node_port.unwrap().get(), 30080);
    assert_eq!(
        service.ports[0].app_protocol.as_deref(),
        Some("kubernetes.io/h2c")
    );
}

#[test]
fn what_is_not_said_has_kubernetes_defaults() {
    let (service, _) = of_spec(
        json!({"clusterIP": "fd96::1", "sessionAffinity": "ClientIP",
        "trafficDistribution": "PreferClose", "ports": [{"port": 80, "nodePort": 30080}]}),
    );

    let families: Vec<_> = service.ip_families.iter().collect();
    assert_eq!(families, [IpFamily::V6]);
    let timeout = Duration::from_secs(10_800);
    assert_eq!(
        service.session_affinity,
        SessionAffinity::ClientIp { timeout }
    );
    assert_eq!(service.internal_traffic_policy, TrafficPolicy::Cluster);
    assert_eq!(
        service.traffic_distribution,
        Some(TrafficDistribution::PreferSameZone)
    );
    assert_eq!(service.created, Timestamp(0));
    // A node port that is left over from another type is not served.
    assert_eq!(service.ports[0].node_port, None);
}

#[test]
fn a_timestamp_in_the_future_is_taken_and_one_before_1970_is_the_oldest() {
    let created = |text: &str| {
        let (service, flaws) = service(
            json!({"metadata": {"name": "web", "creationTimestamp": text},
            "spec": {"clusterIP": "10.96.0.1"}}),
        );
        assert_eq!(flaws, [] as [String; 0]);
        service.created
    };

    assert_eq!(created("2999-01-01T00:00:00Z"), Timestamp(32_472_144_000));
    assert_eq!(created("1969-12-31T23:59:59Z"), Timestamp(0));
}

#[test]
fn unknown_values_are_told_and_the_defaults_taken() {
    let (service, flaws) = of_spec(json!({"clusterIP": "10.96.0.1", "type": "Anycast",
        "ipFamilies": ["IPv5"], "ipFamilyPolicy": "TripleStack", "sessionAffinity": "Cookie",
        "internalTrafficPolicy": "Nearest", "trafficDistribution": "Sideways", "unknownField": {"a": 1},
        "ports": [{"port": 80, "appProtocol": "a b", "unknown": true}]}));

    assert_eq!(service.kind, ServiceKind::ClusterIp);
    assert_eq!(service.session_affinity, SessionAffinity::None);
    assert_eq!(service.ports.len(), 1);
    assert_eq!(
        flaws,
        [
            "type is 'Anycast', not ClusterIP, NodePort, LoadBalancer or ExternalName: 'ClusterIP' is taken",
            "ipFamilyPolicy is 'TripleStack', not SingleStack, PreferDualStack or RequireDualStack: 'SingleStack' is taken",
            "ipFamilies is 'IPv5', not IPv4 or IPv6: it is left out",
            "appProtocol 'a b' is not a label: it is left out",
            "sessionAffinity is 'Cookie', not None or ClientIP: 'None' is taken",
            "internalTrafficPolicy is 'Nearest', not Cluster or Local: 'Cluster' is taken",
            "trafficDistribution is 'Sideways', not PreferSameZone, PreferSameNode or PreferClose: it is left out",
        ]
    );
}

#[test]
fn a_timeout_outside_a_day_is_told_and_the_default_taken() {
    for seconds in [0, -1, 86_401] {
        let (service, flaws) = of_spec(
            json!({"clusterIP": "10.96.0.1", "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}}}),
        );

        let timeout = Duration::from_secs(10_800);
        assert_eq!(
            service.session_affinity,
            SessionAffinity::ClientIp { timeout }
        );
        assert_eq!(
            flaws,
            [format!(
                "sessionAffinityConfig.clientIP.timeoutSeconds is '{seconds}', not between 1 and 86400: '10800' is taken"
            )]
        );
    }
}

#[test]
fn of_too_many_ports_the_first_count() {
    let ports: Vec<Value> = (1..=300)
        .map(|n| json!({"name": format!("p{n}"), "port": n}))
        .collect();

    let (service, flaws) = of_spec(json!({"clusterIP": "10.96.0.1", "ports": ports}));

    assert_eq!(service.ports.len(), MAX_PORTS);
    assert_eq!(flaws, ["it has more than 256 ports: the rest is left out"]);
}

#[test]
fn several_ports_without_names_are_told_and_the_first_of_each_protocol_counts() {
    let (service, flaws) = of_spec(json!({"clusterIP": "10.96.0.1",
        "ports": [{"port": 80}, {"port": 81}, {"port": 53, "protocol": "UDP"}]}));

    assert_eq!(service.ports.len(), 2);
    assert_eq!(
        flaws,
        ["two TCP ports are named '': the second is left out"]
    );
}

#[test]
fn a_name_over_its_limit_is_no_service() {
    let named = |name: &str| {
        let given: Service = parse(json!({"metadata": {"name": name}}));
        given.key().is_ok()
    };

    assert!(named(&"a".repeat(63)));
    assert!(!named(&"a".repeat(64)));
}

#[test]
fn a_name_over_253_bytes_is_no_node() {
    let named = |length: usize| {
        let name = ["a"; 127].join(".") + &"b".repeat(length - 253);
        let given: Node = parse(json!({"metadata": {"name": name}}));
        given.key().map_err(|error| error.to_string())
    };

    assert!(named(253).is_ok());
    assert!(named(254).unwrap_err().contains("more than 253"));
}

fn of_spec(spec: Value) -> (RegistryService, Vec<String>) {
    service(json!({"metadata": {"name": "web"}, "spec": spec}))
}
