//! Round trips of every kind of resource, and what hostile updates come to.

use std::net::IpAddr;

use cluster_registry::{
    cluster::{Cluster, Control},
    endpoint::{Conditions, Endpoint, EndpointPort},
    name::{ClusterName, NodeName, PortName, ServiceName},
    node::{Node, PublicKey, Tunnel},
    resource::{Key, Resource, ResourceId},
    service::{ClusterAffinity, Protocol, Service, ServicePort, Sharing},
    store::{Change, Revision},
    trace::TraceContext,
};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{limits::MAX_UPDATE_BYTES, reason::Refusal, update::Update, wire};

proptest! {
    #[test]
    fn every_resource_survives_the_wire(change in any_change()) {
        let bytes = encode_change(&change, &cluster("east")).encode_to_vec();
        let update = wire::Update::decode(bytes.as_slice()).unwrap();

        let decoded = decode_update(update, &cluster("east"), Origins::Any);

        let Change { key, value, trace, .. } = change;
        prop_assert_eq!(decoded, Ok(Update { key, value, trace }));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        if let Ok(update) = wire::Update::decode(bytes.as_slice()) {
            drop(decode_update(update, &cluster("east"), Origins::Own));
        }
    }

    #[test]
    fn a_damaged_update_never_panics(change in any_change(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut bytes = encode_change(&change, &cluster("east")).encode_to_vec();
        *at.get_mut(&mut bytes) = with;
        if let Ok(update) = wire::Update::decode(bytes.as_slice()) {
            drop(decode_update(update, &cluster("east"), Origins::Any));
        }
    }
}

#[test]
fn a_peer_may_speak_only_for_its_own_cluster() {
    let update = wire::Update {
        origin: "west".to_owned(),
        ..node_update()
    };

    let own = decode_update(update.clone(), &cluster("east"), Origins::Own);
    let relayed = decode_update(update, &cluster("east"), Origins::Any);

    assert_eq!(own, Err(Refusal::ForeignCluster));
    assert_eq!(relayed.unwrap().key.cluster, cluster("west"));
}

#[test]
fn a_kind_of_a_later_version_is_refused_and_not_taken_for_a_removal() {
    let no_id = wire::Update {
        id: None,
        ..node_update()
    };
    let no_value = wire::Update {
        value: None,
        ..node_update()
    };

    assert_eq!(decode(no_id), Err(Refusal::UnknownKind));
    assert_eq!(decode(no_value), Err(Refusal::UnknownKind));
}

#[test]
fn a_value_of_another_kind_than_the_key_is_refused() {
    let update = wire::Update {
        value: Some(wire::Value::Cluster(wire::Cluster { connected: true })),
        ..node_update()
    };

    assert_eq!(decode(update), Err(Refusal::WrongKind));
}

#[test]
fn malformed_addresses_are_refused() {
    let mapped = "::ffff:10.0.0.1".parse::<std::net::Ipv6Addr>().unwrap();
    for address in [vec![], vec![1; 3], vec![1; 17], mapped.octets().to_vec()] {
        let node = wire::Node {
            addresses: vec![address],
            ..wire::Node::default()
        };
        assert_eq!(decode(with_node(node)), Err(Refusal::MalformedAddress));
    }
    // Too long a prefix, and bits beyond the prefix.
    for (address, prefix) in [(vec![10, 0, 0, 0], 33), (vec![10, 0, 0, 1], 24)] {
        let node = wire::Node {
            pod_cidrs: vec![wire::Cidr { address, prefix }],
            ..wire::Node::default()
        };
        assert_eq!(decode(with_node(node)), Err(Refusal::MalformedAddress));
    }
}

#[test]
fn malformed_names_ports_and_counts_are_refused() {
    let port = |name: &str, protocol, port| wire::Port {
        name: name.to_owned(),
        protocol,
        port,
    };
    let cases = [
        (vec![port("A", 6, 80)], Refusal::MalformedName),
        (vec![port("a", 1, 80)], Refusal::OutOfRange),
        (vec![port("a", 6, 0)], Refusal::OutOfRange),
        (vec![port("a", 6, 65536)], Refusal::OutOfRange),
        (vec![port("a", 6, 80); 257], Refusal::TooMany),
    ];
    for (ports, refusal) in cases {
        let service = wire::Service {
            ports,
            ..wire::Service::default()
        };
        assert_eq!(decode(with_service(service)), Err(refusal));
    }
}

#[test]
fn two_cluster_ips_of_one_family_are_refused() {
    let service = wire::Service {
        cluster_ips: vec![vec![10, 0, 0, 1], vec![10, 0, 0, 2]],
        ..wire::Service::default()
    };

    assert_eq!(
        decode(with_service(service)),
        Err(Refusal::MalformedAddress)
    );
}

#[test]
fn a_malformed_trace_costs_only_the_trace() {
    for trace in [vec![1; 24], vec![1; 26], vec![0; 25]] {
        let update = wire::Update {
            trace,
            ..node_update()
        };
        assert_eq!(decode(update).unwrap().trace, None);
    }
}

#[test]
fn the_longest_resources_fit_into_an_update() {
    let ports = (0..256).map(|number| EndpointPort {
        name: Some(PortName::parse(&format!("{number:063}")).unwrap()),
        protocol: Protocol::Sctp,
        port: u16::MAX,
    });
    let endpoint = Endpoint {
        ports: ports.collect(),
        conditions: Conditions::READY,
        node: Some(NodeName::parse(&vec!["a".repeat(62); 4].join(".")).unwrap()),
        zone: Some("z".repeat(63)),
        hostname: Some("h".repeat(63)),
    };
    let label = "a".repeat(63);
    let change = Change {
        key: Key {
            cluster: cluster(&label),
            id: ResourceId::Endpoint(
                ServiceName::parse(&label, &label).unwrap(),
                IpAddr::from([0xfd; 16]),
            ),
        },
        value: Some(Resource::Endpoint(endpoint)),
        revision: Revision(u64::MAX),
        trace: None,
    };

    let update = encode_change(&change, &cluster("east"));

    assert!(update.encoded_len() <= MAX_UPDATE_BYTES);
    assert!(decode_update(update, &cluster("east"), Origins::Any).is_ok());
}

fn decode(update: wire::Update) -> Result<Update, Refusal> {
    decode_update(update, &cluster("east"), Origins::Own)
}

fn node_update() -> wire::Update {
    with_node(wire::Node::default())
}

fn with_node(node: wire::Node) -> wire::Update {
    wire::Update {
        id: Some(wire::Id::Node("n1".to_owned())),
        value: Some(wire::Value::Node(node)),
        ..wire::Update::default()
    }
}

fn with_service(service: wire::Service) -> wire::Update {
    let id = wire::ServiceId {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
    };
    wire::Update {
        id: Some(wire::Id::Service(id)),
        value: Some(wire::Value::Service(service)),
        ..wire::Update::default()
    }
}

fn cluster(name: &str) -> ClusterName {
    ClusterName::parse(name).unwrap()
}

fn any_change() -> impl Strategy<Value = Change> {
    let value = prop_oneof![
        any_cluster(),
        any_node(),
        any_tunnel(),
        any_service(),
        any_endpoint()
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
    let cidr = (any_address(), 0..=32u8)
        .prop_map(|(address, prefix)| ipnet::IpNet::new(address, prefix).unwrap().trunc());
    let cidrs = prop::collection::vec(cidr, 0..4);
    let addresses = prop::collection::vec(any_address(), 0..4);
    (any_node_name(), addresses, cidrs, any_label())
        .prop_map(|(name, addresses, pod_cidrs, zone)| {
            let node = Node {
                addresses,
                pod_cidrs,
                zone,
            };
            (ResourceId::Node(name), Resource::Node(node))
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
            };
            (ResourceId::Tunnel(name), Resource::Tunnel(tunnel))
        })
        .boxed()
}

fn any_service() -> BoxedStrategy<(ResourceId, Resource)> {
    let ports = prop::collection::vec(any_port(), 0..4);
    let affinity = prop_oneof![
        Just(ClusterAffinity::None),
        Just(ClusterAffinity::Local),
        Just(ClusterAffinity::Remote)
    ];
    let flags = any::<(bool, bool, bool)>();
    (any_service_name(), any_address(), ports, flags, affinity)
        .prop_map(|(name, address, ports, flags, affinity)| {
            let ports = ports.into_iter();
            let service = Service {
                cluster_ips: vec![address],
                headless: flags.0,
                ports: ports
                    .map(|(name, protocol, port)| ServicePort {
                        name,
                        protocol,
                        port,
                    })
                    .collect(),
                sharing: Sharing {
                    global: flags.1,
                    shared: flags.2,
                    affinity,
                },
            };
            (ResourceId::Service(name), Resource::Service(service))
        })
        .boxed()
}

fn any_endpoint() -> BoxedStrategy<(ResourceId, Resource)> {
    let ports = prop::collection::vec(any_port(), 0..4);
    let place = (prop::option::of(any_node_name()), any_label(), any_label());
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
                ports,
                conditions: Conditions {
                    ready: flags.0,
                    serving: flags.1,
                    terminating: flags.2,
                },
                node: place.0,
                zone: place.1,
                hostname: place.2,
            };
            let id = ResourceId::Endpoint(name, address);
            (id, Resource::Endpoint(endpoint))
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
