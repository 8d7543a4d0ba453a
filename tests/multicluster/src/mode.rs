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

impl Mode {
    /// With API servers or without.
    pub fn with_api_servers(are_wanted: bool) -> Self {
        if are_wanted {
            Self::Kubernetes
        } else {
            Self::Manifests
        }
    }

    /// The name of a test's lab in this mode, so that the same test can run in both at once.
    pub fn lab(self, name: &str) -> String {
        match self {
            Self::Manifests => name.to_owned(),
            Self::Kubernetes => format!("{name}k"),
        }
    }
}

/// Makes of each function that takes a [`Mode`] two tests, `manifests::x` and `kubernetes::x`.
#[macro_export]
macro_rules! in_both_modes {
    ($($test:ident),+ $(,)?) => {
        mod manifests {
            $(
                #[test]
                #[ignore = "needs root"]
                fn $test() {
                    super::$test($crate::Mode::Manifests);
                }
            )+
        }

        mod kubernetes {
            $(
                #[test]
                #[ignore = "needs root"]
                fn $test() {
                    super::$test($crate::Mode::Kubernetes);
                }
            )+
        }
    };
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifests => "manifests",
            Self::Kubernetes => "kubernetes",
        })
    }
}
