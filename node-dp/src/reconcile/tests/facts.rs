//! What a gateway says of services, clusters and nodes.

use std::sync::Arc;

use cluster_registry::{
    cluster::{Cluster, Control},
    endpoint::{Endpoint, EndpointPort, Hints},
    name::{ClusterName, NodeName, ServiceName},
    node::{Node, PublicKey, Tunnel},
    resource::{Key, Resource, ResourceId},
    service::{Protocol, Service, ServicePort, Sharing},
};
use mesh_link::event::Update;
use node_dp_core::probe_address::probe_address;

pub(super) fn name(text: &str) -> ClusterName {
    ClusterName::parse(text).unwrap()
}

pub(super) fn shop(label: &str) -> ServiceName {
    ServiceName::parse("shop", label).unwrap()
}

pub(super) fn key(number: u8) -> PublicKey {
    PublicKey([number; 32])
}

/// A global service of both clusters, with one backend in each: east's `10.1.x.y`, west's `10.2.x.y`.
pub(super) fn global(number: u16) -> Vec<Update> {
    let label = format!("s{number}");
    let [high, low] = number.to_be_bytes();
    vec![
        service("east", &label, &format!("10.96.{high}.{low}")),
        endpoint("east", &label, &format!("10.1.{high}.{low}")),
        service("west", &label, &format!("10.97.{high}.{low}")),
        endpoint("west", &label, &format!("10.2.{high}.{low}")),
    ]
}

pub(super) fn service(cluster: &str, label: &str, cluster_ip: &str) -> Update {
    let service = Service {
        cluster_ips: vec![cluster_ip.parse().unwrap()],
        ports: vec![ServicePort::new(None, Protocol::Tcp, 80)],
        sharing: Sharing {
            global: true,
            shared: true,
            ..Sharing::default()
        },
        ..Service::default()
    };
    let id = ResourceId::Service(shop(label));
    update(cluster, id, Some(Resource::from(service)))
}

pub(super) fn endpoint(cluster: &str, label: &str, address: &str) -> Update {
    endpoint_of(cluster, label, address, None)
}

/// An endpoint that is to be used in one zone.
pub(super) fn endpoint_for(zone: &str, cluster: &str, label: &str, address: &str) -> Update {
    let hints = Hints {
        zones: vec![zone.into()],
        nodes: Vec::new(),
    };
    endpoint_of(cluster, label, address, Some(Arc::new(hints)))
}

fn endpoint_of(cluster: &str, label: &str, address: &str, hints: Option<Arc<Hints>>) -> Update {
    let endpoint = Endpoint {
        hints,
        ..Endpoint::ready([EndpointPort {
            name: None,
            protocol: Protocol::Tcp,
            port: 8080,
        }])
    };
    let id = ResourceId::Endpoint(shop(label), address.parse().unwrap());
    update(cluster, id, Some(Resource::from(endpoint)))
}

/// The other cluster, with one node that has a tunnel.
pub(super) fn west(control: Control) -> Vec<Update> {
    let node_name = NodeName::parse("w1").unwrap();
    let node = Node {
        addresses: vec!["192.0.2.2".parse().unwrap()],
        pod_cidrs: vec!["10.2.0.0/16".parse().unwrap()],
        zone: None,
    };
    let tunnel = Tunnel {
        public_key: key(2),
        port: 51872,
        probe_port: 4701,
        probe_address: probe_address(&key(2)).into(),
        next_public_key: None,
        within_cluster: false,
    };
    let node_id = ResourceId::Node(node_name.clone());
    let tunnel_id = ResourceId::Tunnel(node_name);
    vec![
        cluster("west", control),
        update("west", node_id, Some(Resource::from(node))),
        update("west", tunnel_id, Some(Resource::from(tunnel))),
        own_node(None),
    ]
}

/// East's own node, by which it is known which address families it has.
pub(super) fn own_node(zone: Option<&str>) -> Update {
    let node = Node {
        addresses: vec!["192.0.2.1".parse().unwrap()],
        pod_cidrs: vec!["10.1.0.0/16".parse().unwrap()],
        zone: zone.map(ToOwned::to_owned),
    };
    let id = ResourceId::Node(NodeName::parse("e1").unwrap());
    update("east", id, Some(Resource::from(node)))
}

pub(super) fn cluster(cluster: &str, control: Control) -> Update {
    let value = Resource::Cluster(Cluster { control });
    update(cluster, ResourceId::Cluster, Some(value))
}

/// The end of what another update began.
pub(super) fn gone(update: Update) -> Update {
    Update {
        value: None,
        ..update
    }
}

fn update(cluster: &str, id: ResourceId, value: Option<Resource>) -> Update {
    let cluster = name(cluster);
    Update {
        key: Key { cluster, id },
        value,
        trace: None,
    }
}
