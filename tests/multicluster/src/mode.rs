//! Where a lab's gateways read their cluster's objects.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where the objects of each cluster are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// In a folder of manifests.
    #[default]
    Manifests,
    /// In an API server of the cluster's own.
    Kubernetes,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifests => "manifests",
            Self::Kubernetes => "kubernetes",
        })
    }
}
