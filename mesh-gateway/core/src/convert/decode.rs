//! The wire's messages as the registry's types, if they hold.

pub(super) mod service;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cluster_registry::{
    cluster::{Cluster, Control},
    mcs::NamespaceSharing,
    name::{ClusterName, Namespace, NodeName, ParseNameError, ServiceName},
    node::{Node, PublicKey, Tunnel},
    resource::{Key, Resource, ResourceId},
    store::{Cursor, Epoch, Revision},
    trace::TraceContext,
};
use ipnet::IpNet;

use crate::{
    limits::{MAX_NODE_ADDRESSES, MAX_POD_CIDRS, MAX_ZONE_BYTES},
    reason::Refusal,
    update::Update,
    wire,
};

/// Whose resources a peer may announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origins {
    /// Only those of the cluster that its certificate names.
    Own,
    /// Those of any cluster: a gateway relays them to its own cluster's nodes.
    Any,
}

/// An update of a peer of cluster `peer`.
pub fn decode_update(
    update: wire::Update,
    peer: &ClusterName,
    origins: Origins,
) -> Result<Update, Refusal> {
    let cluster = decode_origin(&update.origin, peer, origins)?;
    let id = decode_id(update.id.ok_or(Refusal::UnknownKind)?)?;
    let value = match (update.gone, update.value) {
        (true, _) => None,
        (false, None) => return Err(Refusal::UnknownKind),
        (false, Some(value)) => Some(decode_value(value)?),
    };
    if value.as_ref().is_some_and(|value| !value.is_of(&id)) {
        return Err(Refusal::WrongKind);
    }
    Ok(Update {
        key: Key { cluster, id },
        value,
        trace: decode_trace(&update.trace),
    })
}

/// A position of a store.
pub fn decode_position(position: &wire::Position) -> Cursor {
    Cursor {
        epoch: Epoch(position.epoch),
        revision: Revision(position.revision),
        snapshot_floor: None,
    }
}

pub(super) fn decode_origin(
    origin: &str,
    peer: &ClusterName,
    origins: Origins,
) -> Result<ClusterName, Refusal> {
    if origin.is_empty() || origin == peer.as_str() {
        return Ok(peer.clone());
    }
    match origins {
        Origins::Own => Err(Refusal::ForeignCluster),
        Origins::Any => ClusterName::parse(origin).map_err(|e| malformed(&e)),
    }
}

pub(super) fn decode_id(id: wire::Id) -> Result<ResourceId, Refusal> {
    let node = |name: String| NodeName::parse(&name).map_err(|e| malformed(&e));
    Ok(match id {
        wire::Id::Cluster(wire::ClusterId {}) => ResourceId::Cluster,
        wire::Id::Node(name) => ResourceId::Node(node(name)?),
        wire::Id::Tunnel(name) => ResourceId::Tunnel(node(name)?),
        wire::Id::Service(id) => ResourceId::Service(decode_service_name(&id.namespace, &id.name)?),
        wire::Id::Endpoint(id) => ResourceId::Endpoint(
            decode_service_name(&id.namespace, &id.name)?,
            decode_address(&id.address)?,
        ),
        wire::Id::Namespace(name) => {
            ResourceId::Namespace(Namespace::parse(&name).map_err(|e| malformed(&e))?)
        }
        wire::Id::Import(id) => ResourceId::Import(decode_service_name(&id.namespace, &id.name)?),
    })
}

fn decode_service_name(namespace: &str, name: &str) -> Result<ServiceName, Refusal> {
    ServiceName::parse(namespace, name).map_err(|e| malformed(&e))
}

fn decode_value(value: wire::Value) -> Result<Resource, Refusal> {
    Ok(match value {
        wire::Value::Cluster(cluster) => Resource::Cluster(Cluster {
            control: if cluster.connected {
                Control::Connected
            } else {
                Control::Lost
            },
        }),
        wire::Value::Node(node) => decode_node(node)?.into(),
        wire::Value::Tunnel(tunnel) => decode_tunnel(&tunnel)?.into(),
        wire::Value::Service(given) => service::decode_service(given)?.into(),
        wire::Value::Endpoint(given) => service::decode_endpoint(given)?.into(),
        wire::Value::Namespace(sharing) => Resource::Namespace(if sharing.excluded {
            NamespaceSharing::Excluded
        } else {
            NamespaceSharing::Allowed
        }),
        wire::Value::Import(given) => service::decode_import(&given)?.into(),
    })
}

