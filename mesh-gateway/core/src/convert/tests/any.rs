//! Arbitrary changes: every kind of resource with every field.

use std::{net::IpAddr, num::NonZeroU16, sync::Arc, time::Duration};

use cluster_registry::{
    cluster::{Cluster, Control},
    endpoint::{Conditions, Endpoint, EndpointPort, Hints},
    mcs::{Export, ImportAddresses, NamespaceSharing},
    name::{Namespace, NodeName, PortName, ServiceName},
    node::{Node, PublicKey, Tunnel},
    resource::{Key, Resource, ResourceId},
    service::{
        ClusterAffinity, Exposure, IpMode, LoadBalancerIp, Protocol, Service, ServiceKind,
        ServicePort, Sharing, SourcePolicy, Timestamp,
    },
    store::{Change, Revision},
    trace::TraceContext,
    traffic::{
        IpFamilies, IpFamily, IpFamilyPolicy, SessionAffinity, TrafficDistribution, TrafficPolicy,
    },
};
use proptest::prelude::*;

use super::cluster;

pub(super) fn any_change() -> impl Strategy<Value = Change> {
    let value = prop_oneof![
        any_cluster(),
        any_node(),
        any_tunnel(),
        any_service(),
        any_endpoint(),
        any_namespace(),
        any_import()
    ];
    let trace = prop::option::of((1..=u8::MAX, 1..=u8::MAX, any::<bool>()));
    ("[a-z]{1,8}", value, any::<bool>(), trace).prop_map(
        |(origin, (id, value), is_present, trace)| Change {
            key: Key {
                cluster: cluster(&origin),
                id,
            },
            value: is_present.then_some(value),
            revision: Revision(1),
            trace: trace.map(|(trace_id, span_id, sampled)| TraceContext {
                trace_id: [trace_id; 16],
                span_id: [span_id; 8],
                sampled,
            }),
        },
    )
}

fn any_cluster() -> BoxedStrategy<(ResourceId, Resource)> {
    prop_oneof![Just(Control::Connected), Just(Control::Lost)]
        .prop_map(|control| (ResourceId::Cluster, Resource::Cluster(Cluster { control })))
        .boxed()
}

fn any_node() -> BoxedStrategy<(ResourceId, Resource)> {
    let cidrs = prop::collection::vec(any_cidr(), 0..4);
    let addresses = prop::collection::vec(any_address(), 0..4);
    (any_node_name(), addresses, cidrs, any_label())
        .prop_map(|(name, addresses, pod_cidrs, zone)| {
            let node = Node {
                addresses,
                pod_cidrs,
                zone,
            };
            (ResourceId::Node(name), Resource::from(node))
        })
        .boxed()
}

fn any_tunnel() -> BoxedStrategy<(ResourceId, Resource)> {
    let ports = (1..=u16::MAX, 1..=u16::MAX);
    (any_node_name(), any::<[u8; 32]>(), ports, any_address())
        .prop_map(|(name, key, (port, probe_port), probe_address)| {
            let tunnel = Tunnel {
                public_key: PublicKey(key),
                port,
                probe_port,
                probe_address,
                next_public_key: key[0].is_multiple_of(2).then_some(PublicKey(key)),
                within_cluster: key[1].is_multiple_of(2),
            };
            (ResourceId::Tunnel(name), Resource::from(tunnel))
        })
        .boxed()
}

fn any_namespace() -> BoxedStrategy<(ResourceId, Resource)> {
    ("[a-z]{1,8}", any::<bool>())
        .prop_map(|(name, is_allowed)| {
            let sharing = if is_allowed {
                NamespaceSharing::Allowed
            } else {
                NamespaceSharing::Excluded
            };
            let id = ResourceId::Namespace(Namespace::parse(&name).unwrap());
            (id, Resource::Namespace(sharing))
        })
        .boxed()
}

