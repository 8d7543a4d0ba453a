//! What a ServiceImport shall be: the registry's import and the addresses that this cluster gives it.

use std::net::IpAddr;

use cluster_registry::{
    mcs::{Import, ImportKind, addresses::AllocationError},
    service::ServicePort,
    traffic::{IpFamily, SessionAffinity, TrafficDistribution},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::condition::{Holds, Subject};
use crate::api::{
    AffinityConfig, ClientIpConfig, ExportingCluster, ImportPort, ServiceImportSpec,
    ServiceImportStatus,
};

/// The addresses that an import has, or why it has none.
pub(super) type Addresses = Result<Vec<IpAddr>, AllocationError>;

/// What clients of the import dial.
pub(super) fn spec(import: &Import, addresses: &Addresses) -> ServiceImportSpec {
    let ips = addresses.as_deref().unwrap_or_default();
    // Families and addresses go together; without addresses the families are those that are wanted.
    let families: Vec<IpFamily> = if ips.is_empty() {
        import.ip_families.iter().collect()
    } else {
        ips.iter().copied().map(IpFamily::of).collect()
    };
    ServiceImportSpec {
        ports: import.ports.iter().map(port).collect(),
        ips: ips.iter().map(ToString::to_string).collect(),
        ip_families: families.iter().map(ToString::to_string).collect(),
        r#type: import.kind.to_string(),
        session_affinity: Some(import.session_affinity.to_string()),
        session_affinity_config: affinity_config(import.session_affinity),
        internal_traffic_policy: Some(import.internal_traffic_policy.to_string()),
        traffic_distribution: import
            .traffic_distribution
            .map(|d| distribution(d).to_owned()),
    }
}

fn port(port: &ServicePort) -> ImportPort {
    ImportPort {
        name: port.name.as_ref().map(ToString::to_string),
        protocol: Some(port.protocol.to_string()),
        app_protocol: port.app_protocol.as_ref().map(ToString::to_string),
        port: i32::from(port.port),
    }
}

fn affinity_config(affinity: SessionAffinity) -> Option<AffinityConfig> {
    let SessionAffinity::ClientIp { timeout } = affinity else {
        return None;
    };
    let timeout_seconds = i32::try_from(timeout.as_secs()).ok();
    Some(AffinityConfig {
        client_ip: Some(ClientIpConfig { timeout_seconds }),
    })
}

/// The spelling that every version of Kubernetes has; the newer one for zones means the same.
fn distribution(distribution: TrafficDistribution) -> &'static str {
    match distribution {
        TrafficDistribution::PreferSameZone => "PreferClose",
        TrafficDistribution::PreferSameNode => "PreferSameNode",
    }
}

/// Who exports the service, and whether the import can be used.
pub(super) fn status(
    import: &Import,
    addresses: &Addresses,
    subject: Subject<'_>,
) -> ServiceImportStatus {
    let clusters = import.clusters.iter().map(|cluster| ExportingCluster {
        cluster: cluster.to_string(),
    });
    ServiceImportStatus {
        clusters: clusters.collect(),
        conditions: vec![ready(import, addresses, subject)],
    }
}

fn ready(import: &Import, addresses: &Addresses, subject: Subject<'_>) -> Condition {
    let holds = match (import.kind, addresses) {
        (ImportKind::Headless, _) | (ImportKind::ClusterSetIp, Ok(_)) => {
            Holds::new("True", "Ready", "")
        }
        (ImportKind::ClusterSetIp, Err(error @ AllocationError::NoPool(_))) => {
            Holds::new("False", "IPFamilyNotSupported", error.to_string())
        }
        (ImportKind::ClusterSetIp, Err(error @ AllocationError::Exhausted(_))) => {
            Holds::new("False", "Pending", error.to_string())
        }
    };
    subject.condition("Ready", holds)
}
