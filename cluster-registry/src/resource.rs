//! A resource: the unit that is stored, announced and withdrawn, under a key that says whose it is.

use std::{net::IpAddr, sync::Arc};

use crate::{
    cluster::Cluster,
    endpoint::Endpoint,
    mcs::{ImportAddresses, NamespaceSharing},
    name::{ClusterName, Namespace, NodeName, ServiceName},
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
    /// A namespace of this cluster; peers are never told and never believed.
    Namespace(Namespace),
    /// The addresses of this cluster's import of a service; peers are never told and never believed.
    Import(ServiceName),
    /// A service; sorts after what is of no service, as the store keeps services with their endpoints.
    Service(ServiceName),
    /// One endpoint of a service; sorts after all others.
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
///
/// Values are shared by reference: the stores and the view hold the same ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Of [`ResourceId::Cluster`].
    Cluster(Cluster),
    /// Of [`ResourceId::Node`].
    Node(Arc<Node>),
    /// Of [`ResourceId::Tunnel`].
    Tunnel(Arc<Tunnel>),
    /// Of [`ResourceId::Service`].
    Service(Arc<Service>),
    /// Of [`ResourceId::Endpoint`].
    Endpoint(Arc<Endpoint>),
    /// Of [`ResourceId::Namespace`].
    Namespace(NamespaceSharing),
    /// Of [`ResourceId::Import`].
    Import(Arc<ImportAddresses>),
}

// There is one for every key of every store.
const _: () = assert!(size_of::<Resource>() == 16);

impl Resource {
    /// Whether the value is of the kind that the id names.
    pub fn is_of(&self, id: &ResourceId) -> bool {
        match self {
            Self::Cluster(_) => matches!(id, ResourceId::Cluster),
            Self::Node(_) => matches!(id, ResourceId::Node(_)),
            Self::Tunnel(_) => matches!(id, ResourceId::Tunnel(_)),
            Self::Service(_) => matches!(id, ResourceId::Service(_)),
            Self::Endpoint(_) => matches!(id, ResourceId::Endpoint(..)),
            Self::Namespace(_) => matches!(id, ResourceId::Namespace(_)),
            Self::Import(_) => matches!(id, ResourceId::Import(_)),
        }
    }
}

impl From<Node> for Resource {
    fn from(node: Node) -> Self {
        Self::Node(Arc::new(node))
    }
}

impl From<Tunnel> for Resource {
    fn from(tunnel: Tunnel) -> Self {
        Self::Tunnel(Arc::new(tunnel))
    }
}

impl From<Service> for Resource {
    fn from(service: Service) -> Self {
        Self::Service(Arc::new(service))
    }
}

impl From<Endpoint> for Resource {
    fn from(endpoint: Endpoint) -> Self {
        Self::Endpoint(Arc::new(endpoint))
    }
}

impl From<ImportAddresses> for Resource {
    fn from(addresses: ImportAddresses) -> Self {
        Self::Import(Arc::new(addresses))
    }
}