fn any_import() -> BoxedStrategy<(ResourceId, Resource)> {
    (
        any_service_name(),
        prop::collection::vec(any_address(), 0..2),
    )
        .prop_map(|(name, ips)| {
            let import = ImportAddresses { ips };
            (ResourceId::Import(name), Resource::from(import))
        })
        .boxed()
}

fn any_service() -> BoxedStrategy<(ResourceId, Resource)> {
    let cluster_ips = prop::collection::vec(any_address(), 0..2);
    let ports = prop::collection::vec(any_service_port(), 0..4);
    let sharing =
        (any::<bool>(), any::<bool>(), any_affinity()).prop_map(|(global, shared, affinity)| {
            Sharing {
                global,
                shared,
                affinity,
            }
        });
    let shape = (any_kind(), cluster_ips, any_families(), ports, sharing);
    let affinity = (1..86_401u64).prop_map(|seconds| SessionAffinity::ClientIp {
        timeout: Duration::from_secs(seconds),
    });
    let affinity = prop_oneof![Just(SessionAffinity::None), affinity];
    let distribution = prop::option::of(prop_oneof![
        Just(TrafficDistribution::PreferSameZone),
        Just(TrafficDistribution::PreferSameNode)
    ]);
    let steering = (affinity, any_policy(), distribution, any::<bool>());
    let rest = (
        any::<u64>(),
        prop::option::of(any_export()),
        prop::option::of(any_exposure()),
    );
    (any_service_name(), shape, steering, rest)
        .prop_map(|(name, shape, steering, rest)| {
            let service = Service {
                kind: shape.0,
                cluster_ips: shape.1,
                ip_families: shape.2,
                ports: shape.3,
                sharing: shape.4,
                session_affinity: steering.0,
                internal_traffic_policy: steering.1,
                traffic_distribution: steering.2,
                publish_not_ready: steering.3,
                created: Timestamp(rest.0),
                export: rest.1.map(Box::new),
                exposure: rest.2.map(Box::new),
            };
            (ResourceId::Service(name), Resource::from(service))
        })
        .boxed()
}

fn any_affinity() -> impl Strategy<Value = ClusterAffinity> {
    prop_oneof![
        Just(ClusterAffinity::None),
        Just(ClusterAffinity::Local),
        Just(ClusterAffinity::Remote)
    ]
}

fn any_kind() -> impl Strategy<Value = ServiceKind> {
    prop_oneof![
        Just(ServiceKind::ClusterIp),
        Just(ServiceKind::NodePort),
        Just(ServiceKind::LoadBalancer),
        Just(ServiceKind::ExternalName),
        Just(ServiceKind::Headless)
    ]
}

fn any_families() -> impl Strategy<Value = IpFamilies> {
    let family = || prop_oneof![Just(IpFamily::V4), Just(IpFamily::V6)];
    let policy = prop_oneof![
        Just(IpFamilyPolicy::SingleStack),
        Just(IpFamilyPolicy::PreferDualStack),
        Just(IpFamilyPolicy::RequireDualStack)
    ];
    (prop::collection::vec(family(), 0..3), policy)
        .prop_map(|(families, policy)| IpFamilies::new(families, policy))
}

fn any_policy() -> impl Strategy<Value = TrafficPolicy> {
    prop_oneof![Just(TrafficPolicy::Cluster), Just(TrafficPolicy::Local)]
}

fn any_export() -> impl Strategy<Value = Export> {
    let texts = || prop::collection::btree_map("[a-z./]{1,8}", "[a-z]{0,8}", 0..3);
    (any::<u64>(), texts(), texts()).prop_map(|(created, labels, annotations)| Export {
        created: Timestamp(created),
        labels,
        annotations,
    })
}

