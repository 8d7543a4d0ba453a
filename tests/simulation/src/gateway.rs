//! One gateway: a real registry, and what the hub does with the reports of its sessions.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use cluster_registry::{
    digest::Step,
    import::{Namespaces, Refusal},
    link::LinkSpec,
    name::ClusterName,
    registry::Registry,
    resource::{Resource, ResourceId},
    store::{Cursor, Epoch, Scope},
};
use mesh_gateway_core::{
    backoff::Backoff,
    convert::encode_for_digest,
    instance::{Incarnation, Instance, InstanceId},
    peering::Holding,
    question::{self, Answer, Reader},
    reason::GoodbyeReason,
    replicas::{Dialled, Output, Replicas},
    resume::Resume,
    session::Half,
};

use crate::{
    clock::Clock,
    drive::{Event, Grant, SessionNumber},
};

mod hub;

/// How many reports may wait; small, so that sessions are held up.
const REPORT_DEPTH: usize = 4;

/// Feeds have epochs of their own; this many fit into one life of a gateway.
const EPOCHS_IN_A_LIFE: u64 = 1000;

/// The process that a gateway is in one of its lives; it is one of its cluster's replicas.
pub(crate) fn instance_of(replica: usize, life: u64) -> Instance {
    let id = InstanceId(u128::from(life).to_be_bytes());
    Instance::try_new(id, Incarnation(life), &format!("r{replica}")).expect("a good name")
}

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
    pub(crate) seat: Replicas<SessionNumber>,
    pub(crate) holding: Holding,
    /// What dials its gateways, by number; empty where the peer dials.
    pub(crate) dialers: BTreeMap<usize, Dialer>,
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
    pub(crate) half: Half,
    pub(crate) asked: question::Question,
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
        /// Whether it is as it was said, and not kept until there is room.
        is_shown: bool,
    },
    /// An update was refused.
    Refused {
        id: ResourceId,
        value: Option<Resource>,
        refusal: Refusal,
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
    Subscribe(SessionNumber),
    Close(SessionNumber, GoodbyeReason),
    /// A feed has ended, and with it the sessions that read it.
    EndFeed(Epoch),
    Answer(SessionNumber, Half, Answer),
    Compared(SessionNumber, Step),
}

/// A gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) cluster: ClusterName,
    /// Which of its cluster's it is.
    pub(crate) replica: usize,
    pub(crate) life: u64,
    pub(crate) is_running: bool,
    pub(crate) clock: Clock,
    /// Until when its process is not scheduled.
    pub(crate) busy_until: Duration,
    /// When its process or its clock last went on after a halt.
    pub(crate) disturbed_at: Duration,
    pub(crate) hold_time: Duration,
    pub(crate) registry: Registry,
    pub(crate) peers: BTreeMap<ClusterName, Peer>,
    pub(crate) reports: VecDeque<Report>,
    pub(crate) questions: VecDeque<Question>,
    pub(crate) work_at: Option<Duration>,
    pub(crate) orders: Vec<Order>,
    feeds: BTreeMap<Epoch, Reader>,
    next_feed: Epoch,
}

