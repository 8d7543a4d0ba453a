//! Round trips of every kind of resource, and what hostile updates come to.

mod any;
mod snapshot;

use std::{net::IpAddr, sync::Arc};

use cluster_registry::{
    endpoint::{Conditions, Endpoint, EndpointPort, Hints},
    mcs::{Export, MAX_EXPORTED_BYTES},
    name::{ClusterName, NodeName, PortName, ServiceName},
    resource::{Key, Resource, ResourceId},
    service::{
        Exposure, LoadBalancerIp, MAX_OUTSIDE_ADDRESSES, MAX_SOURCE_RANGES, Protocol, Service,
        ServicePort,
    },
    store::{Change, Revision},
};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    limits::{MAX_KNOWN_NAMES, MAX_UPDATE_BYTES, MAX_UPDATES_PER_FRAME},
    reason::Refusal,
    update::Update,
    wire,
};
use any::any_change;

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
        ..wire::Port::default()
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
fn the_longest_endpoint_fits_into_an_update() {
    let ports = (0..256).map(|number| EndpointPort {
        name: Some(PortName::parse(&format!("{number:063}")).unwrap()),
        protocol: Protocol::Sctp,
        port: u16::MAX,
    });
    let node = NodeName::parse(&vec!["a".repeat(62); 4].join(".")).unwrap();
    let endpoint = Endpoint {
        ports: ports.collect(),
        conditions: Conditions::READY,
        node: Some(node.clone()),
        zone: Some("z".repeat(63).into()),
        hostname: Some("h".repeat(63).into()),
        hints: Some(Arc::new(Hints {
            zones: vec!["z".repeat(63).into(); 8],
            nodes: vec![node; 8],
        })),
    };
    let id = ResourceId::Endpoint(longest_name(), IpAddr::from([0xfd; 16]));

    assert_fits(id, Resource::from(endpoint));
}

#[test]
fn a_service_that_is_long_in_every_way_fits_into_an_update() {
    let ports = (0..100).map(|number| {
        let name = PortName::parse(&format!("{number:063}")).unwrap();
        ServicePort {
            node_port: Some(std::num::NonZeroU16::MAX),
            ..ServicePort::new(Some(name), Protocol::Sctp, u16::MAX)
        }
    });
    let address = IpAddr::from([0xfd; 16]);
    let balanced = LoadBalancerIp {
        ip: address,
        mode: cluster_registry::service::IpMode::Proxy,
    };
    let service = Service {
        ports: ports.collect(),
        export: Some(Box::new(Export {
            labels: (0..MAX_EXPORTED_BYTES / 64)
                .map(|n| (format!("{n:064}"), String::new()))
                .collect(),
            ..Export::default()
        })),
        exposure: Some(Box::new(Exposure {
            external_ips: vec![address; MAX_OUTSIDE_ADDRESSES],
            load_balancer: vec![balanced; MAX_OUTSIDE_ADDRESSES],
            source_ranges: vec![address.into(); MAX_SOURCE_RANGES],
            ..Exposure::default()
        })),
        ..Service::default()
    };

    assert_fits(ResourceId::Service(longest_name()), Resource::from(service));
}

#[test]
fn an_endpoint_of_a_usual_size_takes_less_than_160_bytes() {
    let port = |name: &str, port| EndpointPort {
        name: Some(PortName::parse(name).unwrap()),
        protocol: Protocol::Tcp,
        port,
    };
    let endpoint = Endpoint {
        node: Some(NodeName::parse("ip-10-11-12-13.eu-central-1.compute.internal").unwrap()),
        zone: Some("eu-central-1a".into()),
        hints: Some(Arc::new(Hints {
            zones: vec!["eu-central-1a".into()],
            nodes: Vec::new(),
        })),
        ..Endpoint::ready([port("http", 8080), port("metrics", 9090)])
    };
    let change = Change {
        key: Key {
            cluster: cluster("east"),
            id: ResourceId::Endpoint(
                ServiceName::parse("shop", "checkout").unwrap(),
                IpAddr::from([10, 1, 2, 3]),
            ),
        },
        value: Some(endpoint.into()),
        revision: Revision(1),
        trace: None,
    };

    let bytes = encode_change(&change, &cluster("east")).encoded_len();

    assert!(bytes < 160, "{bytes} bytes");
}

#[test]
fn a_field_of_a_later_version_is_ignored() {
    let mut bytes = with_service(wire::Service::default()).encode_to_vec();
    // Field 900, a varint.
    bytes.extend([0xa0, 0x38, 0x07]);

    let update = wire::Update::decode(bytes.as_slice()).unwrap();

    assert_eq!(
        decode(update),
        decode(with_service(wire::Service::default()))
    );
}

#[test]
fn a_service_out_of_its_limits_is_refused() {
    let export = |length: usize| wire::Export {
        labels: [("a".to_owned(), "b".repeat(length))].into(),
        ..wire::Export::default()
    };
    let exposure = wire::Exposure {
        external_ips: vec![vec![10, 0, 0, 1]; MAX_OUTSIDE_ADDRESSES + 1],
        ..wire::Exposure::default()
    };
    let plain = wire::Service::default;
    let cases = [
        (wire::Service { kind: 4, ..plain() }, Refusal::OutOfRange),
        (
            wire::Service {
                kind: 1,
                headless: true,
                ..plain()
            },
            Refusal::OutOfRange,
        ),
        (
            wire::Service {
                ip_families: vec![5],
                ..plain()
            },
            Refusal::OutOfRange,
        ),
        (
            wire::Service {
                traffic_distribution: 3,
                ..plain()
            },
            Refusal::OutOfRange,
        ),
        (
            wire::Service {
                export: Some(export(MAX_EXPORTED_BYTES)),
                ..plain()
            },
            Refusal::TooMany,
        ),
        (
            wire::Service {
                exposure: Some(exposure),
                ..plain()
            },
            Refusal::TooMany,
        ),
    ];
    for (service, refusal) in cases {
        assert_eq!(decode(with_service(service)), Err(refusal));
    }
}

fn assert_fits(id: ResourceId, value: Resource) {
    let change = Change {
        key: Key {
            cluster: cluster(&"a".repeat(63)),
            id,
        },
        value: Some(value),
        revision: Revision(u64::MAX),
        trace: None,
    };

    let update = encode_change(&change, &cluster("east"));

    let bytes = update.encoded_len();
    assert!(bytes <= MAX_UPDATE_BYTES, "{bytes} bytes");
    assert!(decode_update(update, &cluster("east"), Origins::Any).is_ok());
}

fn longest_name() -> ServiceName {
    let label = "a".repeat(63);
    ServiceName::parse(&label, &label).unwrap()
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
