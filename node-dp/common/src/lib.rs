//! The bytes that the kernel and user space share, and the choice of a backend that both must agree on.
//!
//! Every type here is a key or a value of a map: `repr(C)`, without implicit padding, ports big-endian inside, addresses
//! sixteen bytes wide with IPv4 mapped into IPv6. Whatever changes a layout must raise [`LAYOUT`].

#![cfg_attr(not(test), no_std)]

pub mod address;
pub mod affinity;
pub mod backend;
pub mod checksum;
pub mod cluster;
pub mod conntrack;
pub mod device;
pub mod drops;
pub mod flow;
pub mod fragment;
pub mod frontend;
pub mod load;
pub mod maglev;
pub mod next_hop;
pub mod node;
#[cfg(feature = "user")]
mod pod;
pub mod port_range;
pub mod rev_nat;
pub mod select;
pub mod service;
pub mod source_range;
pub mod tuple;

pub use address::{Address, Port};
pub use affinity::{AffinityKey, AffinityValue, Client, MemberKey};
pub use backend::{BackendKey, BackendValue};
pub use cluster::{ClusterState, ClusterValue, LOCAL_CLUSTER, MAX_CLUSTERS};
pub use conntrack::FlowState;
pub use device::DeviceValue;
pub use drops::DropReason;
pub use flow::{Flow, FlowKey, FlowValue, Hook};
pub use fragment::{FragmentKey, FragmentValue};
pub use frontend::FrontendKey;
pub use maglev::{MaglevKey, MaglevValue};
pub use next_hop::NextHop;
pub use node::NodeValue;
pub use rev_nat::{PeerValue, RevNatKey, RevNatValue};
pub use select::{Choice, select};
pub use service::{Group, MAX_GROUPS, ServiceValue};
pub use source_range::{IN_CLUSTERS, SourceKey};
pub use tuple::Tuple;

/// The number of the layout and meaning of all map contents; maps pinned under another number are not adopted.
pub const LAYOUT: u32 = 4;
