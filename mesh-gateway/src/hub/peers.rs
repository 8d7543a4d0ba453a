//! The linked clusters as their sessions show them: connected, lost since when, and what is owed to be heard.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use cluster_registry::{link::LinkSpec, name::ClusterName, store::Cursor};
use isthmus_daemon::status::PeerState;
use mesh_link::{
    event::{GoodbyeReason, SessionHandle},
    feed::Feed,
    resume::Resume,
};

use super::{links::Origin, seat::Seat};

/// A linked cluster.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) spec: Arc<LinkSpec>,
    pub(super) origin: Origin,
    /// What the peer may know.
    pub(super) feed: Feed,
    pub(super) resume: Resume,
    pub(super) seat: Seat,
    pub(super) state: PeerState,
    pub(super) since: SystemTime,
    /// Why it is not connected.
    pub(super) reason: Option<String>,
    /// Updates that could not even be read, by reason.
    pub(super) unreadable: BTreeMap<&'static str, u64>,
    /// Whether what is known of it is all that it said last.
    pub(super) has_said_all: bool,
    /// Up to where all that it said was taken; what is known of it is never older.
    pub(super) progress: Option<Cursor>,
    /// When the certificate ends that it last showed.
    pub(super) certificate_expires: Option<SystemTime>,
    /// When it was lost, while its state is still held.
    held_since: Option<Instant>,
    /// Whether its state was dropped, so that a session which continues it is of no use.
    needs_snapshot: bool,
}

impl Peer {
    pub(super) fn new(
        spec: Arc<LinkSpec>,
        origin: Origin,
        feed: Feed,
        resume: Resume,
        now: SystemTime,
    ) -> Self {
        Self {
            spec,
            origin,
            feed,
            resume,
            seat: Seat::default(),
            state: PeerState::Never,
            since: now,
            reason: None,
            unreadable: BTreeMap::new(),
            has_said_all: false,
            progress: None,
            certificate_expires: None,
            held_since: None,
            needs_snapshot: false,
        }
    }

    /// Whether a session that came up is of use: one that continues what was dropped is closed.
    pub(super) fn accepts(&mut self, resumed: bool, handle: &SessionHandle) -> bool {
        if resumed && self.needs_snapshot {
            handle.close(GoodbyeReason::LinkChanged);
            return false;
        }
        self.needs_snapshot = false;
        true
    }

    pub(super) fn connect(&mut self, resumed: bool, now: SystemTime) {
        if self.state != PeerState::Connected {
            self.since = now;
        }
        self.state = PeerState::Connected;
        self.reason = None;
        self.held_since = None;
        self.has_said_all |= resumed;
    }

    pub(super) fn lose(&mut self, reason: String, now: Instant, wall: SystemTime) {
        self.state = PeerState::Lost;
        self.since = wall;
        self.reason = Some(reason);
        self.held_since = Some(now);
    }

    /// Its state is held from now on, though no session was lost.
    pub(super) fn hold_from(&mut self, now: Instant) {
        self.held_since = Some(now);
    }

    /// When its state is no longer held.
    pub(super) fn expires(&self, hold_time: Duration) -> Option<Instant> {
        self.held_since?.checked_add(hold_time)
    }

    /// Notes that its state is dropped: the next session must say everything.
    pub(super) fn forget(&mut self) {
        self.held_since = None;
        self.ask_for_everything();
    }

    /// The next session must say everything.
    pub(super) fn ask_for_everything(&mut self) {
        self.resume.clear();
        self.progress = None;
        self.needs_snapshot = true;
        self.has_said_all = false;
    }
}

/// The linked clusters, by name.
pub(super) type Peers = BTreeMap<ClusterName, Peer>;

/// Whose state is held no longer.
pub(super) fn expired(peers: &Peers, hold_time: Duration, now: Instant) -> Vec<ClusterName> {
    peers
        .iter()
        .filter(|(_, peer)| peer.expires(hold_time).is_some_and(|at| at <= now))
        .map(|(name, _)| name.clone())
        .collect()
}
