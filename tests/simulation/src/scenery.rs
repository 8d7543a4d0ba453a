//! The names, addresses and values that the clusters of the world have.

use std::net::{IpAddr, Ipv4Addr};

use cluster_registry::{
    endpoint::{Conditions, Endpoint, EndpointPort},
    name::{ClusterName, NodeName, ServiceName},
    node::{Node, PublicKey, Tunnel},
    resource::{Resource, ResourceId},
    service::{Protocol, Service, ServicePort, Sharing},
};
use ipnet::{IpNet, Ipv4Net};

/// Services, in two namespaces.
pub(crate) const SERVICES: usize = 6;

/// Nodes of a cluster.
pub(crate) const NODES: usize = 3;

/// Addresses that pods of a node can have.
pub(crate) const PODS: usize = 4;

pub(crate) const NAMESPACES: [&str; 2] = ["shop", "bank"];

/// A cluster's name; they sort by number.
pub(crate) fn cluster_name(number: usize) -> ClusterName {
    ClusterName::parse(&format!("c{number}")).expect("a letter and a number are a name")
}

pub(crate) fn service_name(number: usize) -> ServiceName {
    let namespace = NAMESPACES[number % NAMESPACES.len()];
    ServiceName::parse(namespace, &format!("s{number}")).expect("a letter and a number are a name")
}

pub(crate) fn node_name(number: usize) -> NodeName {
    NodeName::parse(&format!("n{number}")).expect("a letter and a number are a name")
}

/// A number of this world as a byte.
pub(crate) fn octet(number: usize) -> u8 {
    u8::try_from(number).expect("the world's numbers are small")
}

/// The range of a node's pods, of which no two clusters have the same.
pub(crate) fn pod_range(cluster: usize, node: usize) -> IpNet {
    let network = Ipv4Addr::new(10, octet(cluster + 1), octet(node), 0);
    IpNet::V4(Ipv4Net::new_assert(network, 24))
}

/// The range of all pods of a cluster.
pub(crate) fn cluster_range(cluster: usize) -> IpNet {
    let network = Ipv4Addr::new(10, octet(cluster + 1), 0, 0);
    IpNet::V4(Ipv4Net::new_assert(network, 16))
}

/// The ranges of a cluster's pods without those of its last node.
pub(crate) fn most_of_range(cluster: usize) -> Vec<IpNet> {
    (0..NODES - 1)
        .map(|node| pod_range(cluster, node))
        .collect()
}

pub(crate) fn pod_address(cluster: usize, pod: usize) -> IpAddr {
    let (node, host) = (pod % NODES, pod / NODES);
    IpAddr::V4(Ipv4Addr::new(
        10,
        octet(cluster + 1),
        octet(node),
        octet(host + 1),
    ))
}

/// A service; the version tells its states apart.
pub(crate) fn service(number: usize, sharing: Sharing, version: u16) -> (ResourceId, Resource) {
    let value = Service {
        cluster_ips: vec![IpAddr::V4(Ipv4Addr::new(172, 16, 0, octet(number + 1)))],
        ports: vec![ServicePort {
            name: None,
            protocol: Protocol::Tcp,
            port: version,
            app_protocol: None,
            node_port: None,
        }],
        sharing,
        ..Service::default()
    };
    (
        ResourceId::Service(service_name(number)),
        Resource::from(value),
    )
}

/// An endpoint; the version tells its states apart.
pub(crate) fn endpoint(
    cluster: usize,
    service: usize,
    pod: usize,
    version: u16,
) -> (ResourceId, Resource) {
    let value = Endpoint {
        conditions: Conditions {
            ready: !version.is_multiple_of(5),
            ..Conditions::READY
        },
        node: Some(node_name(pod % NODES)),
        ..Endpoint::ready([EndpointPort {
            name: None,
            protocol: Protocol::Tcp,
            port: version,
        }])
    };
    let id = ResourceId::Endpoint(service_name(service), pod_address(cluster, pod));
    (id, Resource::from(value))
}

/// A node; the version tells its states apart.
pub(crate) fn node(cluster: usize, node: usize, version: u16) -> (ResourceId, Resource) {
    let value = Node {
        addresses: vec![IpAddr::V4(Ipv4Addr::new(
            192,
            0,
            2,
            octet(cluster * 16 + node + 1),
        ))],
        pod_cidrs: vec![pod_range(cluster, node)],
        zone: Some(format!("z{version}")),
    };
    (ResourceId::Node(node_name(node)), Resource::from(value))
}

/// A node that says that its pods have another cluster's range.
pub(crate) fn squatter(
    cluster: usize,
    number: usize,
    victim: usize,
    version: u16,
) -> (ResourceId, Resource) {
    let (id, value) = node(cluster, number, version);
    let Resource::Node(node) = value else {
        return (id, value);
    };
    let mut node = Node::clone(&node);
    node.pod_cidrs = vec![pod_range(victim, number)];
    (id, Resource::from(node))
}

/// A node's tunnel end; the version tells its states apart.
pub(crate) fn tunnel(cluster: usize, node: usize, version: u16) -> (ResourceId, Resource) {
    let [high, low] = version.to_be_bytes();
    let mut key = [octet(cluster + 1); 32];
    key[0] = high;
    key[1] = low;
    key[2] = octet(node + 1);
    let mut probe = [0; 16];
    probe[0] = 0xfd;
    probe[1..6].copy_from_slice(&[octet(cluster + 1), octet(node + 1), high, low, 1]);
    let value = Tunnel {
        public_key: PublicKey(key),
        port: 51872,
        probe_port: 4701,
        probe_address: IpAddr::from(probe),
        next_public_key: None,
        within_cluster: false,
    };
    (ResourceId::Tunnel(node_name(node)), Resource::from(value))
}
