//! Turns Kubernetes objects into the registry's terms: one rule set for every source.
//!
//! An object whose name is no name does not count at all. Of any other object each part is taken or left on its own,
//! and each part that is left, or replaced by a default, is a [`Flaw`]: a typo costs no more than what it is in.

mod address;
mod cluster_link;
mod endpoint_slice;
mod exposure;
mod flaw;
mod namespace;
mod node;
mod port;
mod service;
mod service_export;
mod service_import;
mod sharing;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt::Debug};

use cluster_registry::name::{Namespace, NodeName, ParseNameError, ServiceName};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub(crate) use self::{
    flaw::{AddressFault, Flaw, FlawList},
    service::keep_at_home,
};
use crate::object::{Object, ObjectKey, SliceName};

/// The namespace of an object that names none, as `kubectl apply` takes it without a context.
const DEFAULT_NAMESPACE: &str = "default";

/// Another proxy than kube-proxy, and so than ours, serves what bears this label (KEP-2447).
pub(crate) const SERVICE_PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";

/// Proxies must not serve the bearer's cluster IPs (the label that Kubernetes gives to slices of headless services).
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// The service that an EndpointSlice belongs to.
pub(crate) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Another mesh has put the bearer's endpoints here; they are their own cluster's to tell of (KEP-1645).
pub(crate) const SOURCE_CLUSTER_LABEL: &str = "multicluster.kubernetes.io/source-cluster";

/// A kind of Kubernetes object that counts.
pub(crate) trait Convert: Debug {
    /// What the object is called.
    fn key(&self) -> Result<ObjectKey, KeyError>;

    /// What it says, without the flaws, which are reported.
    fn convert(&self, flaws: &mut Vec<Flaw>) -> Result<Object, NotOurs>;
}

/// Why an object cannot count at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("metadata.name is missing")]
    NoName,
    #[error(transparent)]
    BadName(#[from] ParseNameError),
}

/// Why a well-formed object is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOurs {
    #[error("its label service.kubernetes.io/service-proxy-name gives it to another proxy")]
    OtherProxy,
    #[error("without the label kubernetes.io/service-name it belongs to no service")]
    NoService,
    #[error(
        "its label multicluster.kubernetes.io/source-cluster says that it is of another cluster"
    )]
    OtherCluster,
    #[error("it is being deleted")]
    BeingDeleted,
    #[error("a part of what limits the peer cannot be read")]
    BadLink,
    #[error("its addresses are neither IPv4 nor IPv6")]
    NotAddresses,
}

fn name(meta: &ObjectMeta) -> Result<&str, KeyError> {
    meta.name
        .as_deref()
        .filter(|name| !name.is_empty())
        .ok_or(KeyError::NoName)
}

fn namespace(meta: &ObjectMeta) -> Result<Namespace, KeyError> {
    let text = meta.namespace.as_deref().filter(|text| !text.is_empty());
    Ok(Namespace::parse(text.unwrap_or(DEFAULT_NAMESPACE))?)
}

fn service_key(meta: &ObjectMeta) -> Result<ServiceName, KeyError> {
    let namespace = namespace(meta)?;
    Ok(ServiceName::parse(namespace.as_str(), name(meta)?)?)
}

fn slice_key(meta: &ObjectMeta) -> Result<SliceName, KeyError> {
    // Both are subdomains, and the check is the node's.
    let checked = NodeName::parse(name(meta)?)?;
    Ok(SliceName {
        namespace: namespace(meta)?,
        name: checked.as_str().to_owned(),
    })
}

fn has_label(meta: &ObjectMeta, label: &str) -> bool {
    let labels = meta.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(label))
}

fn value_of<'a>(map: Option<&'a BTreeMap<String, String>>, key: &str) -> Option<&'a str> {
    map?.get(key).map(String::as_str)
}
