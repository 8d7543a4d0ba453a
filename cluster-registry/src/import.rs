//! Decides whether a peer may announce what it announces: only its own, within its link's grants, never the forbidden.
//!
//! The cluster's name comes from the peer's certificate and nothing in a message can change it. What is refused here
//! reaches no map, no DNS answer and no tunnel's allowed addresses.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{
    name::{ClusterName, Namespace, NodeName, ServiceName},
    node::Node,
    resource::{Key, Resource, ResourceId},
};

/// The IPv4 addresses that no peer may announce, in any cluster.
const UNROUTABLE_V4: [Ipv4Net; 5] = [
    v4(Ipv4Addr::UNSPECIFIED, 8),
    v4(Ipv4Addr::new(127, 0, 0, 0), 8),
    v4(Ipv4Addr::new(169, 254, 0, 0), 16),
    v4(Ipv4Addr::new(224, 0, 0, 0), 4),
    v4(Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The IPv6 addresses that no peer may announce, in any cluster.
const UNROUTABLE_V6: [Ipv6Net; 5] = [
    v6(Ipv6Addr::UNSPECIFIED, 128),
    v6(Ipv6Addr::LOCALHOST, 128),
    // IPv4-mapped: the same address would have two spellings.
    v6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
    v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    v6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// The widest range that a node's pods may have: that of all pods of the largest clusters.
///
/// Without a limit, a quarter of the Internet would be one announcement.
const SHORTEST_V4: u8 = 8;

/// The same for IPv6: the block that a registry allots to a whole provider.
const SHORTEST_V6: u8 = 32;

/// The namespace that a grant must name, as "all" does not include it.
const SYSTEM_NAMESPACE: &str = "kube-system";

/// The namespaces whose services a peer may announce, or is told of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Namespaces {
    /// All but `kube-system`.
    #[default]
    All,
    /// These, `kube-system` too if it is among them.
    Only(BTreeSet<Namespace>),
}

impl Namespaces {
    /// Whether a namespace is among them.
    pub fn contains(&self, namespace: &Namespace) -> bool {
        match self {
            Self::All => namespace.as_str() != SYSTEM_NAMESPACE,
            Self::Only(namespaces) => namespaces.contains(namespace),
        }
    }
}

/// What a link lets its peer announce.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    /// The namespaces of its services.
    pub namespaces: Namespaces,
    /// The ranges of its endpoints and pods; empty for any that is not forbidden.
    pub cidrs: Vec<IpNet>,
}

/// Why an announced resource is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No link is configured to the cluster that speaks.
    #[error("no link is configured to cluster {0}")]
    UnknownPeer(ClusterName),
    /// The resource belongs to another cluster than the one that speaks.
    #[error("it belongs to cluster {0}, for which the peer may not speak")]
    ForeignCluster(ClusterName),
    /// The value is not of the kind that its key names, or is of a kind that peers do not announce.
    #[error("its kind is not one that a peer may announce under this key")]
    WrongKind,
    /// The link grants no such namespace.
    #[error("the link does not grant namespace {0}")]
    NamespaceNotGranted(Namespace),
    /// The service is one that nobody may announce.
    #[error("service {0} is never taken from another cluster")]
    ReservedService(ServiceName),
    /// The link grants no such range.
    #[error("the link does not grant {0}")]
    RangeNotGranted(IpNet),
    /// The range is, or holds, unspecified, loopback, link-local, multicast or default-route addresses.
    #[error("{0} holds addresses that no cluster may announce")]
    Unroutable(IpNet),
    /// The range is, or overlaps with, this cluster's own.
    #[error("{0} is this cluster's own")]
    OwnRange(IpNet),
    /// The range is wider than any node's pods need.
    #[error("{0} is wider than any node's pods need")]
    TooWide(IpNet),
    /// The range is, or overlaps with, what another cluster announced first, and keeps.
    #[error("{range} is held by cluster {by}, which announced it first")]
    RangeHeld {
        /// The range.
        range: IpNet,
        /// The cluster that holds it, or a part of it, or one that it is a part of.
        by: ClusterName,
    },
    /// Another node has the tunnel's key, and keeps it.
    #[error("its tunnel key is that of node {node} of cluster {cluster}")]
    KeyHeld {
        /// The cluster of the node that has it.
        cluster: ClusterName,
        /// The node.
        node: NodeName,
    },
    /// The peer announces more of a kind than a cluster is expected to have.
    #[error("the peer announces more than {limit} {kind}")]
    TooMany {
        /// What there are too many of.
        kind: &'static str,
        /// How many are taken.
        limit: usize,
    },
}

