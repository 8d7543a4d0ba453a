//! The linked clusters as their sessions show them: connected, lost since when, and what is owed to be heard.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use cluster_registry::{
    link::{Limits, LinkSpec},
    name::ClusterName,
};
use isthmus_daemon::status::PeerState;
use mesh_gateway_core::{pace::PaceLimit, peering::Holding, replicas::Dialled};
use mesh_link::{feed::Feed, resume::Resume, seat::Seat};

use super::links::Origin;

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
    /// Whether its lead says more than its link's pace allows.
    pub(super) is_slowed: bool,
    /// Updates that could not even be read, by reason.
    pub(super) unreadable: BTreeMap<&'static str, u64>,
    /// When the certificate ends that it last showed.
    pub(super) certificate_expires: Option<SystemTime>,
    /// Until when what it said counts, and how much of it is known.
    pub(super) holding: Holding,
}

/// How fast a peer is read: a whole snapshot at once, and then what its link says.
pub(super) fn pace_of(limits: &Limits) -> PaceLimit {
    PaceLimit {
        per_second: limits.updates_per_second,
        burst: u32::try_from(limits.resources()).unwrap_or(u32::MAX),
    }
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
            origin,
            feed,
            resume,
            seat: Seat::with_pace(pace_of(&spec.limits)),
            is_slowed: false,
            state: PeerState::Never,
            since: now,
            reason: None,
            unreadable: BTreeMap::new(),
            certificate_expires: None,
            holding: Holding::default(),
            spec,
        }
    }

    /// Who dials the sessions with it.
    pub(super) fn dialled(&self, own: &ClusterName) -> Dialled {
        match self.spec.is_dialled_by(own) {
            true => Dialled::Here,
            false => Dialled::There,
        }
    }

    /// Notes that a session is up, and returns whether there was none.
    pub(super) fn connect(&mut self, now: SystemTime) -> bool {
        self.reason = None;
        let is_first = self.state != PeerState::Connected;
        if is_first {
            self.state = PeerState::Connected;
            self.since = now;
        }
        is_first
    }

    /// Notes that it could not be reached, and says so once.
    pub(super) fn note_unreachable(
        &mut self,
        name: &ClusterName,
        address: Option<SocketAddr>,
        reason: String,
    ) {
        if self.reason.as_ref() != Some(&reason) {
            tracing::warn!(peer = %name, ?address, reason, "peer is unreachable");
        }
        self.seat.address = address.or(self.seat.address);
        self.reason = Some(reason);
    }

    pub(super) fn lose(&mut self, reason: String, now: Instant, wall: SystemTime) {
        self.state = PeerState::Lost;
        self.since = wall;
        self.reason = Some(reason);
        self.holding.lose(now);
    }

    /// When its state is no longer held.
    pub(super) fn expires(&self, hold_time: Duration) -> Option<Instant> {
        self.holding.expires(hold_time)
    }

    /// Notes that its state is dropped: the next session must say everything.
    pub(super) fn forget(&mut self) {
        self.holding.forget();
        self.resume.clear();
    }

    /// The next session must say everything.
    pub(super) fn ask_for_everything(&mut self) {
        self.holding.ask_for_everything();
        self.resume.clear();
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
