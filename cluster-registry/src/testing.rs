//! What this crate's tests build their cases from.

use std::net::IpAddr;

use proptest::prelude::*;

use crate::{
    cluster::{Cluster, Control},
    endpoint::{Conditions, Endpoint},
    link::LinkSpec,
    name::{ClusterName, NodeName, ServiceName},
    node::{Node, PublicKey, Tunnel},
    resource::{Key, Resource, ResourceId},
    service::{Service, Sharing},
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
        ports: Vec::new(),
        conditions: Conditions {
            ready,
            ..Conditions::READY
        },
        node: None,
        zone: None,
        hostname: None,
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
            .prop_map(|n| Resource::Node(node(&[&format!("192.0.2.{n}")], &[])))
            .boxed(),
        ResourceId::Tunnel(_) => (1..3u8).prop_map(|n| Resource::Tunnel(tunnel(n))).boxed(),
        ResourceId::Service(_) => any::<(bool, bool)>()
            .prop_map(|(global, shared)| Resource::Service(service(&["10.0.0.1"], global, shared)))
            .boxed(),
        ResourceId::Endpoint(..) => any::<bool>()
            .prop_map(|ready| Resource::Endpoint(endpoint(ready)))
            .boxed(),
    }
}

/// A change of a key: a new value or its end.
pub(crate) fn any_change() -> impl Strategy<Value = (Key, Option<Resource>)> {
    any_key().prop_flat_map(|key| {
        let value = prop::option::weighted(0.7, any_value(&key.id));
        (Just(key), value)
    })
}
