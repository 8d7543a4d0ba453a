//! What the kernel offers and what was chosen for it, for the agent's status.

use super::{Attachment, object::Loaded};

/// One choice that depends on the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// What was to be chosen.
    pub name: &'static str,
    /// The choice.
    pub chosen: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// The choices of the datapath.
pub(super) fn report(loaded: &Loaded, attachment: Attachment) -> Vec<Feature> {
    let refusal = if loaded.can_set_retval() {
        Feature {
            name: "refusal",
            chosen: "ECONNREFUSED",
            reason: "the kernel has bpf_set_retval",
        }
    } else {
        Feature {
            name: "refusal",
            chosen: "EPERM",
            reason: "the kernel lacks bpf_set_retval (5.18)",
        }
    };
    let devices = match attachment {
        Attachment::Tcx => Feature {
            name: "device-attachment",
            chosen: "tcx",
            reason: "its links can be pinned, and their programs replaced in one step",
        },
        Attachment::Clsact => Feature {
            name: "device-attachment",
            chosen: "clsact",
            reason: "the kernel lacks TCX (6.6), or filters were asked for",
        },
    };
    let affinity = if loaded.has_netns_cookie() {
        Feature {
            name: "session-affinity",
            chosen: "network namespace",
            reason: "the kernel has bpf_get_netns_cookie for sockets",
        }
    } else {
        Feature {
            name: "session-affinity",
            chosen: "node",
            reason: "the kernel lacks bpf_get_netns_cookie for sockets (5.7): all of the node's are one client",
        }
    };
    vec![
        refusal,
        affinity,
        devices,
        Feature {
            name: "attachment",
            chosen: "cgroup links",
            reason: "they can be pinned, and their programs replaced in one step",
        },
    ]
}
