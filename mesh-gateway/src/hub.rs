//! The hub: the one task that owns the registry, between the source, the sessions, DNS and whoever asks for status.

mod nodes;
mod peers;
mod seat;
mod status;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use certs::identity::Role;
use cluster_registry::{
    cluster::Control, name::ClusterName, registry::Registry, store::Epoch, view::View,
};
use cluster_registry_kube::source::{Problem, SourceEvent};
use isthmus_daemon::{
    readiness::{Readiness, ReadyGuard},
    status::{Dns, GatewayStatus, Source},
    trace,
};
use mesh_link::{
    event::{PeerEvent, Report, SessionId, Update},
    feed::{Feed, FeedServer},
    resume::Resume,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    metrics::{Metrics, PeerLabels, ReasonLabels, gauge_value},
};

use self::{
    nodes::Nodes,
    peers::{Peer, Peers},
};

/// Reports that may wait: one page of each of a few dozen sessions that catch up at the same time.
const REPORT_DEPTH: usize = 64;

/// Source events that may wait; each is a batch already.
const SOURCE_DEPTH: usize = 16;

/// Questions for the status that may wait.
const STATUS_DEPTH: usize = 8;

/// Reports taken before the view is made anew, so that a snapshot in pages does not make one for each page.
const REPORTS_AT_ONCE: usize = 32;

/// How long nodes wait for peers after a start: a session on a good path is up and heard within a second.
///
/// Nodes keep what they have while they wait. Told at once, they would drop other clusters' backends, as a gateway that
/// has just started knows of none.
const FEED_GRACE: Duration = Duration::from_secs(3);

/// Asks for the status.
pub(crate) type StatusRequest = oneshot::Sender<GatewayStatus>;

/// The ends that other tasks hold.
#[derive(Debug)]
pub(crate) struct HubEnds {
    pub(crate) source: mpsc::Sender<SourceEvent>,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) status: mpsc::Sender<StatusRequest>,
    pub(crate) views: watch::Receiver<Option<Arc<View>>>,
    pub(crate) exports: Feed,
    pub(crate) feed: Feed,
    /// Cancelled once the source's complete state is known.
    pub(crate) synced: CancellationToken,
}

/// What the hub only shows.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) dns_listen: Option<SocketAddr>,
    pub(crate) dns_queries: Arc<AtomicU64>,
}

/// The task. It ends with the token; it is not cancel safe, as an event may be half applied.
#[derive(Debug)]
pub(crate) struct Hub {
    cluster: ClusterName,
    hold_time: Duration,
    source_kind: &'static str,
    started: SystemTime,
    registry: Registry,
    peers: Peers,
    nodes: Nodes,
    problems: Vec<Problem>,
    /// Held until the source is synced.
    source_guard: Option<ReadyGuard>,
    synced: CancellationToken,
    /// When nodes are told without waiting longer for peers; `None` before the source is synced.
    feed_opens: Option<Instant>,
    is_feed_open: bool,
    exports: FeedServer,
    feed: FeedServer,
    source_rx: mpsc::Receiver<SourceEvent>,
    reports_rx: mpsc::Receiver<Report>,
    status_rx: mpsc::Receiver<StatusRequest>,
    views_tx: watch::Sender<Option<Arc<View>>>,
    facts: Facts,
}

impl Hub {
    /// A hub and the ends that other tasks hold; each link comes with the position its sessions resume from.
    pub(crate) fn new<'a>(
        config: &Config,
        resumes: impl Iterator<Item = (&'a ClusterName, Resume)>,
        facts: Facts,
    ) -> (Self, HubEnds) {
        let started = SystemTime::now();
        let epoch = new_epoch(started);
        let mut registry = Registry::new(config.cluster.clone(), epoch, epoch);
        for link in &config.links {
            registry.add_peer(link.cluster.clone(), link.grants.clone());
        }
        let peers = resumes.map(|(name, resume)| (name.clone(), Peer::new(resume, started)));
        let (source, source_rx) = mpsc::channel(SOURCE_DEPTH);
        let (reports, reports_rx) = mpsc::channel(REPORT_DEPTH);
        let (status, status_rx) = mpsc::channel(STATUS_DEPTH);
        let (views_tx, views) = watch::channel(None);
        let (exports, exports_server) = FeedServer::new(registry.exports().cursor());
        let (feed, feed_server) = FeedServer::new(registry.feed().cursor());
        let synced = CancellationToken::new();
        let hub = Self {
            cluster: config.cluster.clone(),
            hold_time: config.hold_time,
            source_kind: config.source.label(),
            started,
            registry,
            peers: peers.collect(),
            nodes: Nodes::new(),
            problems: Vec::new(),
            source_guard: Some(facts.readiness.guard("source")),
            synced: synced.clone(),
            feed_opens: None,
            is_feed_open: false,
            exports: exports_server,
            feed: feed_server,
            source_rx,
            reports_rx,
            status_rx,
            views_tx,
            facts,
        };
        let ends = HubEnds {
            source,
            reports,
            status,
            views,
            exports,
            feed,
            synced,
        };
        (hub, ends)
    }