fn any_exposure() -> impl Strategy<Value = Exposure> {
    let balanced = (any_address(), any::<bool>()).prop_map(|(ip, is_vip)| LoadBalancerIp {
        ip,
        mode: if is_vip { IpMode::Vip } else { IpMode::Proxy },
    });
    (
        prop::collection::vec(any_address(), 0..3),
        prop::collection::vec(balanced, 0..3),
        prop::option::of(any_address()),
        prop::collection::vec(any_cidr(), 0..3),
        (any::<bool>(), any::<u16>(), any_policy(), any::<bool>()),
    )
        .prop_map(
            |(external_ips, load_balancer, requested_ip, source_ranges, rest)| Exposure {
                external_ips,
                load_balancer,
                requested_ip,
                source_ranges,
                source_policy: if rest.3 {
                    SourcePolicy::Deny
                } else {
                    SourcePolicy::Allow
                },
                omits_node_ports: rest.0,
                health_check_node_port: NonZeroU16::new(rest.1),
                traffic_policy: rest.2,
            },
        )
}

fn any_service_port() -> impl Strategy<Value = ServicePort> {
    (any_port(), any::<u16>(), any_label()).prop_map(|(port, node_port, protocol)| ServicePort {
        node_port: NonZeroU16::new(node_port),
        app_protocol: protocol.map(Arc::from),
        ..ServicePort::new(port.0, port.1, port.2)
    })
}

fn any_cidr() -> impl Strategy<Value = ipnet::IpNet> {
    (any_address(), 0..=32u8)
        .prop_map(|(address, prefix)| ipnet::IpNet::new(address, prefix).unwrap().trunc())
}

fn any_endpoint() -> BoxedStrategy<(ResourceId, Resource)> {
    let ports = prop::collection::vec(any_port(), 0..4);
    let node = || prop::option::of(any_node_name());
    let hints = (any_label(), node()).prop_map(|(zone, node)| Hints {
        zones: zone.into_iter().map(Arc::from).collect(),
        nodes: node.into_iter().collect(),
    });
    let hints = prop::option::of(hints);
    let place = (node(), any_label(), any_label(), hints);
    let flags = any::<(bool, bool, bool)>();
    (any_service_name(), any_address(), ports, flags, place)
        .prop_map(|(name, address, ports, flags, place)| {
            let ports = ports.into_iter();
            let mut ports: Vec<EndpointPort> = ports
                .map(|(name, protocol, port)| EndpointPort {
                    name,
                    protocol,
                    port,
                })
                .collect();
            ports.sort();
            let endpoint = Endpoint {
                ports: ports.into(),
                conditions: Conditions {
                    ready: flags.0,
                    serving: flags.1,
                    terminating: flags.2,
                },
                node: place.0,
                zone: place.1.map(Arc::from),
                hostname: place.2.map(Arc::from),
                hints: place.3.map(Arc::new),
            };
            let id = ResourceId::Endpoint(name, address);
            (id, Resource::from(endpoint))
        })
        .boxed()
}

fn any_port() -> impl Strategy<Value = (Option<PortName>, Protocol, u16)> {
    let protocol = prop_oneof![
        Just(Protocol::Tcp),
        Just(Protocol::Udp),
        Just(Protocol::Sctp)
    ];
    let name = any_label().prop_map(|name| name.map(|name| PortName::parse(&name).unwrap()));
    (name, protocol, 1..=u16::MAX)
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    // Not below 0x01 in the first byte, where IPv4-mapped addresses are.
    let v6 = (1..=u8::MAX, any::<[u8; 15]>()).prop_map(|(first, rest)| {
        let mut bytes = [first; 16];
        bytes[1..].copy_from_slice(&rest);
        IpAddr::from(bytes)
    });
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), v6]
}

fn any_label() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[a-z0-9]{1,12}")
}

fn any_node_name() -> impl Strategy<Value = NodeName> {
    "[a-z0-9]{1,8}(\\.[a-z]{1,8})?".prop_map(|name| NodeName::parse(&name).unwrap())
}

fn any_service_name() -> impl Strategy<Value = ServiceName> {
    ("[a-z]{1,8}", "[a-z]{1,8}")
        .prop_map(|(namespace, name)| ServiceName::parse(&namespace, &name).unwrap())
}
