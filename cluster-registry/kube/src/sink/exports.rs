//! What a ServiceExport's conditions shall be, and what is worth an Event.

use cluster_registry::{name::ClusterName, service::ServiceKind, view::MergedService};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::condition::{Holds, Subject};

/// The conditions of an export; `service` is what is known of its name, and `own` this cluster.
pub(super) fn conditions(
    service: Option<&MergedService>,
    own: &ClusterName,
    subject: Subject<'_>,
) -> Vec<Condition> {
    let valid = valid(service);
    let ready = ready(service, own, valid.status == "True");
    vec![
        subject.condition("Valid", valid),
        subject.condition("Ready", ready),
        subject.condition("Conflict", conflict(service)),
    ]
}

/// Whether there is something to export; this says nothing of other clusters.
fn valid(service: Option<&MergedService>) -> Holds {
    let local = service.and_then(|service| service.local.as_ref());
    match local.map(|local| local.kind) {
        None => Holds::new("False", "NoService", "there is no Service of this name"),
        Some(ServiceKind::ExternalName) => Holds::new(
            "False",
            "InvalidServiceType",
            "a Service of type ExternalName cannot be exported",
        ),
        Some(
            ServiceKind::ClusterIp
            | ServiceKind::NodePort
            | ServiceKind::LoadBalancer
            | ServiceKind::Headless,
        ) => Holds::new("True", "Valid", ""),
    }
}

/// Whether other clusters are told.
fn ready(service: Option<&MergedService>, own: &ClusterName, is_valid: bool) -> Holds {
    if !is_valid {
        return Holds::new("False", "Failed", "the export is not valid");
    }
    let import = service.and_then(|service| service.import.as_ref());
    let local = service.and_then(|service| service.local.as_ref());
    let is_exported = local.is_some_and(|local| local.mcs_export().is_some());
    match import {
        Some(import) if import.clusters.contains(own) => Holds::new("True", "Exported", ""),
        Some(_) | None if is_exported => {
            Holds::new("False", "Pending", "the export has not been merged yet")
        }
        Some(_) | None => Holds::new(
            "False",
            "Failed",
            "the namespace keeps its services out of the clusterset (isthmus.io/global: \"false\")",
        ),
    }
}

/// What the clusters that export the service do not agree on.
fn conflict(service: Option<&MergedService>) -> Holds {
    let import = service.and_then(|service| service.import.as_ref());
    let conflicts = import
        .map(|import| import.conflicts.as_slice())
        .unwrap_or_default();
    if conflicts.is_empty() {
        return Holds::new("False", "NoConflicts", "");
    }
    let reasons: Vec<&str> = conflicts.iter().map(|c| c.reason.as_str()).collect();
    let messages: Vec<&str> = conflicts.iter().map(|c| c.message.as_str()).collect();
    Holds::new("True", &reasons.join(","), messages.join("; "))
}

/// What has become worth telling people: a conflict that was not there, or is another one now.
pub(super) fn news<'a>(new: &'a [Condition], existing: &[Condition]) -> Option<&'a Condition> {
    let is_conflict = |condition: &&Condition| condition.type_ == "Conflict";
    let conflict = new.iter().find(is_conflict)?;
    if conflict.status != "True" {
        return None;
    }
    let old = existing.iter().find(is_conflict);
    let is_known = old.is_some_and(|old| old.status == "True" && old.message == conflict.message);
    (!is_known).then_some(conflict)
}
