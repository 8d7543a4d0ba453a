//! A kind of object that the server serves: how paths and bodies name it, and which rules its objects follow.

use std::collections::BTreeMap;

use serde_json::Value;

/// An API group and the plural of a kind in it, which together name a kind whatever the version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupResource {
    /// The API group; empty for the core group.
    pub group: String,
    /// The plural, as paths have it.
    pub plural: String,
}

impl GroupResource {
    /// Names a kind.
    pub fn new(group: &str, plural: &str) -> Self {
        Self {
            group: group.to_owned(),
            plural: plural.to_owned(),
        }
    }
}

/// How a kind's objects get their `metadata.generation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    /// They have none.
    Without,
    /// It counts the changes outside of metadata and status.
    Counted,
}

/// A kind.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    pub(crate) resource: GroupResource,
    pub(crate) kind: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    /// Whether `status` can only be written through its own path.
    pub(crate) has_status: bool,
    pub(crate) generation: Generation,
    /// The served versions, the preferred first.
    pub(crate) versions: Vec<String>,
    /// The version in which objects are kept.
    pub(crate) storage: String,
    /// The OpenAPI schema by version; empty for a built-in kind.
    pub(crate) schemas: BTreeMap<String, Value>,
    /// The printer columns by version.
    pub(crate) columns: BTreeMap<String, Vec<Value>>,
}

impl Kind {
    /// What bodies call the group and a version of it.
    pub(crate) fn api_version(&self, version: &str) -> String {
        if self.resource.group.is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.resource.group)
        }
    }

    pub(crate) fn storage_api_version(&self) -> String {
        self.api_version(&self.storage)
    }

    pub(crate) fn serves(&self, version: &str) -> bool {
        self.versions.iter().any(|served| served == version)
    }

    /// How error messages name the kind.
    pub(crate) fn qualified(&self) -> String {
        if self.resource.group.is_empty() {
            self.resource.plural.clone()
        } else {
            format!("{}.{}", self.resource.plural, self.resource.group)
        }
    }
}

/// The built-in kinds that Isthmus and its lab need.
pub(crate) fn builtin() -> Vec<Kind> {
    use Generation::{Counted, Without};
    let kind = |group: &str, version: &str, plural: &str, kind: &str, short: &[&str]| Kind {
        resource: GroupResource::new(group, plural),
        kind: kind.to_owned(),
        singular: kind.to_lowercase(),
        short_names: short.iter().map(|&name| name.to_owned()).collect(),
        categories: Vec::new(),
        namespaced: true,
        has_status: false,
        generation: Without,
        versions: vec![version.to_owned()],
        storage: version.to_owned(),
        schemas: BTreeMap::new(),
        columns: BTreeMap::new(),
    };
    let with_status = |kind: Kind| Kind {
        has_status: true,
        ..kind
    };
    let cluster_wide = |kind: Kind| Kind {
        namespaced: false,
        ..kind
    };
    let counted = |kind: Kind| Kind {
        generation: Counted,
        ..kind
    };
    vec![
        cluster_wide(with_status(kind(
            "",
            "v1",
            "namespaces",
            "Namespace",
            &["ns"],
        ))),
        cluster_wide(with_status(kind("", "v1", "nodes", "Node", &["no"]))),
        with_status(kind("", "v1", "pods", "Pod", &["po"])),
        with_status(kind("", "v1", "services", "Service", &["svc"])),
        kind("", "v1", "configmaps", "ConfigMap", &["cm"]),
        kind("", "v1", "secrets", "Secret", &[]),
        kind("", "v1", "events", "Event", &["ev"]),
        counted(kind(
            "discovery.k8s.io",
            "v1",
            "endpointslices",
            "EndpointSlice",
            &[],
        )),
        kind("events.k8s.io", "v1", "events", "Event", &["ev"]),
        kind("coordination.k8s.io", "v1", "leases", "Lease", &[]),
        counted(cluster_wide(with_status(kind(
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            "CustomResourceDefinition",
            &["crd", "crds"],
        )))),
    ]
}