impl Refusal {
    /// A short constant name, for metrics and status.
    pub fn label(&self) -> &'static str {
        match self {
            Self::UnknownPeer(_) => "unknown_peer",
            Self::ForeignCluster(_) => "foreign_cluster",
            Self::WrongKind => "wrong_kind",
            Self::NamespaceNotGranted(_) => "namespace_not_granted",
            Self::ReservedService(_) => "reserved_service",
            Self::RangeNotGranted(_) => "range_not_granted",
            Self::Unroutable(_) => "unroutable",
            Self::OwnRange(_) => "own_range",
            Self::TooWide(_) => "too_wide",
            Self::RangeHeld { .. } => "range_held",
            Self::KeyHeld { .. } => "key_held",
            Self::TooMany { .. } => "too_many",
        }
    }
}

/// Checks what no link and no time can make right; a withdrawal (`None`) is only checked for whose it is.
pub fn check_form(peer: &ClusterName, key: &Key, value: Option<&Resource>) -> Result<(), Refusal> {
    if key.cluster != *peer {
        return Err(Refusal::ForeignCluster(key.cluster.clone()));
    }
    let Some(value) = value else {
        return Ok(());
    };
    match (&key.id, value) {
        (ResourceId::Node(_), Resource::Node(node)) => check_node(node),
        (ResourceId::Tunnel(_), Resource::Tunnel(tunnel)) => {
            check_routable(&IpNet::from(tunnel.probe_address))
        }
        (ResourceId::Service(name), Resource::Service(_)) => check_unreserved(name),
        (ResourceId::Endpoint(name, address), Resource::Endpoint(_)) => {
            check_unreserved(name)?;
            check_routable(&IpNet::from(*address))
        }
        (
            ResourceId::Cluster
            | ResourceId::Node(_)
            | ResourceId::Tunnel(_)
            | ResourceId::Service(_)
            | ResourceId::Endpoint(..)
            | ResourceId::Namespace(_)
            | ResourceId::Import(_),
            _,
        ) => Err(Refusal::WrongKind),
    }
}

/// Checks a resource of a good form against what its cluster's link grants.
///
/// A node's own addresses are outside of every pod range, so that a link's ranges do not apply to them.
pub fn check_grants(grants: &Grants, id: &ResourceId, value: &Resource) -> Result<(), Refusal> {
    match id {
        ResourceId::Service(name) => check_namespace(grants, name),
        ResourceId::Endpoint(name, address) => {
            check_namespace(grants, name)?;
            check_granted(grants, &IpNet::from(*address))
        }
        ResourceId::Node(_) => match value {
            Resource::Node(node) => node
                .pod_cidrs
                .iter()
                .try_for_each(|range| check_granted(grants, range)),
            Resource::Cluster(_)
            | Resource::Tunnel(_)
            | Resource::Service(_)
            | Resource::Endpoint(_)
            | Resource::Namespace(_)
            | Resource::Import(_) => Ok(()),
        },
        ResourceId::Cluster
        | ResourceId::Tunnel(_)
        | ResourceId::Namespace(_)
        | ResourceId::Import(_) => Ok(()),
    }
}

fn check_unreserved(name: &ServiceName) -> Result<(), Refusal> {
    if name.namespace.as_str() == "default" && name.name.as_str() == "kubernetes" {
        return Err(Refusal::ReservedService(name.clone()));
    }
    Ok(())
}

fn check_namespace(grants: &Grants, name: &ServiceName) -> Result<(), Refusal> {
    if grants.namespaces.contains(&name.namespace) {
        Ok(())
    } else {
        Err(Refusal::NamespaceNotGranted(name.namespace.clone()))
    }
}

fn check_node(node: &Node) -> Result<(), Refusal> {
    for address in &node.addresses {
        check_routable(&IpNet::from(*address))?;
    }
    for range in &node.pod_cidrs {
        check_routable(range)?;
        let shortest = match range {
            IpNet::V4(_) => SHORTEST_V4,
            IpNet::V6(_) => SHORTEST_V6,
        };
        if range.prefix_len() < shortest {
            return Err(Refusal::TooWide(*range));
        }
    }
    Ok(())
}

fn check_routable(range: &IpNet) -> Result<(), Refusal> {
    let is_default = range.prefix_len() == 0;
    if is_default || is_unroutable(range) {
        return Err(Refusal::Unroutable(*range));
    }
    Ok(())
}

fn check_granted(grants: &Grants, range: &IpNet) -> Result<(), Refusal> {
    if grants.cidrs.is_empty() || grants.cidrs.iter().any(|granted| granted.contains(range)) {
        Ok(())
    } else {
        Err(Refusal::RangeNotGranted(*range))
    }
}

fn is_unroutable(range: &IpNet) -> bool {
    match range {
        IpNet::V4(range) => UNROUTABLE_V4
            .iter()
            .any(|bad| bad.contains(range) || range.contains(bad)),
        IpNet::V6(range) => UNROUTABLE_V6
            .iter()
            .any(|bad| bad.contains(range) || range.contains(bad)),
    }
}

const fn v4(address: Ipv4Addr, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(address, prefix)
}

const fn v6(address: Ipv6Addr, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(address, prefix)
}

#[cfg(test)]
mod tests;