fn decode_node(node: wire::Node) -> Result<Node, Refusal> {
    check_count(node.addresses.len(), MAX_NODE_ADDRESSES)?;
    check_count(node.pod_cidrs.len(), MAX_POD_CIDRS)?;
    let addresses = node.addresses.iter().map(|a| decode_address(a));
    let pod_cidrs = node.pod_cidrs.iter().map(decode_cidr);
    Ok(Node {
        addresses: addresses.collect::<Result<_, _>>()?,
        pod_cidrs: pod_cidrs.collect::<Result<_, _>>()?,
        zone: decode_zone(node.zone)?,
    })
}

fn decode_tunnel(tunnel: &wire::Tunnel) -> Result<Tunnel, Refusal> {
    let next = tunnel.next_public_key.as_slice();
    Ok(Tunnel {
        public_key: decode_public_key(&tunnel.public_key)?,
        port: decode_port(tunnel.port)?,
        probe_port: decode_port(tunnel.probe_port)?,
        probe_address: decode_address(&tunnel.probe_address)?,
        next_public_key: if next.is_empty() {
            None
        } else {
            Some(decode_public_key(next)?)
        },
        within_cluster: tunnel.within_cluster,
    })
}

fn decode_public_key(bytes: &[u8]) -> Result<PublicKey, Refusal> {
    let key = <[u8; 32]>::try_from(bytes);
    key.map(PublicKey).or(Err(Refusal::OutOfRange))
}

fn decode_port(port: u32) -> Result<u16, Refusal> {
    match u16::try_from(port) {
        Ok(0) | Err(_) => Err(Refusal::OutOfRange),
        Ok(port) => Ok(port),
    }
}

/// A zone is the value of a Kubernetes label.
pub(super) fn decode_zone(zone: String) -> Result<Option<String>, Refusal> {
    if zone.is_empty() {
        return Ok(None);
    }
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if zone.len() > MAX_ZONE_BYTES || !zone.bytes().all(is_allowed) {
        return Err(Refusal::MalformedName);
    }
    Ok(Some(zone))
}

/// An IPv4 address has one form: 4 bytes. Mapped into IPv6 it would pass by every check of IPv4 ranges.
pub(super) fn decode_address(bytes: &[u8]) -> Result<IpAddr, Refusal> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::V4(Ipv4Addr::from(bytes)));
    }
    let Ok(bytes) = <[u8; 16]>::try_from(bytes) else {
        return Err(Refusal::MalformedAddress);
    };
    let address = Ipv6Addr::from(bytes);
    if address.to_ipv4_mapped().is_some() {
        return Err(Refusal::MalformedAddress);
    }
    Ok(IpAddr::V6(address))
}

fn decode_cidr(cidr: &wire::Cidr) -> Result<IpNet, Refusal> {
    let address = decode_address(&cidr.address)?;
    let prefix = u8::try_from(cidr.prefix).unwrap_or(u8::MAX);
    match IpNet::new(address, prefix) {
        Ok(net) if net.addr() == net.network() => Ok(net),
        Ok(_) | Err(_) => Err(Refusal::MalformedAddress),
    }
}

/// A malformed trace costs the trace, not the update.
fn decode_trace(bytes: &[u8]) -> Option<TraceContext> {
    let (trace_id, rest) = bytes.split_first_chunk::<16>()?;
    let (span_id, flags) = rest.split_first_chunk::<8>()?;
    let [flags] = flags else {
        return None;
    };
    // W3C Trace Context, sections 3.2.2.3 and 3.2.2.4: ids of zeros are invalid.
    if trace_id.iter().all(|b| *b == 0) || span_id.iter().all(|b| *b == 0) {
        return None;
    }
    Some(TraceContext {
        trace_id: *trace_id,
        span_id: *span_id,
        sampled: flags & 1 != 0,
    })
}

fn check_count(count: usize, max: usize) -> Result<(), Refusal> {
    if count > max {
        return Err(Refusal::TooMany);
    }
    Ok(())
}

fn malformed(_: &ParseNameError) -> Refusal {
    Refusal::MalformedName
}
