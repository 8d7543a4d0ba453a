//! The maps; the agent may give them other sizes when it loads them.
//!
//! It alone writes what services, backends, clusters and the node are; the programs write the rest.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, SkStorage},
    macros::btf_map,
};
use node_dp_common::{
    Address, AffinityKey, AffinityValue, BackendKey, BackendValue, ClusterValue, DeviceValue,
    DropReason, FlowKey, FlowValue, FragmentKey, FragmentValue, FrontendKey, MAX_CLUSTERS,
    MaglevKey, MaglevValue, MemberKey, NodeValue, PeerValue, RevNatKey, RevNatValue, ServiceValue,
    SourceKey,
};

use crate::device::Work;

/// Memory is taken per entry, not for the largest number of them.
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

/// Where each frontend's connections may go.
#[btf_map]
pub(crate) static SERVICES: HashMap<FrontendKey, ServiceValue, 65_536, ON_DEMAND> = HashMap::new();

/// What serves them.
#[btf_map]
pub(crate) static BACKENDS: HashMap<BackendKey, BackendValue, 262_144, ON_DEMAND> = HashMap::new();

/// Which backends the clients of services with session affinity may keep.
#[btf_map]
pub(crate) static MEMBERS: HashMap<MemberKey, BackendValue, 65_536, ON_DEMAND> = HashMap::new();

/// Which backends those clients had last.
///
/// 32,768 entries of about 110 bytes are 3.5 MB, taken at once: an LRU map cannot be on demand. A client that is forgotten
/// early may get another backend.
#[btf_map]
pub(crate) static AFFINITIES: LruHashMap<AffinityKey, AffinityValue, 32_768> = LruHashMap::new();

/// Whether each cluster takes new connections.
#[btf_map]
pub(crate) static CLUSTERS: Array<ClusterValue, { MAX_CLUSTERS as usize }> = Array::new();

/// Which backends the flows from outside go to.
#[btf_map]
pub(crate) static MAGLEV: HashMap<MaglevKey, MaglevValue, 131_072, ON_DEMAND> = HashMap::new();

/// Who may use the services that not everybody may.
#[btf_map]
pub(crate) static SOURCE_RANGES: LpmTrie<SourceKey, u32, 65_536> = LpmTrie::new();

/// The node's addresses that stand for clients.
#[btf_map]
pub(crate) static NODE: Array<NodeValue, 1> = Array::new();

/// All addresses of the node, at which node ports are served.
#[btf_map]
pub(crate) static LOCAL_ADDRESSES: HashMap<Address, u32, 1_024, ON_DEMAND> = HashMap::new();

/// The devices between which the fast path forwards, by their index.
#[btf_map]
pub(crate) static DEVICES: HashMap<u32, DeviceValue, 256, ON_DEMAND> = HashMap::new();

/// How many packets the fast path has forwarded.
#[btf_map]
pub(crate) static FORWARDED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Translated flows.
///
/// On demand and not LRU: a flow is two entries, or four where it is masqueraded, and an LRU map could forget one of them
/// alone. The agent sweeps it; where it is full, new flows are refused and old ones go on. 262,144 entries are 65,536
/// masqueraded flows; each takes 192 bytes, and there are 4 MB of buckets beforehand.
#[btf_map]
pub(crate) static FLOWS: HashMap<FlowKey, FlowValue, 262_144, ON_DEMAND> = HashMap::new();

/// The ports of datagrams that come in fragments; one is needed for as long as its datagram takes to arrive.
#[btf_map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, FragmentValue, 4_096> = LruHashMap::new();

/// What a packet's program works on: it is more than fits on a stack of 512 bytes.
///
/// Programs on devices run with bottom halves off, so none begins on a CPU before the one there has ended.
#[btf_map]
pub(crate) static WORK: PerCpuArray<Work, 1> = PerCpuArray::new();

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
    add_one(DROPS.get_ptr_mut(reason.number()));
}

/// Adds one to the count of forwarded packets on this CPU.
#[inline(always)]
pub(crate) fn count_forwarded() {
    add_one(FORWARDED.get_ptr_mut(0));
}

#[inline(always)]
fn add_one(count: Option<*mut u64>) {
    if let Some(count) = count {
        // SAFETY: the slot belongs to this CPU, and a program is not preempted by another of its kind in between.
        unsafe { *count += 1 };
    }
}
