//! One gateway: a real registry, and what the hub does with the reports of its sessions.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use cluster_registry::{
    cluster::Control,
    import::Namespaces,
    link::LinkSpec,
    name::ClusterName,
    registry::Registry,
    resource::{Key, Resource, ResourceId},
    store::{Batch, Cursor, Epoch, ResumeError, Scope},
};
use mesh_gateway_core::{
    backoff::Backoff,
    peering::{Holding, Seat, Seating},
    reason::GoodbyeReason,
    resume::Resume,
    session::Delivery,
    update::Update,
};

use crate::{
    clock::Clock,
    drive::{Event, Grant, SessionNumber},
};

/// How many reports may wait; small, so that sessions are held up.
const REPORT_DEPTH: usize = 4;

/// Feeds have epochs of their own; this many fit into one life of a gateway.
const EPOCHS_IN_A_LIFE: u64 = 1000;

/// The life of a gateway that gave an epoch.
pub(crate) fn life_of(epoch: Epoch) -> u64 {
    epoch.0 / EPOCHS_IN_A_LIFE
}

/// Dials one peer.
#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) backoff: Backoff,
    pub(crate) started: Instant,
    /// When it dials next; `None` while it has a connection.
    pub(crate) next: Option<Instant>,
    /// The connection that it has.
    pub(crate) connection: Option<u64>,
}

/// A linked cluster.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) spec: LinkSpec,
    pub(crate) feed: Epoch,
    pub(crate) resume: Resume,
    pub(crate) seat: Seat<SessionNumber>,
    pub(crate) holding: Holding,
    pub(crate) dialer: Option<Dialer>,
}

/// An event of a session.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) session: SessionNumber,
    pub(crate) peer: ClusterName,
    pub(crate) event: Event,
}

/// A session's question to the store.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) session: SessionNumber,
    pub(crate) feed: Epoch,
    pub(crate) after: Option<Cursor>,
    pub(crate) limit: usize,
}

/// What happened to what is known of a peer.
#[derive(Debug)]
pub(crate) enum Fact {
    /// An update was taken, and changed something or not.
    Taken {
        id: ResourceId,
        value: Option<Resource>,
        has_effect: bool,
    },
    /// An update was refused.
    Refused {
        id: ResourceId,
        value: Option<Resource>,
        reason: String,
    },
    /// A snapshot did not say it again.
    Gone(ResourceId),
    /// All that it said was dropped.
    Dropped,
    /// Everything up to here was said.
    Progress(Cursor),
    /// Something that never happens among honest peers.
    Broken(String),
}

/// What sessions must be told.
#[derive(Debug)]
pub(crate) enum Order {
    Close(SessionNumber, GoodbyeReason),
    /// A feed has ended, and with it the sessions that read it.
    EndFeed(Epoch),
    Answer(SessionNumber, Result<Batch, ResumeError>),
}

/// A gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) cluster: ClusterName,
    pub(crate) life: u64,
    pub(crate) is_running: bool,
    pub(crate) clock: Clock,
    /// Until when its process is not scheduled.
    pub(crate) busy_until: Duration,
    pub(crate) hold_time: Duration,
    pub(crate) registry: Registry,
    pub(crate) peers: BTreeMap<ClusterName, Peer>,
    pub(crate) reports: VecDeque<Report>,
    pub(crate) questions: VecDeque<Question>,
    pub(crate) work_at: Option<Duration>,
    pub(crate) orders: Vec<Order>,
    feeds: BTreeMap<Epoch, Scope>,
    next_feed: Epoch,
}