impl Gateway {
    pub(crate) fn new(
        (cluster, replica): (ClusterName, usize),
        life: u64,
        clock: Clock,
        hold_time: Duration,
    ) -> Self {
        let epoch = Epoch(life * EPOCHS_IN_A_LIFE);
        let mut registry = Registry::new(cluster.clone(), epoch, epoch);
        registry.digest_with(encode_for_digest);
        registry.keep_tombstones(crate::TOMBSTONES);
        Self {
            registry,
            cluster,
            replica,
            life,
            is_running: true,
            clock,
            busy_until: Duration::ZERO,
            disturbed_at: Duration::ZERO,
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

    /// `gateways` are those of the peer.
    pub(crate) fn add_link(
        &mut self,
        spec: LinkSpec,
        gateways: impl Iterator<Item = usize>,
        seed: u64,
        now: Instant,
    ) {
        self.registry.add_peer(&spec);
        let feed = self.open_feed(&spec.export_to);
        let dialled = gateways.filter(|_| spec.is_dialled_by(&self.cluster));
        let dialers = dialled.map(|gateway| (gateway, Dialer::new(seed, now)));
        let dialers = dialers.collect();
        let peer = Peer {
            feed,
            resume: Resume::default(),
            seat: Replicas::default(),
            holding: Holding::default(),
            dialers,
            spec,
        };
        self.peers.insert(peer.spec.cluster.clone(), peer);
    }

    pub(crate) fn remove_link(&mut self, name: &ClusterName) {
        let Some(peer) = self.peers.remove(name) else {
            return;
        };
        self.close_all(&peer, GoodbyeReason::NotAuthorised);
        self.end_feed(peer.feed);
        self.registry.remove_peer(name);
    }

    pub(crate) fn change_link(&mut self, spec: LinkSpec, seed: u64, now: Instant) {
        let Some(mut peer) = self.peers.remove(&spec.cluster) else {
            return;
        };
        let old = std::mem::replace(&mut peer.spec, spec);
        if old.export_to != peer.spec.export_to {
            self.close_all(&peer, GoodbyeReason::LinkChanged);
            self.end_feed(peer.feed);
            peer.feed = self.open_feed(&peer.spec.export_to);
            // The dialers that served the old feed end, and others begin.
            for dialer in peer.dialers.values_mut() {
                *dialer = Dialer::new(seed, now);
            }
        }
        if old.grants != peer.spec.grants || old.limits != peer.spec.limits {
            peer.holding.ask_for_everything();
            peer.resume.clear();
            self.close_lead(&peer, GoodbyeReason::LinkChanged);
            self.registry.change_peer(&peer.spec);
        }
        self.peers.insert(peer.spec.cluster.clone(), peer);
    }

    fn close_all(&mut self, peer: &Peer, reason: GoodbyeReason) {
        let held = peer.seat.iter();
        let closed = held.map(|(session, _)| Order::Close(session, reason));
        self.orders.extend(closed);
    }

    fn close_lead(&mut self, peer: &Peer, reason: GoodbyeReason) {
        let closed = peer.seat.lead().map(|lead| Order::Close(lead, reason));
        self.orders.extend(closed);
    }

    fn open_feed(&mut self, namespaces: &Namespaces) -> Epoch {
        let epoch = self.next_feed;
        self.next_feed = Epoch(epoch.0 + 1);
        self.feeds.insert(
            epoch,
            Reader::new(Some(Scope::new(epoch, namespaces.clone()))),
        );
        epoch
    }

    fn end_feed(&mut self, feed: Epoch) {
        self.feeds.remove(&feed);
        self.orders.push(Order::EndFeed(feed));
    }

    /// What a session with a peer begins with, if it may begin.
    pub(crate) fn admit(&self, name: &ClusterName, is_listener: bool) -> Option<Grant> {
        let own = &self.cluster;
        let peer = self.peers.get(name)?;
        if is_listener && peer.spec.is_dialled_by(own) {
            return None;
        }
        Some(Grant {
            feed: peer.feed,
            instance: instance_of(self.replica, self.life),
        })
    }

    /// Answers the oldest question.
    pub(crate) fn answer(&mut self) {
        let Some(question) = self.questions.pop_front() else {
            return;
        };
        let order = match self.feeds.get_mut(&question.feed) {
            Some(reader) => {
                let exports = self.registry.exports();
                let answer = reader.answer(exports, &question.asked, question.limit);
                Order::Answer(question.session, question.half, answer)
            }
            None => Order::EndFeed(question.feed),
        };
        self.orders.push(order);
    }
}

impl Peer {
    /// Who dials the sessions with it.
    fn dialled(&self, own: &ClusterName) -> Dialled {
        match self.spec.is_dialled_by(own) {
            true => Dialled::Here,
            false => Dialled::There,
        }
    }

    /// What became of its sessions.
    fn orders(&mut self) -> impl Iterator<Item = Order> {
        let outputs = std::iter::from_fn(|| self.seat.poll_output());
        outputs.map(|output| match output {
            Output::Lead(session) => Order::Subscribe(session),
            Output::Close(session, reason) => Order::Close(session, reason),
        })
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
