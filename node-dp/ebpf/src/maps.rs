//! The maps; the agent writes the first three, and may give them other sizes when it loads them.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, SkStorage},
    macros::btf_map,
};
use node_dp_common::{
    BackendKey, BackendValue, ClusterValue, DropReason, FrontendKey, MAX_CLUSTERS, PeerValue,
    RevNatKey, RevNatValue, ServiceValue,
};

/// Memory is taken per entry, not for the largest number of them.
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

/// Where each frontend's connections may go.
#[btf_map]
pub(crate) static SERVICES: HashMap<FrontendKey, ServiceValue, 65_536, ON_DEMAND> = HashMap::new();

/// What serves them.
#[btf_map]
pub(crate) static BACKENDS: HashMap<BackendKey, BackendValue, 262_144, ON_DEMAND> = HashMap::new();

/// Whether each cluster takes new connections.
#[btf_map]
pub(crate) static CLUSTERS: Array<ClusterValue, { MAX_CLUSTERS as usize }> = Array::new();

/// The frontend that each UDP socket last dialled or sent to; it goes when the socket goes.
#[btf_map]
pub(crate) static PEERS: SkStorage<PeerValue> = SkStorage::new();

/// The frontends that TCP sockets dialled, and those that UDP sockets used before their last.
///
/// 32,768 entries of about 120 bytes are 4 MB, taken at once: an LRU map cannot be on demand. What is forgotten early only
/// lets an application see a backend's address as its peer's.
#[btf_map]
pub(crate) static REV_NAT: LruHashMap<RevNatKey, RevNatValue, 32_768> = LruHashMap::new();

/// How often each [`DropReason`] occurred.
#[btf_map]
pub(crate) static DROPS: PerCpuArray<u64, { DropReason::ALL.len() }> = PerCpuArray::new();

/// Adds one to a reason's count on this CPU.
#[inline(always)]
pub(crate) fn count(reason: DropReason) {
    if let Some(count) = DROPS.get_ptr_mut(reason.number()) {
        // SAFETY: the slot belongs to this CPU, and a program is not preempted by another of its kind in between.
        unsafe { *count += 1 };
    }
}
