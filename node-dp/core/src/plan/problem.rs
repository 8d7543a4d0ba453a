//! Why a service is not in the maps as its definition asks for.

use cluster_registry::{
    name::{ClusterName, ServiceName},
    service::Protocol,
};
use node_dp_common::FrontendKey;

/// Why a service is not in the maps as its definition asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Problem {
    /// Another service has the same address, port and protocol, and had it first.
    #[error("{frontend} belongs to {holder}")]
    HeldFrontend {
        /// The frontend.
        frontend: FrontendKey,
        /// Who has it.
        holder: ServiceName,
    },
    /// More clusters have backends than a service can have groups; the ones that the policy ranks last are left out.
    #[error("{frontend} has backends in too many clusters: {dropped} left out")]
    TooManyClusters {
        /// The frontend.
        frontend: FrontendKey,
        /// How many clusters are left out.
        dropped: usize,
    },
    /// A cluster has more backends than a group can have; the last ones by address are left out.
    #[error("{frontend} has too many backends in {cluster}: {dropped} left out")]
    TooManyBackends {
        /// The frontend.
        frontend: FrontendKey,
        /// The cluster.
        cluster: ClusterName,
        /// How many backends are left out.
        dropped: usize,
    },
    /// All indices of clusters are taken.
    #[error("{cluster} has no index: too many clusters")]
    NoClusterIndex {
        /// The cluster.
        cluster: ClusterName,
    },
    /// Sockets of the protocol are not translated.
    #[error("{protocol} port {port} is not supported")]
    UnsupportedProtocol {
        /// The protocol.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
}

impl Problem {
    /// The name in status and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::HeldFrontend { .. } => "held-frontend",
            Self::TooManyClusters { .. } => "too-many-clusters",
            Self::TooManyBackends { .. } => "too-many-backends",
            Self::NoClusterIndex { .. } => "no-cluster-index",
            Self::UnsupportedProtocol { .. } => "unsupported-protocol",
        }
    }
}
