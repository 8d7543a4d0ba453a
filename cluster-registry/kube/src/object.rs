//! The objects that a source keeps, under the names that Kubernetes gives them, already in the registry's terms.

use std::fmt;

use cluster_registry::{
    link::LinkSpec,
    mcs::{Export, ImportAddresses, NamespaceSharing},
    name::{ClusterName, Namespace, NodeName, ServiceName},
    node::Node,
    service::Service,
    view::Endpoints,
};

/// What an object is called within its cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ObjectKey {
    Namespace(Namespace),
    Node(NodeName),
    Service(ServiceName),
    Slice(SliceName),
    Export(ServiceName),
    Import(ServiceName),
    Link(ClusterName),
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(name) => write!(f, "Namespace {name}"),
            Self::Node(name) => write!(f, "Node {name}"),
            Self::Service(name) => write!(f, "Service {name}"),
            Self::Slice(name) => write!(f, "EndpointSlice {}/{}", name.namespace, name.name),
            Self::Export(name) => write!(f, "ServiceExport {name}"),
            Self::Import(name) => write!(f, "ServiceImport {name}"),
            Self::Link(name) => write!(f, "ClusterLink {name}"),
        }
    }
}

/// The full name of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SliceName {
    pub(crate) namespace: Namespace,
    /// An RFC 1123 subdomain, as a node's name is.
    pub(crate) name: String,
}

/// What an object says; its variant is that of its [`ObjectKey`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Object {
    Namespace(NamespaceSharing),
    Node(Node),
    /// The service as it declares itself, before its namespace has a say.
    Service(Service),
    Slice(Slice),
    Export(Export),
    Import(ImportAddresses),
    Link(Box<LinkSpec>),
}

/// Some of the endpoints of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) service: ServiceName,
    /// Shared with whoever keeps the object too; the registry takes the endpoints as they are.
    pub(crate) endpoint_by_address: Endpoints,
}
