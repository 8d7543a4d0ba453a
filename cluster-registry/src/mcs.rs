//! The Multi-Cluster Services API in the registry's terms: what a cluster exports, and what an import adds up to.
//!
//! An import is a pure function of all valid exports of one name. Every cluster computes it alone and comes to the same
//! result, as long as all of them believe the exports' timestamps.

pub mod addresses;
mod merge;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use crate::{
    name::ClusterName,
    service::{Service, ServicePort, Timestamp},
    traffic::{IpFamilies, SessionAffinity, TrafficDistribution, TrafficPolicy},
};

pub use merge::import;

/// The most bytes that the labels and annotations of an export may have, names and values together.
///
/// They travel in one update with the service's ports.
pub const MAX_EXPORTED_BYTES: usize = 8 * 1024;

/// A valid ServiceExport: one whose cluster has a service of its name that can be exported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Export {
    /// When it was made; of a peer whose timestamps are not believed, when it was first seen here.
    pub created: Timestamp,
    /// The labels that the import shall have (`spec.exportedLabels`).
    pub labels: BTreeMap<String, String>,
    /// The annotations that the import shall have (`spec.exportedAnnotations`).
    pub annotations: BTreeMap<String, String>,
}

/// Whether clients of an import dial an address or the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImportKind {
    /// They dial the import's own addresses.
    ClusterSetIp,
    /// They dial the endpoints' own addresses.
    Headless,
}

impl fmt::Display for ImportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClusterSetIp => "ClusterSetIP",
            Self::Headless => "Headless",
        })
    }
}

/// The order in which exports win: the oldest first, and of equally old ones the cluster whose name sorts first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// The export's timestamp.
    pub created: Timestamp,
    /// The cluster that exports.
    pub cluster: ClusterName,
}

/// What the exports of one service name add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The export that wins every conflict.
    pub oldest: Rank,
    /// What clients dial.
    pub kind: ImportKind,
    /// The union of the exported ports, those of older exports first; none has a node port.
    pub ports: Vec<ServicePort>,
    /// The families of the oldest export.
    pub ip_families: IpFamilies,
    /// Whether a client stays with its backend.
    pub session_affinity: SessionAffinity,
    /// Which endpoints traffic from inside a cluster may use.
    pub internal_traffic_policy: TrafficPolicy,
    /// Which endpoints are preferred for being near.
    pub traffic_distribution: Option<TrafficDistribution>,
    /// The labels of the import.
    pub labels: BTreeMap<String, String>,
    /// The annotations of the import.
    pub annotations: BTreeMap<String, String>,
    /// The clusters that export, whose endpoints alone are the import's backends.
    pub clusters: BTreeSet<ClusterName>,
    /// What the exports do not agree on, in the order of the reasons; each concerns all of them.
    pub conflicts: Vec<Conflict>,
}

impl Import {
    /// Whether traffic to one of the import's ports may go to a cluster with this definition of the service.
    ///
    /// A port of the same name but another number is another port: clients of the one must not land on the other.
    pub fn is_served_by(port: &ServicePort, definition: &Service) -> bool {
        definition
            .ports
            .iter()
            .any(|own| merge::is_same_port(own, port))
    }
}

/// A field on which exports do not agree; [`Self::as_str`] gives the condition's reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConflictReason {
    /// The ports.
    Port,
    /// Headless or not.
    Type,
    /// Whether there is session affinity.
    SessionAffinity,
    /// The session affinity's timeout.
    SessionAffinityConfig,
    /// The internal traffic policy.
    InternalTrafficPolicy,
    /// The traffic distribution.
    TrafficDistribution,
    /// A family of the import that some cluster's endpoints lack.
    IpFamily,
    /// The exported labels.
    Labels,
    /// The exported annotations.
    Annotations,
}

impl ConflictReason {
    /// The reason as the Multi-Cluster Services API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Port => "PortConflict",
            Self::Type => "TypeConflict",
            Self::SessionAffinity => "SessionAffinityConflict",
            Self::SessionAffinityConfig => "SessionAffinityConfigConflict",
            Self::InternalTrafficPolicy => "InternalTrafficPolicyConflict",
            Self::TrafficDistribution => "TrafficDistributionConflict",
            Self::IpFamily => "IPFamilyConflict",
            Self::Labels => "LabelsConflict",
            Self::Annotations => "AnnotationsConflict",
        }
    }
}

/// A disagreement between exports of one service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conflict {
    /// What they do not agree on.
    pub reason: ConflictReason,
    /// Which value counts, whose it is, and how many clusters have another.
    pub message: String,
}

/// The addresses that this cluster's import of a service has, at most one per family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ImportAddresses {
    /// The addresses, in the order of the import's families.
    pub ips: Vec<IpAddr>,
}

/// That a namespace exists in this cluster, and whether its services may take part in the clusterset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamespaceSharing {
    /// Each service decides for itself, and imports appear in it.
    Allowed,
    /// None of its services is global or exported, whatever it says, and no import appears in it.
    Excluded,
}
