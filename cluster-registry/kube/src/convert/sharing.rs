//! Which annotations make a service global, and what they may say.
//!
//! Cilium ClusterMesh's annotations mean what they mean there, so manifests written for it work unchanged. Where one of
//! ours and one of Cilium's stand on the same object, ours wins.

use std::collections::BTreeMap;

use cluster_registry::service::{ClusterAffinity, Sharing};

use super::{Flaw, value_of};

/// Makes a service global, or a namespace's services not; the first that is present counts.
const GLOBAL: [&str; 3] = [
    "isthmus.io/global",
    "service.cilium.io/global",
    "io.cilium/global-service",
];

/// Whether a global service's backends are shown to other clusters.
const SHARED: [&str; 3] = [
    "isthmus.io/shared",
    "service.cilium.io/shared",
    "io.cilium/shared-service",
];

/// Which backends are preferred.
const AFFINITY: [&str; 3] = [
    "isthmus.io/affinity",
    "service.cilium.io/affinity",
    "io.cilium/service-affinity",
];

/// Keeps a namespace's services out of the clusterset when false.
const NAMESPACE_GLOBAL: [&str; 2] = ["isthmus.io/global", "clustermesh.cilium.io/global"];

type Annotations = BTreeMap<String, String>;

/// How a service takes part in the clusterset.
pub(super) fn of_service(annotations: Option<&Annotations>, flaws: &mut Vec<Flaw>) -> Sharing {
    let global = flag(annotations, &GLOBAL, false, flaws);
    // Read in any case, so that a typo is told before the service is made global.
    let shared = flag(annotations, &SHARED, true, flaws);
    let affinity = affinity(annotations, flaws);
    if !global {
        return Sharing::default();
    }
    Sharing {
        global,
        shared,
        affinity,
    }
}

/// Whether a namespace lets its services be global: yes, unless it says no.
pub(super) fn is_allowed_by_namespace(
    annotations: Option<&Annotations>,
    flaws: &mut Vec<Flaw>,
) -> bool {
    flag(annotations, &NAMESPACE_GLOBAL, true, flaws)
}

fn flag(
    annotations: Option<&Annotations>,
    names: &[&'static str],
    default: bool,
    flaws: &mut Vec<Flaw>,
) -> bool {
    let Some((annotation, value)) = first_of(annotations, names) else {
        return default;
    };
    match value.trim().to_ascii_lowercase().as_str() {
        "true" => true,
        "false" => false,
        _ => {
            flaws.push(Flaw::Annotation {
                annotation,
                value: value.to_owned(),
                expected: "\"true\" or \"false\"",
                taken: if default { "true" } else { "false" },
            });
            default
        }
    }
}

fn affinity(annotations: Option<&Annotations>, flaws: &mut Vec<Flaw>) -> ClusterAffinity {
    let Some((annotation, value)) = first_of(annotations, &AFFINITY) else {
        return ClusterAffinity::None;
    };
    match value.trim().to_ascii_lowercase().as_str() {
        "local" => ClusterAffinity::Local,
        "remote" => ClusterAffinity::Remote,
        "none" | "" => ClusterAffinity::None,
        _ => {
            flaws.push(Flaw::Annotation {
                annotation,
                value: value.to_owned(),
                expected: "\"local\", \"remote\" or \"none\"",
                taken: "none",
            });
            ClusterAffinity::None
        }
    }
}

pub(super) fn first_of<'a>(
    annotations: Option<&'a Annotations>,
    names: &[&'static str],
) -> Option<(&'static str, &'a str)> {
    names
        .iter()
        .find_map(|name| Some((*name, value_of(annotations, name)?)))
}
