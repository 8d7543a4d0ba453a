//! The node's own side of every peer's state in the embedded WireGuard: its key, and what is made with it.

use std::{sync::Arc, time::Duration};

use cluster_registry::node::PublicKey;
use gotatun::{
    noise::{
        TimerParams, Tunn, handshake::parse_handshake_anon, index_table::IndexTable,
        rate_limiter::RateLimiter,
    },
    packet::WgHandshakeInit,
    x25519,
};
use node_dp_core::tunnel::pacing::RETRY;

use super::{
    super::{
        KEEPALIVE_SECONDS, PrivateKey,
        peers::{Change, PeerConfig},
    },
    peer::Peer,
    table::TableChange,
};

/// What spreads the first repetitions of many peers' handshakes.
const HANDSHAKE_JITTER: Duration = Duration::from_millis(333);

/// Handshakes a second from one address above which cookies are asked for.
const HANDSHAKE_LIMIT: u64 = 100;

/// The node's key, with the numbers of its sessions.
#[derive(Clone)]
pub(super) struct Identity {
    secret: x25519::StaticSecret,
    public: x25519::PublicKey,
    pub(super) limiter: Arc<RateLimiter>,
    pub(super) indices: IndexTable,
}

impl Identity {
    pub(super) fn new(key: &PrivateKey) -> Self {
        Self::with_indices(key, IndexTable::from_os_rng())
    }

    /// The same node with another key: sessions with either never have the same number.
    pub(super) fn successor(&self, key: &PrivateKey) -> Self {
        Self::with_indices(key, self.indices.clone())
    }

    fn with_indices(key: &PrivateKey, indices: IndexTable) -> Self {
        let secret = key.secret();
        let public = x25519::PublicKey::from(&secret);
        Self {
            limiter: Arc::new(RateLimiter::new(&public, HANDSHAKE_LIMIT)),
            secret,
            public,
            indices,
        }
    }

    /// Makes a change ready for the table.
    pub(super) fn prepare(&self, change: Change) -> TableChange {
        match change {
            Change::Remove(key) => TableChange::Remove(key),
            Change::Update {
                public_key,
                endpoint,
                allowed_ips,
                is_used,
            } => TableChange::Update {
                key: public_key,
                endpoint,
                allowed_ips: allowed_ips.map(|prefixes| prefixes.into_iter().collect()),
                is_used,
            },
            Change::Add(key, config) => TableChange::Add(Box::new(self.peer(key, config))),
        }
    }

    /// The protocol's state with a peer, without any session yet.
    pub(super) fn protocol(&self, peer: PublicKey, is_used: bool) -> Tunn {
        let mut protocol = Tunn::new(
            self.secret.clone(),
            x25519::PublicKey::from(peer.0),
            None,
            keepalive(is_used),
            self.indices.clone(),
            Arc::clone(&self.limiter),
        );
        protocol.dangerously_set_timer_params(usual_timers());
        protocol
    }

    /// Who begins a handshake with this key.
    pub(super) fn initiator(&self, message: &WgHandshakeInit) -> Option<PublicKey> {
        let half = parse_handshake_anon(&self.secret, &self.public, message).ok()?;
        Some(PublicKey(half.peer_static_public))
    }

    fn peer(&self, key: PublicKey, config: PeerConfig) -> Peer {
        Peer {
            key,
            protocol: self.protocol(key, config.is_used),
            former: None,
            bytes_before: (0, 0),
            calls: 0,
            endpoint: config.endpoint,
            allowed_ips: config.allowed_ips.into_iter().collect(),
        }
    }
}

/// The protocol's timers, but for how long a handshake waits for its answer.
fn timers(retry: Duration, jitter: Duration) -> TimerParams {
    TimerParams {
        rekey_timeout: retry..=retry + jitter,
        ..TimerParams::default()
    }
}

/// The timers of a peer that has answered, or was never called.
pub(super) fn usual_timers() -> TimerParams {
    timers(RETRY, HANDSHAKE_JITTER)
}

/// The timers of one that is called again in so long if it has not answered by then.
pub(super) fn paced_timers(wait: Duration) -> TimerParams {
    timers(wait, Duration::ZERO)
}

/// Seconds between keepalives.
pub(super) fn keepalive(is_used: bool) -> Option<u16> {
    is_used.then_some(KEEPALIVE_SECONDS)
}
