//! The hub: the one task that owns the registry, between the source, the sessions, DNS and whoever asks for status.

mod exports;
mod links;
mod nodes;
mod peers;
mod seat;
mod sessions;
mod status;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use certs::identity::Role;
use cluster_registry::{
    link::LinkSpec, name::ClusterName, registry::Registry, store::Epoch, view::View,
};
use cluster_registry_kube::source::{Problem, SourceEvent};
use isthmus_daemon::{
    readiness::{Readiness, ReadyGuard},
    status::{Dns, GatewayStatus, Source},
    trace,
};
use mesh_link::{
    event::Report,
    feed::{Feed, FeedServer},
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    links::LiveLinks,
    metrics::{Metrics, gauge_value},
};

use self::{exports::Exports, nodes::Nodes, peers::Peers};

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
    /// The links that count, with what each peer may know.
    pub(crate) links: watch::Receiver<LiveLinks>,
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
    /// The links that flags ask for.
    flags: Vec<LinkSpec>,
    peers: Peers,
    nodes: Nodes,
    /// What is wrong with the source's objects.
    problems: Vec<Problem>,
    /// What is wrong with links.
    link_problems: Vec<Problem>,
    /// Held until the source is synced.
    source_guard: Option<ReadyGuard>,
    synced: CancellationToken,
    /// When nodes are told without waiting longer for peers; `None` before the source is synced.
    feed_opens: Option<Instant>,
    is_feed_open: bool,
    exports: Exports,
    links_tx: watch::Sender<LiveLinks>,
    feed: FeedServer,
    source_rx: mpsc::Receiver<SourceEvent>,
    reports_rx: mpsc::Receiver<Report>,
    status_rx: mpsc::Receiver<StatusRequest>,
    views_tx: watch::Sender<Option<Arc<View>>>,
    facts: Facts,
}

impl Hub {
    /// A hub and the ends that other tasks hold.
    pub(crate) fn new(config: &Config, facts: Facts) -> (Self, HubEnds) {
        let started = SystemTime::now();
        let epoch = new_epoch(started);
        let registry = Registry::new(config.cluster.clone(), epoch, epoch);
        let (source, source_rx) = mpsc::channel(SOURCE_DEPTH);
        let (reports, reports_rx) = mpsc::channel(REPORT_DEPTH);
        let (status, status_rx) = mpsc::channel(STATUS_DEPTH);
        let (views_tx, views) = watch::channel(None);
        let (links_tx, links) = watch::channel(LiveLinks::default());
        let (feed, feed_server) = FeedServer::new(registry.feed().cursor());
        let synced = CancellationToken::new();
        let mut hub = Self {
            cluster: config.cluster.clone(),
            hold_time: config.hold_time,
            source_kind: config.source.label(),
            started,
            registry,
            flags: config.links.clone(),
            peers: Peers::new(),
            nodes: Nodes::new(),
            problems: Vec::new(),
            link_problems: Vec::new(),
            source_guard: Some(facts.readiness.guard("source")),
            synced: synced.clone(),
            feed_opens: None,
            is_feed_open: false,
            exports: Exports::new(epoch),
            links_tx,
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
            links,
            feed,
            synced,
        };
        hub.handle_links(BTreeMap::new());
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
                Some(request) = self.exports.next() => {
                    self.exports.answer(request, self.registry.exports());
                }
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
            SourceEvent::Links(links) => self.handle_links(links),
            SourceEvent::Problems(problems) => {
                self.problems = problems;
                self.count_problems();
            }
        }
    }

    fn count_problems(&self) {
        let count = self.problems.len() + self.link_problems.len();
        let gauge = &self.facts.metrics.source_problems;
        gauge.set(gauge_value(count as u64));
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
        self.exports.publish(self.registry.exports());
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
                problems: self
                    .problems
                    .iter()
                    .chain(&self.link_problems)
                    .map(status::problem)
                    .collect(),
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

#[cfg(test)]
mod tests;
