//! Segmentation offload between the kernel and the embedded WireGuard: super-packets cut into packets, and merged back.
//!
//! A TUN device with virtio-net headers passes up to 64 KiB of a flow at once, which spares the system call, the route
//! lookup and the queueing of each packet. WireGuard carries single packets, so a super-packet is cut before encryption
//! and packets of one flow are merged after decryption. What a newcomer would get wrong: a merged packet is passed with
//! its checksum still to be made, and the kernel then trusts its payload, so each part's own checksum is verified first.

mod candidate;
mod checksum;
mod merge;
mod packet;
mod split;
#[cfg(test)]
mod tests;
mod vnet;

pub use merge::{Merger, SuperPacket};
pub use packet::{InnerPacket, ParseInnerError};
pub use split::{Segment, Segments, SplitError, split};
pub use vnet::{Gso, GsoKind, ParseVnetError, PartialChecksum, VnetHeader};
