//! ServiceExport: the wish to share the Service of the same name with other clusters.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::core::DynamicResourceScope;
use serde::{Deserialize, Serialize};

use super::{MCS_GROUP, McsVersion, kind};

/// A ServiceExport.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceExport {
    /// Its name, which is that of the Service, and the rest of what every object has.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What else is shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<ServiceExportSpec>,
    /// What has become of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ServiceExportStatus>,
}

/// What is shared beside the service itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceExportSpec {
    /// The labels that the ServiceImport shall have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported_labels: Option<BTreeMap<String, String>>,
    /// The annotations that the ServiceImport shall have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported_annotations: Option<BTreeMap<String, String>>,
}

/// What has become of a ServiceExport.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceExportStatus {
    /// `Valid`, `Ready` and `Conflict`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

kind!(
    ServiceExport,
    McsVersion,
    MCS_GROUP,
    McsVersion::as_str,
    "serviceexports",
    "ServiceExport",
    DynamicResourceScope
);
