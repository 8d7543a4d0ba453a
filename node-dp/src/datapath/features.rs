//! What the kernel offers and what was chosen for it, for the agent's status.

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
pub(super) fn report(can_set_retval: bool) -> Vec<Feature> {
    let refusal = if can_set_retval {
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
    vec![
        refusal,
        Feature {
            name: "attachment",
            chosen: "cgroup links",
            reason: "they can be pinned, and their programs replaced in one step",
        },
    ]
}