    /// Serves until the token is cancelled.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            self.publish();
            let deadline = self.poll_timeout();
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(event) = self.source_rx.recv() => self.handle_source(event),
                Some(report) = self.reports_rx.recv() => {
                    self.handle_report(report);
                    self.handle_waiting_reports();
                }
                Some(request) = self.exports.next() => request.answer(self.registry.exports()),
                Some(request) = self.feed.next(), if self.is_feed_open => {
                    request.answer(self.registry.feed());
                }
                Some(reply) = self.status_rx.recv() => {
                    // Whoever asked may have gone.
                    drop(reply.send(self.status()));
                }
                () = sleep_until(deadline) => self.handle_timeout(Instant::now()),
            }
        }
    }

    fn handle_waiting_reports(&mut self) {
        for _ in 1..REPORTS_AT_ONCE {
            let Ok(report) = self.reports_rx.try_recv() else {
                return;
            };
            self.handle_report(report);
        }
    }

    fn handle_source(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Snapshot(resources) => {
                self.registry.apply_local_snapshot(resources);
                self.note_synced();
            }
            SourceEvent::Changed(changes) => {
                for (id, value, cause) in changes {
                    let span = tracing::info_span!("gateway.apply_local", ?id);
                    trace::continue_from(&span, cause);
                    let position = trace::context_of(&span).or(cause);
                    span.in_scope(|| self.registry.apply_local(&id, value, position));
                }
            }
            SourceEvent::Problems(problems) => {
                let count = gauge_value(problems.len() as u64);
                self.facts.metrics.source_problems.set(count);
                self.problems = problems;
            }
        }
    }

    fn note_synced(&mut self) {
        self.source_guard = None;
        self.facts.metrics.source_synced.set(1);
        self.synced.cancel();
        let opens = Instant::now() + FEED_GRACE;
        self.feed_opens.get_or_insert(opens);
        self.open_feed_if_due(Instant::now());
    }

    /// Nodes are told once all peers were heard, or the grace is over.
    fn open_feed_if_due(&mut self, now: Instant) {
        let Some(opens) = self.feed_opens else {
            return;
        };
        let has_heard_all = self.peers.values().all(|peer| peer.has_said_all);
        if !self.is_feed_open && (has_heard_all || opens <= now) {
            tracing::info!(has_heard_all, "nodes are served");
            self.is_feed_open = true;
        }
    }

    fn handle_report(&mut self, report: Report) {
        let peer = Arc::clone(&report.peer);
        match &peer.role {
            Role::Gateway => self.handle_peer_report(&peer.cluster, report),
            Role::Node(name) => {
                nodes::handle_report(
                    &mut self.nodes,
                    &mut self.registry,
                    &self.cluster,
                    name,
                    report,
                );
                let connected = self.nodes.values().filter(|n| n.seat.is_taken()).count();
                self.facts
                    .metrics
                    .nodes_connected
                    .set(gauge_value(connected as u64));
            }
        }
    }

    fn handle_peer_report(&mut self, name: &ClusterName, report: Report) {
        let Report { session, event, .. } = report;
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        let is_current = peer.seat.is_of(session);
        match event {
            PeerEvent::Up {
                address,
                resumed,
                handle,
            } => {
                if peer.accepts(resumed, &handle) && peer.seat.take(session, address, handle) {
                    self.note_connected(name, resumed);
                }
            }
            PeerEvent::Unreachable { address, reason } if !peer.seat.is_taken() => {
                if peer.reason.as_ref() != Some(&reason) {
                    tracing::warn!(peer = %name, %address, reason, "peer is unreachable");
                }
                peer.seat.address = Some(address);
                peer.reason = Some(reason);
            }
            PeerEvent::SnapshotBegin if is_current => self.registry.handle_import_begin(name),
            PeerEvent::Updates(updates) if is_current => self.import(name, updates),
            PeerEvent::SnapshotEnd if is_current => {
                peer.has_said_all = true;
                self.registry.handle_import_end(name);
                self.open_feed_if_due(Instant::now());
            }
            PeerEvent::Rtt(rtt) if is_current => {
                peer.seat.rtt = Some(rtt);
                let gauge = self.facts.metrics.peer_rtt.get_or_create(&labels(name));
                gauge.set(rtt.as_secs_f64());
            }
            PeerEvent::Refused(refusal) if is_current => {
                *peer.unreadable.entry(refusal.label()).or_default() += 1;
                self.count_refused(name, refusal.label());
            }
            PeerEvent::Down { reason } => {
                self.note_lost(name, session, &reason.to_string(), reason.label());
            }
            PeerEvent::Unreachable { .. }
            | PeerEvent::SnapshotBegin
            | PeerEvent::Updates(_)
            | PeerEvent::SnapshotEnd
            | PeerEvent::Rtt(_)
            | PeerEvent::Refused(_)
            | PeerEvent::Progress(_) => {}
        }
    }

    fn note_connected(&mut self, name: &ClusterName, resumed: bool) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.connect(resumed, SystemTime::now());
        }
        self.registry.set_control(name, Control::Connected);
        let metrics = &self.facts.metrics;
        metrics.peer_connected.get_or_create(&labels(name)).set(1);
        metrics.sessions.get_or_create(&labels(name)).inc();
        tracing::info!(peer = %name, resumed, "peer is connected");
        self.open_feed_if_due(Instant::now());
    }

    fn note_lost(
        &mut self,
        name: &ClusterName,
        session: SessionId,
        reason: &str,
        label: &'static str,
    ) {
        let metrics = &self.facts.metrics;
        let ended = ReasonLabels {
            peer: name.to_string(),
            reason: label,
        };
        metrics.sessions_ended.get_or_create(&ended).inc();
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        if !peer.seat.leave(session) {
            return;
        }
        peer.lose(reason.to_owned(), Instant::now(), SystemTime::now());
        self.registry.set_control(name, Control::Lost);
        metrics.peer_connected.get_or_create(&labels(name)).set(0);
        tracing::warn!(peer = %name, reason, "peer is lost; what it shared stays");
    }

    fn import(&mut self, name: &ClusterName, updates: Vec<Update>) {
        let accepted = self
            .facts
            .metrics
            .updates_accepted
            .get_or_create_owned(&labels(name));
        for update in updates {
            let Update {
                key,
                value,
                trace: cause,
            } = update;
            let span = tracing::info_span!("gateway.import", peer = %name, id = ?key.id);
            trace::continue_from(&span, cause);
            let position = trace::context_of(&span).or(cause);
            let outcome = span.in_scope(|| {
                self.registry
                    .handle_import(name, key.clone(), value, position)
            });
            match outcome {
                Ok(()) => {
                    accepted.inc();
                }
                Err(refusal) => {
                    tracing::warn!(peer = %name, ?key, reason = %refusal, "update is refused");
                    self.count_refused(name, refusal.label());
                }
            }
        }
    }

    fn count_refused(&self, name: &ClusterName, reason: &'static str) {
        let labels = ReasonLabels {
            peer: name.to_string(),
            reason,
        };
        let refused = &self.facts.metrics.updates_refused;
        refused.get_or_create(&labels).inc();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let holds = self
            .peers
            .values()
            .filter_map(|p| p.expires(self.hold_time));
        let opens = self.feed_opens.filter(|_| !self.is_feed_open);
        holds.chain(opens).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        for name in peers::expired(&self.peers, self.hold_time, now) {
            tracing::warn!(peer = %name, "peer was lost for too long; what it shared is withdrawn");
            self.registry.drop_peer_state(&name);
            if let Some(peer) = self.peers.get_mut(&name) {
                peer.forget();
            }
        }
        self.open_feed_if_due(now);
    }

    /// Tells sessions and DNS where things stand.
    fn publish(&mut self) {
        let (exports, feed) = (
            self.registry.exports().cursor(),
            self.registry.feed().cursor(),
        );
        self.exports.publish(exports);
        self.feed.publish(feed);
        let metrics = &self.facts.metrics;
        metrics
            .exports_revision
            .set(gauge_value(exports.revision.0));
        metrics.feed_revision.set(gauge_value(feed.revision.0));
        let is_synced = self.source_guard.is_none();
        let is_first = self.views_tx.borrow().is_none();
        if is_synced && (!self.registry.take_touched().is_empty() || is_first) {
            self.views_tx.send_replace(Some(self.registry.view()));
        }
    }

    fn status(&mut self) -> GatewayStatus {
        let view = self.registry.view();
        let peers = self.peers.iter();
        GatewayStatus {
            cluster: self.cluster.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at_unix_s: status::unix_ms(self.started) / 1000,
            ready: self.facts.readiness.is_ready(),
            source: Source {
                kind: self.source_kind.to_owned(),
                synced: self.source_guard.is_none(),
                problems: self.problems.iter().map(status::problem).collect(),
            },
            peers: peers
                .map(|(n, p)| status::peer(&self.registry, n, p))
                .collect(),
            nodes: status::nodes(&self.nodes),
            services: view
                .services
                .iter()
                .map(|(n, s)| status::service(n, s))
                .collect(),
            exports: status::position(self.registry.exports().cursor()),
            feed: status::position(self.registry.feed().cursor()),
            dns: Dns {
                listen: self.facts.dns_listen,
                queries: self.facts.dns_queries.load(Ordering::Relaxed),
            },
        }
    }
}

fn labels(name: &ClusterName) -> PeerLabels {
    PeerLabels {
        peer: name.to_string(),
    }
}

/// A number that no earlier life of this gateway had: its start, to the nanosecond.
fn new_epoch(started: SystemTime) -> Epoch {
    let since = started
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Epoch(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
