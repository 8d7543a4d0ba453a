//! What this crate's tests build their cases from.

use std::{net::IpAddr, time::Duration};

use proptest::prelude::*;

use crate::{
    cluster::{Cluster, Control},
    endpoint::{Conditions, Endpoint},
    link::LinkSpec,
    mcs::{Export, ImportAddresses, NamespaceSharing},
    name::{ClusterName, Namespace, NodeName, PortName, ServiceName},
    node::{Node, PublicKey, Tunnel},
    resource::{Key, Resource, ResourceId},
    service::{Protocol, Service, ServiceKind, ServicePort, Sharing, Timestamp},
    traffic::{
        IpFamilies,
        IpFamily::{V4, V6},
        IpFamilyPolicy, SessionAffinity, TrafficDistribution, TrafficPolicy,
    },
};

pub(crate) fn cluster(name: &str) -> ClusterName {
    ClusterName::parse(name).unwrap()
}

/// A link that grants and tells all that may be.
pub(crate) fn link(name: &str) -> LinkSpec {
    LinkSpec::new(cluster(name))
}

pub(crate) fn node_name(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

pub(crate) fn shop(name: &str) -> ServiceName {
    ServiceName::parse("shop", name).unwrap()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn key(cluster_name: &str, id: ResourceId) -> Key {
    Key {
        cluster: cluster(cluster_name),
        id,
    }
}

pub(crate) fn service(cluster_ips: &[&str], global: bool, shared: bool) -> Service {
    Service {
        cluster_ips: cluster_ips.iter().map(|text| ip(text)).collect(),
        sharing: Sharing {
            global,
            shared,
            ..Sharing::default()
        },
        ..Service::default()
    }
}

pub(crate) fn endpoint(ready: bool) -> Endpoint {
    Endpoint {
        conditions: Conditions {
            ready,
            ..Conditions::READY
        },
        ..Endpoint::ready([])
    }
}

pub(crate) fn node(addresses: &[&str], pod_cidrs: &[&str]) -> Node {
    Node {
        addresses: addresses.iter().map(|text| ip(text)).collect(),
        pod_cidrs: pod_cidrs.iter().map(|text| text.parse().unwrap()).collect(),
        zone: None,
    }
}

pub(crate) fn tunnel(seed: u8) -> Tunnel {
    Tunnel {
        public_key: PublicKey([seed; 32]),
        port: 51872,
        probe_port: 4701,
        probe_address: ip(&format!("fd00::{seed:x}")),
        next_public_key: None,
        within_cluster: false,
    }
}

/// A key of few clusters, services, nodes and addresses, so that histories come back to the same ones.
pub(crate) fn any_key() -> impl Strategy<Value = Key> {
    let clusters = prop::sample::select(vec!["east", "north", "west"]);
    (clusters, any_id()).prop_map(|(name, id)| key(name, id))
}

pub(crate) fn any_id() -> impl Strategy<Value = ResourceId> {
    let services = || prop::sample::select(vec!["api", "web"]).prop_map(shop);
    let nodes = || prop::sample::select(vec!["n1", "n2"]).prop_map(node_name);
    let addresses = prop::sample::select(vec!["10.9.0.1", "10.9.0.2", "fd09::1"]);
    prop_oneof![
        1 => Just(ResourceId::Cluster),
        1 => nodes().prop_map(ResourceId::Node),
        1 => nodes().prop_map(ResourceId::Tunnel),
        2 => services().prop_map(ResourceId::Service),
        1 => Just(ResourceId::Namespace(Namespace::parse("shop").unwrap())),
        1 => services().prop_map(ResourceId::Import),
        3 => (services(), addresses).prop_map(|(name, at)| ResourceId::Endpoint(name, ip(at))),
    ]
}

/// A value of the kind that an id names.
pub(crate) fn any_value(id: &ResourceId) -> BoxedStrategy<Resource> {
    match id {
        ResourceId::Cluster => any::<bool>()
            .prop_map(|lost| {
                let control = if lost {
                    Control::Lost
                } else {
                    Control::Connected
                };
                Resource::Cluster(Cluster { control })
            })
            .boxed(),
        ResourceId::Node(_) => (1..3u8)
            .prop_map(|n| Resource::from(node(&[&format!("192.0.2.{n}")], &[])))
            .boxed(),
        ResourceId::Tunnel(_) => (1..3u8).prop_map(|n| Resource::from(tunnel(n))).boxed(),
        ResourceId::Service(_) => any_definition().prop_map(Resource::from).boxed(),
        ResourceId::Endpoint(..) => any::<bool>()
            .prop_map(|ready| Resource::from(endpoint(ready)))
            .boxed(),
        ResourceId::Namespace(_) => prop_oneof![
            Just(Resource::Namespace(NamespaceSharing::Allowed)),
            Just(Resource::Namespace(NamespaceSharing::Excluded)),
        ]
        .boxed(),
        ResourceId::Import(_) => Just(Resource::from(ImportAddresses {
            ips: vec![ip("10.97.0.1")],
        }))
        .boxed(),
    }
}

/// A definition of few values in every field that matters to a merge, so that definitions agree and disagree.
pub(crate) fn any_definition() -> impl Strategy<Value = Service> {
    let kind = prop::sample::select(vec![
        ServiceKind::ClusterIp,
        ServiceKind::ClusterIp,
        ServiceKind::NodePort,
        ServiceKind::Headless,
        ServiceKind::ExternalName,
    ]);
    let sharing = any::<(bool, bool)>().prop_map(|(global, shared)| Sharing {
        global,
        shared,
        ..Sharing::default()
    });
    let affinity = prop::sample::select(vec![None, Some(10), Some(20)]);
    let families = prop::sample::select(vec![vec![], vec![V4], vec![V4, V6], vec![V6, V4]]);
    let policy = prop::sample::select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local]);
    let distribution = prop::sample::select(vec![None, Some(TrafficDistribution::PreferSameZone)]);
    let steering = (affinity, families, policy, distribution);
    let export = prop::option::weighted(0.7, (0..4u64, 0..3u8, 0..3u8));
    (kind, sharing, any_ports(), steering, export).prop_map(
        |(kind, sharing, ports, steering, export)| Service {
            kind,
            sharing,
            ports,
            cluster_ips: vec![ip("10.0.0.1")],
            session_affinity: steering.0.map_or(SessionAffinity::None, |seconds| {
                SessionAffinity::ClientIp {
                    timeout: Duration::from_secs(seconds),
                }
            }),
            ip_families: IpFamilies::new(steering.1, IpFamilyPolicy::default()),
            internal_traffic_policy: steering.2,
            traffic_distribution: steering.3,
            export: export.map(|(created, label, annotation)| {
                Box::new(Export {
                    created: Timestamp(created),
                    labels: [("l".to_owned(), label.to_string())].into(),
                    annotations: [("a".to_owned(), annotation.to_string())].into(),
                })
            }),
            ..Service::default()
        },
    )
}