impl Gateway {
    pub(crate) fn new(cluster: ClusterName, life: u64, clock: Clock, hold_time: Duration) -> Self {
        let epoch = Epoch(life * EPOCHS_IN_A_LIFE);
        let mut registry = Registry::new(cluster.clone(), epoch, epoch);
        registry.keep_tombstones(crate::TOMBSTONES);
        Self {
            registry,
            cluster,
            life,
            is_running: true,
            clock,
            busy_until: Duration::ZERO,
            hold_time,
            peers: BTreeMap::new(),
            reports: VecDeque::new(),
            questions: VecDeque::new(),
            work_at: None,
            orders: Vec::new(),
            feeds: BTreeMap::new(),
            next_feed: epoch,
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.reports.len() < REPORT_DEPTH
    }

    /// Where the readers of a feed stand that know everything, while the feed lasts.
    pub(crate) fn newest_of(&self, feed: Epoch) -> Option<Cursor> {
        Some(self.feeds.get(&feed)?.cursor(self.registry.exports()))
    }

    pub(crate) fn add_link(&mut self, spec: LinkSpec, seed: u64, now: Instant) {
        self.registry.add_peer(&spec);
        let feed = self.open_feed(&spec.export_to);
        let dialer = spec
            .is_dialled_by(&self.cluster)
            .then(|| Dialer::new(seed, now));
        let peer = Peer {
            feed,
            resume: Resume::default(),
            seat: Seat::default(),
            holding: Holding::default(),
            dialer,
            spec,
        };
        self.peers.insert(peer.spec.cluster.clone(), peer);
    }

    pub(crate) fn remove_link(&mut self, name: &ClusterName) {
        let Some(peer) = self.peers.remove(name) else {
            return;
        };
        self.close_seat(&peer, GoodbyeReason::NotAuthorised);
        self.end_feed(peer.feed);
        self.registry.remove_peer(name);
    }

    pub(crate) fn change_link(&mut self, spec: LinkSpec, seed: u64, now: Instant) {
        let Some(mut peer) = self.peers.remove(&spec.cluster) else {
            return;
        };
        let old = std::mem::replace(&mut peer.spec, spec);
        if old.export_to != peer.spec.export_to {
            self.close_seat(&peer, GoodbyeReason::LinkChanged);
            self.end_feed(peer.feed);
            peer.feed = self.open_feed(&peer.spec.export_to);
            // The dialer that served the old feed ends, and another begins.
            peer.dialer = peer.dialer.is_some().then(|| Dialer::new(seed, now));
        }
        if old.grants != peer.spec.grants || old.limits != peer.spec.limits {
            peer.holding.ask_for_everything();
            peer.resume.clear();
            self.close_seat(&peer, GoodbyeReason::LinkChanged);
            self.registry.change_peer(&peer.spec);
        }
        self.peers.insert(peer.spec.cluster.clone(), peer);
    }

    fn close_seat(&mut self, peer: &Peer, reason: GoodbyeReason) {
        if let Some(session) = peer.seat.live() {
            self.orders.push(Order::Close(session, reason));
        }
    }

    fn open_feed(&mut self, namespaces: &Namespaces) -> Epoch {
        let epoch = self.next_feed;
        self.next_feed = Epoch(epoch.0 + 1);
        self.feeds
            .insert(epoch, Scope::new(epoch, namespaces.clone()));
        epoch
    }

    fn end_feed(&mut self, feed: Epoch) {
        self.feeds.remove(&feed);
        self.orders.push(Order::EndFeed(feed));
    }

    /// What a session with a peer begins with, if it may begin.
    pub(crate) fn admit(&mut self, name: &ClusterName, is_listener: bool) -> Option<Grant> {
        let own = &self.cluster;
        let peer = self.peers.get_mut(name)?;
        if is_listener && peer.spec.is_dialled_by(own) {
            return None;
        }
        Some(Grant {
            feed: peer.feed,
            generation: peer.resume.begin(),
            resume: peer.resume.cursor(),
        })
    }

    /// Answers the oldest question.
    pub(crate) fn answer(&mut self) {
        let Some(question) = self.questions.pop_front() else {
            return;
        };
        let order = match self.feeds.get(&question.feed) {
            Some(scope) => {
                let exports = self.registry.exports();
                let answer = scope.changes_after(exports, question.after, question.limit);
                Order::Answer(question.session, answer)
            }
            None => Order::EndFeed(question.feed),
        };
        self.orders.push(order);
    }

    /// Takes the oldest report.
    pub(crate) fn take_report(&mut self, now: Instant) -> Option<(ClusterName, Vec<Fact>)> {
        let Report {
            session,
            peer: name,
            event,
        } = self.reports.pop_front()?;
        let Some(peer) = self.peers.get_mut(&name) else {
            if let Event::Up { .. } = event {
                self.orders
                    .push(Order::Close(session, GoodbyeReason::NotAuthorised));
            }
            return Some((name, Vec::new()));
        };
        let is_current = peer.seat.is_of(session);
        let mut facts = Vec::new();
        match event {
            Event::Up { resumed } => self.seat(&name, session, resumed),
            Event::Delivery(delivery) if is_current => {
                match &delivery {
                    Delivery::SnapshotBegin => peer.holding.handle_snapshot_begin(),
                    Delivery::SnapshotEnd => peer.holding.handle_snapshot_end(),
                    Delivery::Progress(cursor) => peer.holding.handle_progress(*cursor),
                    Delivery::Updates(_) => {}
                }
                self.take(&name, delivery, &mut facts);
            }
            Event::Refused(refusal) if is_current => {
                facts.push(Fact::Broken(format!("an update is unreadable: {refusal}")));
            }
            Event::Down(_) => {
                if peer.seat.leave(session) {
                    peer.holding.lose(now);
                    self.registry.set_control(&name, Control::Lost);
                }
            }
            Event::Delivery(_) | Event::Refused(_) => {}
        }
        Some((name, facts))
    }

    fn seat(&mut self, name: &ClusterName, session: SessionNumber, resumed: bool) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        if let Err(reason) = peer.holding.check(resumed) {
            self.orders.push(Order::Close(session, reason));
            return;
        }
        match peer.seat.take(session) {
            Seating::Refused(reason) => self.orders.push(Order::Close(session, reason)),
            Seating::Taken { replaced } => {
                let closed = replaced.map(|old| Order::Close(old, GoodbyeReason::Replaced));
                self.orders.extend(closed);
                peer.holding.connect(resumed);
                self.registry.set_control(name, Control::Connected);
            }
        }
    }

