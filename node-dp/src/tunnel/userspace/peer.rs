//! One peer of the embedded WireGuard, with the protocol's state for each of this node's keys that still counts.

use std::{net::SocketAddr, time::Instant};

use cluster_registry::node::PublicKey;
use gotatun::noise::Tunn;
use ipnet::IpNet;
use node_dp_core::tunnel::pacing::Pacing;

use super::identity::{Identity, paced_timers, usual_timers};

/// A peer, made ready apart from the table: its keys take a tenth of a millisecond to compute.
pub(super) struct Peer {
    pub(super) key: PublicKey,
    pub(super) protocol: Tunn,
    /// The state with this node's key before, of which sessions are still received from.
    pub(super) former: Option<Tunn>,
    /// Bytes received and sent in states that are gone.
    pub(super) bytes_before: (u64, u64),
    /// Handshakes that it was sent since it was last heard.
    pub(super) calls: u32,
    pub(super) endpoint: SocketAddr,
    pub(super) allowed_ips: Vec<IpNet>,
}

/// What the peers' states are with another key, made ready apart as well.
pub(super) struct Succession {
    pub(super) identity: Identity,
    pub(super) protocols: Vec<(PublicKey, Tunn)>,
}

impl Peer {
    /// It was sent a handshake; the first of a row is repeated when it usually is, the others when all peers' calls allow.
    pub(super) fn note_call(&mut self, pacing: &mut Pacing) {
        self.calls = self.calls.saturating_add(1);
        if self.calls > 1 {
            let wait = pacing.book(Instant::now());
            self.protocol
                .dangerously_set_timer_params(paced_timers(wait));
        }
    }

    /// It was heard, authentically.
    pub(super) fn note_heard(&mut self) {
        if self.calls > 1 {
            self.protocol.dangerously_set_timer_params(usual_timers());
        }
        self.calls = 0;
    }

    /// Forgets the state with the former key.
    pub(super) fn forget_former(&mut self) {
        if let Some(former) = self.former.take() {
            self.bytes_before = sum(self.bytes_before, bytes_of(&former));
        }
    }

    /// Bytes received and sent in all.
    pub(super) fn bytes(&self) -> (u64, u64) {
        let states = [Some(&self.protocol), self.former.as_ref()];
        let states = states.into_iter().flatten().map(bytes_of);
        states.fold(self.bytes_before, sum)
    }
}

fn bytes_of(protocol: &Tunn) -> (u64, u64) {
    let (_, tx_bytes, rx_bytes, ..) = protocol.stats();
    (rx_bytes as u64, tx_bytes as u64)
}

fn sum(one: (u64, u64), other: (u64, u64)) -> (u64, u64) {
    (one.0 + other.0, one.1 + other.1)
}
