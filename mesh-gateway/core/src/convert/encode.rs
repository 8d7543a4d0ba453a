//! The registry's types as they go onto the wire.

pub(super) mod service;

use std::net::IpAddr;

use cluster_registry::{
    cluster::{Cluster, Control},
    mcs::NamespaceSharing,
    name::ClusterName,
    node::{Node, Tunnel},
    resource::{Resource, ResourceId},
    store::{Change, Cursor},
    trace::TraceContext,
};
use ipnet::IpNet;

use crate::wire;

/// A change as an update; `own` is the cluster that the sender speaks for.
pub fn encode_change(change: &Change, own: &ClusterName) -> wire::Update {
    let origin = if change.key.cluster == *own {
        String::new()
    } else {
        change.key.cluster.as_str().to_owned()
    };
    wire::Update {
        id: Some(encode_id(&change.key.id)),
        gone: change.value.is_none(),
        value: change.value.as_ref().map(encode_value),
        origin,
        trace: change.trace.as_ref().map(encode_trace).unwrap_or_default(),
    }
}

/// A position of a store.
pub fn encode_position(cursor: Cursor) -> wire::Position {
    wire::Position {
        epoch: cursor.epoch.0,
        revision: cursor.revision.0,
    }
}

pub(super) fn encode_id(id: &ResourceId) -> wire::Id {
    match id {
        ResourceId::Cluster => wire::Id::Cluster(wire::ClusterId {}),
        ResourceId::Node(name) => wire::Id::Node(name.as_str().to_owned()),
        ResourceId::Tunnel(name) => wire::Id::Tunnel(name.as_str().to_owned()),
        ResourceId::Service(service) => wire::Id::Service(wire::ServiceId {
            namespace: service.namespace.as_str().to_owned(),
            name: service.name.as_str().to_owned(),
        }),
        ResourceId::Endpoint(service, address) => wire::Id::Endpoint(wire::EndpointId {
            namespace: service.namespace.as_str().to_owned(),
            name: service.name.as_str().to_owned(),
            address: encode_address(*address),
        }),
        ResourceId::Namespace(name) => wire::Id::Namespace(name.as_str().to_owned()),
        ResourceId::Import(service) => wire::Id::Import(wire::ServiceId {
            namespace: service.namespace.as_str().to_owned(),
            name: service.name.as_str().to_owned(),
        }),
    }
}

pub(super) fn encode_value(value: &Resource) -> wire::Value {
    match value {
        Resource::Cluster(cluster) => wire::Value::Cluster(encode_cluster(*cluster)),
        Resource::Node(node) => wire::Value::Node(encode_node(node)),
        Resource::Tunnel(tunnel) => wire::Value::Tunnel(encode_tunnel(tunnel)),
        Resource::Service(service) => wire::Value::Service(service::encode_service(service)),
        Resource::Endpoint(endpoint) => wire::Value::Endpoint(service::encode_endpoint(endpoint)),
        Resource::Namespace(sharing) => wire::Value::Namespace(wire::NamespaceSharing {
            excluded: match sharing {
                NamespaceSharing::Allowed => false,
                NamespaceSharing::Excluded => true,
            },
        }),
        Resource::Import(import) => wire::Value::Import(wire::ImportAddresses {
            ips: import.ips.iter().map(|ip| encode_address(*ip)).collect(),
        }),
    }
}

fn encode_cluster(cluster: Cluster) -> wire::Cluster {
    wire::Cluster {
        connected: match cluster.control {
            Control::Connected => true,
            Control::Lost => false,
        },
    }
}

fn encode_node(node: &Node) -> wire::Node {
    wire::Node {
        addresses: node.addresses.iter().map(|a| encode_address(*a)).collect(),
        pod_cidrs: node
            .pod_cidrs
            .iter()
            .map(|cidr| encode_cidr(*cidr))
            .collect(),
        zone: node.zone.clone().unwrap_or_default(),
    }
}

fn encode_tunnel(tunnel: &Tunnel) -> wire::Tunnel {
    wire::Tunnel {
        public_key: tunnel.public_key.0.to_vec(),
        port: u32::from(tunnel.port),
        probe_port: u32::from(tunnel.probe_port),
        probe_address: encode_address(tunnel.probe_address),
        next_public_key: tunnel
            .next_public_key
            .map_or_else(Vec::new, |key| key.0.to_vec()),
        within_cluster: tunnel.within_cluster,
    }
}

fn encode_cidr(cidr: IpNet) -> wire::Cidr {
    wire::Cidr {
        address: encode_address(cidr.addr()),
        prefix: u32::from(cidr.prefix_len()),
    }
}

fn encode_address(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn encode_trace(trace: &TraceContext) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(25);
    bytes.extend_from_slice(&trace.trace_id);
    bytes.extend_from_slice(&trace.span_id);
    bytes.push(u8::from(trace.sampled));
    bytes
}
