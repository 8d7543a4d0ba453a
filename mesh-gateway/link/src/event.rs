//! What a session tells its owner about the peer.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use certs::identity::SpiffeId;
use cluster_registry::store::Cursor;
pub use mesh_gateway_core::{
    instance::Instance,
    reason::{DownReason, GoodbyeReason, Refusal},
    update::Update,
};
use tokio::sync::watch;

/// The number of a session, unique within the process and growing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// A number that no session of this process has had.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Ends a session from outside.
#[derive(Debug, Clone)]
pub struct SessionHandle(Arc<watch::Sender<Option<GoodbyeReason>>>);

impl SessionHandle {
    /// A handle, and where its session sees that it shall end.
    pub fn new() -> (Self, watch::Receiver<Option<GoodbyeReason>>) {
        let (close_tx, closing) = watch::channel(None);
        (Self(Arc::new(close_tx)), closing)
    }

    /// Says goodbye to the peer; [`PeerEvent::Down`] follows, and a dialer then dials anew.
    pub fn close(&self, reason: GoodbyeReason) {
        self.0.send_replace(Some(reason));
    }
}

/// One event of one session.
#[derive(Debug, Clone)]
pub struct Report {
    /// The session.
    pub session: SessionId,
    /// Who the peer is, as its certificate says (or, while dialling, must say).
    pub peer: Arc<SpiffeId>,
    /// What happened.
    pub event: PeerEvent,
}

/// What happened in a session.
///
/// The order is `Up`, then any of the middle ones, then exactly one `Down`; a dialer's attempt that does not get that far is
/// one `Unreachable` alone. Updates between `SnapshotBegin` and `SnapshotEnd` are everything the peer has: what was known and is
/// not said again is gone. Another `SnapshotBegin` before the end starts the snapshot over.
#[derive(Debug, Clone)]
pub enum PeerEvent {
    /// Both sides have accepted each other.
    Up {
        /// Where the peer is.
        address: SocketAddr,
        /// The process that the peer is; `None` if it is of a version that does not tell.
        instance: Option<Instance>,
        /// Whether what is known of the peer still counts; if not, a snapshot follows.
        resumed: bool,
        /// Until when the peer's certificate counts.
        certificate_expires: SystemTime,
        /// Ends the session.
        handle: SessionHandle,
    },
    /// The peer begins to say everything it has.
    SnapshotBegin,
    /// The newest state of some keys.
    Updates(Vec<Update>),
    /// The peer has said everything it has.
    SnapshotEnd,
    /// Everything up to here has been reported.
    Progress(Cursor),
    /// The smoothed round-trip time, about once a second.
    Rtt(Duration),
    /// One update was not taken; the session goes on.
    Refused(Refusal),
    /// The session has ended.
    Down {
        /// Why.
        reason: DownReason,
    },
    /// An attempt to dial failed before there was a session.
    Unreachable {
        /// Where the peer was expected; `None` when its name has no address.
        address: Option<SocketAddr>,
        /// Why.
        reason: String,
    },
}