    /// Does with what a peer says what the hub does with it.
    pub(crate) fn take(&mut self, name: &ClusterName, delivery: Delivery, facts: &mut Vec<Fact>) {
        match delivery {
            Delivery::SnapshotBegin => self.registry.handle_import_begin(name),
            Delivery::Updates(updates) => {
                facts.extend(updates.into_iter().map(|update| self.import(name, update)));
            }
            Delivery::SnapshotEnd => {
                let before: Vec<Key> = self.imports_of(name).collect();
                self.registry.handle_import_end(name);
                let gone = before
                    .into_iter()
                    .filter(|key| self.registry.feed().get(key).is_none());
                facts.extend(gone.map(|key| Fact::Gone(key.id)));
            }
            Delivery::Progress(cursor) => facts.push(Fact::Progress(cursor)),
        }
    }

    fn import(&mut self, name: &ClusterName, update: Update) -> Fact {
        let Update { key, value, trace } = update;
        let id = key.id.clone();
        let before = self.registry.feed().cursor();
        match self.registry.handle_import(name, key, value.clone(), trace) {
            Ok(()) => Fact::Taken {
                id,
                value,
                has_effect: self.registry.feed().cursor() != before,
            },
            Err(refusal) => Fact::Refused {
                id,
                value,
                reason: refusal.to_string(),
            },
        }
    }

    /// What is known of a peer.
    pub(crate) fn imports_of(&self, name: &ClusterName) -> impl Iterator<Item = Key> {
        let known = self.registry.feed().iter_of(name).map(|(key, _)| key);
        known.filter(|key| key.id != ResourceId::Cluster)
    }

    /// When it next drops what a lost peer said.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let expiries = self.peers.values();
        expiries
            .filter_map(|peer| peer.holding.expires(self.hold_time))
            .min()
    }

    /// Drops what was held for long enough.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<ClusterName> {
        let is_due = |peer: &Peer| {
            peer.holding
                .expires(self.hold_time)
                .is_some_and(|at| at <= now)
        };
        let due: Vec<ClusterName> = self
            .peers
            .iter()
            .filter(|(_, peer)| is_due(peer))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &due {
            self.registry.drop_peer_state(name);
            if let Some(peer) = self.peers.get_mut(name) {
                peer.holding.forget();
                peer.resume.clear();
            }
        }
        due
    }
}

impl Dialer {
    fn new(seed: u64, now: Instant) -> Self {
        Self {
            backoff: Backoff::new(crate::FIRST_BACKOFF, crate::MAX_BACKOFF, seed),
            started: now,
            next: Some(now),
            connection: None,
        }
    }
}