/// Ports that a service may have together, out of few that clash with each other.
fn any_ports() -> impl Strategy<Value = Vec<ServicePort>> {
    let all = vec![
        port("http", Protocol::Tcp, 80),
        port("http", Protocol::Tcp, 81),
        port("web", Protocol::Tcp, 80),
        port("dns", Protocol::Udp, 53),
        port("", Protocol::Tcp, 53),
        ServicePort {
            app_protocol: Some("h2c".into()),
            ..port("http", Protocol::Tcp, 80)
        },
    ];
    let some = prop::sample::subsequence(all, 0..=3).prop_shuffle();
    some.prop_map(|ports| {
        let mut kept: Vec<ServicePort> = Vec::new();
        for port in ports {
            let clashes = |other: &ServicePort| {
                other.name == port.name
                    || (other.protocol == port.protocol && other.port == port.port)
            };
            if !kept.iter().any(clashes) {
                kept.push(port);
            }
        }
        kept
    })
}

pub(crate) fn port(name: &str, protocol: Protocol, number: u16) -> ServicePort {
    let name = (!name.is_empty()).then(|| PortName::parse(name).unwrap());
    ServicePort::new(name, protocol, number)
}

/// A change of a key: a new value or its end.
pub(crate) fn any_change() -> impl Strategy<Value = (Key, Option<Resource>)> {
    any_key().prop_flat_map(|key| {
        let value = prop::option::weighted(0.7, any_value(&key.id));
        (Just(key), value)
    })
}
