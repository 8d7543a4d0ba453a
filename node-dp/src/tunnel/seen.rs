//! What a tunnel has seen of its peers, and what it did not carry.

use std::{net::SocketAddr, time::SystemTime};

/// What a tunnel has seen of one peer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerStats {
    /// When the last handshake was completed; `None` before the first.
    pub last_handshake: Option<SystemTime>,
    /// Bytes received from it.
    pub rx_bytes: u64,
    /// Bytes sent to it.
    pub tx_bytes: u64,
    /// Where its packets come from and ours go to; it follows the peer's authenticated packets.
    pub endpoint: Option<SocketAddr>,
}

/// Packets that a tunnel did not carry, since it was opened (the kernel's: since its device was made).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TunnelDrops {
    /// To addresses that no peer has.
    pub no_peer: u64,
    /// To peers without a session; the latest few of each wait for its handshake.
    pub no_session: u64,
    /// From peers, with a source that is not theirs.
    pub foreign_source: u64,
}

impl TunnelDrops {
    /// The numbers by what they are called in metrics.
    pub(crate) fn by_reason(&self) -> [(&'static str, u64); 3] {
        [
            ("no-peer", self.no_peer),
            ("no-session", self.no_session),
            ("foreign-source", self.foreign_source),
        ]
    }
}
