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
use cluster_registry::{
    digest::{KeyRange, Step, Summary},
    store::Cursor,
};
use mesh_gateway_core::session::Delivery;
pub use mesh_gateway_core::{
    instance::Instance,
    pace::PaceLimit,
    reason::{DownReason, GoodbyeReason, Refusal},
    update::Update,
};
use tokio::sync::{mpsc, watch};

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

/// What a session was told from outside.
#[derive(Debug, Clone, Copy, Default)]
pub struct Orders {
    /// To ask for the peer's state.
    pub subscribe: bool,
    /// How fast the peer is then read, where that is limited.
    pub pace: Option<PaceLimit>,
    /// To end.
    pub close: Option<GoodbyeReason>,
}

/// Subscribes a session that was begun to do so later, or ends it, from outside.
#[derive(Debug, Clone)]
pub struct SessionHandle(Arc<watch::Sender<Orders>>);

impl SessionHandle {
    /// A handle, and where its session sees what it is told.
    pub fn new() -> (Self, watch::Receiver<Orders>) {
        let (orders_tx, orders) = watch::channel(Orders::default());
        (Self(Arc::new(orders_tx)), orders)
    }

    /// Asks for the peer's state, after the position up to which it is known at that time; [`PeerEvent::Subscribed`]
    /// follows, and the peer is read no faster than the pace allows. A session that has asked for it already is not changed.
    pub fn subscribe(&self, pace: Option<PaceLimit>) {
        self.0.send_modify(|orders| {
            orders.subscribe = true;
            orders.pace = pace;
        });
    }

    /// Says goodbye to the peer; [`PeerEvent::Down`] follows, and a dialer then dials anew.
    pub fn close(&self, reason: GoodbyeReason) {
        self.0.send_modify(|orders| orders.close = Some(reason));
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
/// one `Unreachable` alone. Updates between `SnapshotBegin` and `SnapshotEnd` are everything the peer has in the ranges: what was
/// known there and is not said again is gone. Another `SnapshotBegin` before the end starts the snapshot over.
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
    /// The peer has begun to tell its state, in a session that was begun to subscribe later.
    Subscribed {
        /// Whether what is known of the peer still counts; if not, a snapshot follows.
        resumed: bool,
    },
    /// What is held of the peer is to be compared with what it has; without an answer, it says everything.
    Compare {
        /// What it has.
        theirs: Vec<Summary>,
        /// Where the answer goes.
        reply: mpsc::Sender<Step>,
    },
    /// The peer begins to say everything it has in these ranges of keys.
    SnapshotBegin(Vec<KeyRange>),
    /// The newest state of some keys.
    Updates(Vec<Update>),
    /// The peer has said everything it has.
    SnapshotEnd,
    /// Everything up to here has been reported.
    Progress(Cursor),
    /// The peer says more than its pace allows, and is read no faster; or no longer does.
    Slowed(bool),
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

impl From<Delivery> for PeerEvent {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::SnapshotBegin(ranges) => Self::SnapshotBegin(ranges),
            Delivery::Updates(updates) => Self::Updates(updates),
            Delivery::SnapshotEnd => Self::SnapshotEnd,
            Delivery::Progress(cursor) => Self::Progress(cursor),
        }
    }
}
