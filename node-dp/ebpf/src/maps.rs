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
pub(crate) static BACKENDS: HashMap<BackendKey, BackendValue, 524_288, ON_DEMAND> = HashMap::new();

/// Whether each cluster takes new connections.
#[btf_map]
pub(crate) static CLUSTERS: Array<ClusterValue, { MAX_CLUSTERS as usize }> = Array::new();

/// The frontend that each socket last dialled or sent to; it goes when the socket goes.
#[btf_map]
pub(crate) static PEERS: SkStorage<PeerValue> = SkStorage::new();

/// The frontends that UDP sockets sent to.
///
/// 65,536 conversations of about 100 bytes are 6.5 MB, taken at once: an LRU map cannot be on demand.
#[btf_map]
pub(crate) static REV_NAT: LruHashMap<RevNatKey, RevNatValue, 65_536> = LruHashMap::new();

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
