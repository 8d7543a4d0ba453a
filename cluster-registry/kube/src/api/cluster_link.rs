//! ClusterLink: the wish to have a peer, named after the peer's cluster.

use std::collections::BTreeMap;

use k8s_openapi::{
    ClusterResourceScope,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kind;

/// A ClusterLink.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterLink {
    /// Its name, which is that of the peer's cluster, and the rest of what every object has.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// The wish.
    #[serde(default)]
    pub spec: ClusterLinkSpec,
    /// How the link does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ClusterLinkStatus>,
}

/// Where the peer is, what is taken from it and what it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterLinkSpec {
    /// Where its gateways listen, as `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Who dials.
    #[serde(default)]
    pub dial: LinkDial,
    /// What it may announce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<LinkGrants>,
    /// What it is told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export_to: Option<LinkExport>,
    /// How much is taken from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LinkLimits>,
    /// Whether its word counts for when its exports were made.
    #[serde(default)]
    pub trust_timestamps: bool,
    /// What its certificates are verified with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_bundle_ref: Option<TrustBundleRef>,
    /// Fields that this version does not know, by name.
    #[serde(flatten, skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown: BTreeMap<String, Value>,
}

/// Who dials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkDial {
    /// The cluster whose name sorts first.
    #[default]
    Auto,
    /// This one.
    Always,
    /// The peer.
    Never,
}

/// What a peer may announce.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkGrants {
    /// The namespaces of its services; `None` for all but `kube-system`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// The ranges of its pods and endpoints; `None` for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidrs: Option<Vec<String>>,
    /// Fields that this version does not know, by name.
    #[serde(flatten, skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown: BTreeMap<String, Value>,
}

/// What a peer is told of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkExport {
    /// The namespaces of the services; `None` for all but `kube-system`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// Fields that this version does not know, by name.
    #[serde(flatten, skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown: BTreeMap<String, Value>,
}

/// How much is taken from a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkLimits {
    /// The most services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<i64>,
    /// The most endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<i64>,
    /// The most nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<i64>,
    /// The most updates a second, in the long run.
    #[serde(
        rename = "updatesPerSecond",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub updates_per_second: Option<i64>,
    /// Fields that this version does not know, by name.
    #[serde(flatten, skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown: BTreeMap<String, Value>,
}

/// A ConfigMap in the gateway's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustBundleRef {
    /// Its name.
    pub name: String,
}

/// How a link does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterLinkStatus {
    /// The generation that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Updates taken.
    #[serde(default)]
    pub accepted: i64,
    /// Updates refused.
    #[serde(default)]
    pub rejected: i64,
    /// Updates refused, by reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejections: Vec<Rejection>,
    /// When the certificate ends that the peer last showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expires: Option<Time>,
    /// `Connected`, `Synced`, `PolicyViolation` and `CertificateExpiring`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Updates refused for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The reason's label.
    pub reason: String,
    /// How many.
    pub count: i64,
}

kind!(
    ClusterLink,
    (),
    "isthmus.io",
    |()| "v1alpha1",
    "clusterlinks",
    "ClusterLink",
    ClusterResourceScope
);
