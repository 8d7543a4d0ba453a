//! A resource: the unit that is stored, announced and withdrawn, under a key that says whose it is.

use std::net::IpAddr;

use crate::{
    cluster::Cluster,
    endpoint::Endpoint,
    name::{ClusterName, NodeName, ServiceName},
    node::{Node, Tunnel},
    service::Service,
};

/// What a resource is about, within its cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceId {
    /// The cluster itself.
    Cluster,
    /// A node, as its cluster's source describes it.
    Node(NodeName),
    /// A node's tunnel end, as its agent announces it.
    Tunnel(NodeName),
    /// A service.
    Service(ServiceName),
    /// One endpoint of a service.
    Endpoint(ServiceName, IpAddr),
}

impl ResourceId {
    /// The id that sorts before all others of a cluster.
    pub const FIRST: Self = Self::Cluster;
}

/// The key of a resource: whose it is and what it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The cluster that the resource belongs to.
    pub cluster: ClusterName,
    /// What it is about.
    pub id: ResourceId,
}

/// The value of a resource; its variant is that of its [`ResourceId`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Of [`ResourceId::Cluster`].
    Cluster(Cluster),
    /// Of [`ResourceId::Node`].
    Node(Node),
    /// Of [`ResourceId::Tunnel`].
    Tunnel(Tunnel),
    /// Of [`ResourceId::Service`].
    Service(Service),
    /// Of [`ResourceId::Endpoint`].
    Endpoint(Endpoint),
}

impl Resource {
    /// Whether the value is of the kind that the id names.
    pub fn is_of(&self, id: &ResourceId) -> bool {
        match (self, id) {
            (Self::Cluster(_), ResourceId::Cluster)
            | (Self::Node(_), ResourceId::Node(_))
            | (Self::Tunnel(_), ResourceId::Tunnel(_))
            | (Self::Service(_), ResourceId::Service(_))
            | (Self::Endpoint(_), ResourceId::Endpoint(..)) => true,
            (
                Self::Cluster(_)
                | Self::Node(_)
                | Self::Tunnel(_)
                | Self::Service(_)
                | Self::Endpoint(_),
                _,
            ) => false,
        }
    }
}
