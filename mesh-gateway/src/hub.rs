//! The hub: the one task that owns the registry, between the source, the sessions, DNS and whoever asks for status.

mod exports;
mod links;
mod nodes;
mod peers;
mod restore;
mod serve;
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
    link::{LinkSpec, LinkStatus},
    name::ClusterName,
    registry::Registry,
    store::Epoch,
    view::View,
};
use cluster_registry_kube::source::{Problem, SourceEvent};
use isthmus_daemon::{
    readiness::{Readiness, ReadyGuard},
    status::{Dns, GatewayStatus, Source},
    trace,
};
use mesh_gateway_core::{convert::encode_for_digest, question::Reader};
use mesh_link::{
    event::{PeerEvent, Report},
    feed::{Feed, FeedServer},
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, SourceKind},
    links::LiveLinks,
    metrics::{Metrics, gauge_value},
    state::SaveRequest,
};

use self::{exports::Exports, nodes::Nodes, peers::Peers, serve::Openings};

/// Reports that may wait: one page of each of a few dozen sessions that catch up at the same time.
const REPORT_DEPTH: usize = 64;

/// Source events that may wait; each is a batch already.
const SOURCE_DEPTH: usize = 16;

/// Requests for what is to be saved that may wait; there is one who asks.
const SAVE_DEPTH: usize = 1;

/// Questions for the status that may wait.
const STATUS_DEPTH: usize = 8;

/// Reports taken before the view is made anew, so that a snapshot in pages does not make one for each page.
const REPORTS_AT_ONCE: usize = 32;

/// Asks for the status.
pub(crate) type StatusRequest = oneshot::Sender<GatewayStatus>;

/// Asks how the links do; `None` while it is not known which there are.
pub(crate) type LinksRequest = oneshot::Sender<Option<BTreeMap<ClusterName, LinkStatus>>>;

/// The ends that other tasks hold.
#[derive(Debug)]
pub(crate) struct HubEnds {
    pub(crate) source: mpsc::Sender<SourceEvent>,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) status: mpsc::Sender<StatusRequest>,
    pub(crate) link_states: mpsc::Sender<LinksRequest>,
    pub(crate) views: watch::Receiver<Option<Arc<View>>>,
    /// The links that count, with what each peer may know.
    pub(crate) links: watch::Receiver<LiveLinks>,
    pub(crate) feed: Feed,
    /// Requests for what is to be saved.
    pub(crate) saves: mpsc::Sender<SaveRequest>,
    /// Cancelled once there is something to say: the source's complete state is known, or what was saved of it.
    pub(crate) serves: CancellationToken,
}

/// What the hub only shows.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) dns_listen: Option<SocketAddr>,
    pub(crate) dns_queries: Arc<AtomicU64>,
    /// What could not be written to the API server.
    pub(crate) refused: watch::Receiver<Vec<Problem>>,
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
    /// Held until there is something to say.
    guard: Option<ReadyGuard>,
    serves: CancellationToken,
    /// Whether the source's complete state is known.
    is_synced: bool,
    /// Whether what an earlier life saved is served.
    is_restored: bool,
    /// Whether the source has said which ClusterLink objects there are.
    has_heard_links: bool,
    openings: Openings,
    exports: Exports,
    links_tx: watch::Sender<LiveLinks>,
    feed: FeedServer,
    feed_reader: Reader,
    source_rx: mpsc::Receiver<SourceEvent>,
    reports_rx: mpsc::Receiver<Report>,
    status_rx: mpsc::Receiver<StatusRequest>,
    link_states_rx: mpsc::Receiver<LinksRequest>,
    saves_rx: mpsc::Receiver<SaveRequest>,
    views_tx: watch::Sender<Option<Arc<View>>>,
    facts: Facts,
}

impl Hub {
    /// A hub and the ends that other tasks hold.
    pub(crate) fn new(config: &Config, facts: Facts) -> (Self, HubEnds) {
        let started = SystemTime::now();
        let epoch = new_epoch(started);
        let mut registry = Registry::new(config.cluster.clone(), epoch, epoch);
        registry.digest_with(encode_for_digest);
        // With an API server, imports have the addresses that their objects have.
        if config.source != SourceKind::Kubernetes {
            registry.allocate_from(config.clusterset_pools.clone());
        }
        let (source, source_rx) = mpsc::channel(SOURCE_DEPTH);
        let (reports, reports_rx) = mpsc::channel(REPORT_DEPTH);
        let (status, status_rx) = mpsc::channel(STATUS_DEPTH);
        let (link_states, link_states_rx) = mpsc::channel(STATUS_DEPTH);
        let (views_tx, views) = watch::channel(None);
        let (links_tx, links) = watch::channel(LiveLinks::default());
        let (feed, feed_server) = FeedServer::new(registry.feed().cursor());
        let (saves, saves_rx) = mpsc::channel(SAVE_DEPTH);
        let serves = CancellationToken::new();
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
            guard: Some(facts.readiness.guard("source")),
            serves: serves.clone(),
            is_synced: false,
            is_restored: false,
            has_heard_links: false,
            openings: Openings::default(),
            exports: Exports::new(epoch),
            links_tx,
            feed: feed_server,
            feed_reader: Reader::new(None),
            source_rx,
            reports_rx,
            status_rx,
            link_states_rx,
            saves_rx,
            views_tx,
            facts,
        };
        let ends = HubEnds {
            source,
            reports,
            status,
            link_states,
            views,
            links,
            feed,
            saves,
            serves,
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
                Some(request) = self.exports.next(), if self.openings.exports => {
                    self.exports.answer(request, self.registry.exports());
                }
                Some(request) = self.feed.next(), if self.openings.feed => {
                    request.answer(self.registry.feed(), &mut self.feed_reader);
                }
                Some(reply) = self.status_rx.recv() => {
                    // Whoever asked may have gone.
                    drop(reply.send(self.status()));
                }
                Some(reply) = self.link_states_rx.recv() => {
                    drop(reply.send(self.link_states(Instant::now())));
                }
                Some(request) = self.saves_rx.recv() => self.answer_save(request),
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
            SourceEvent::Links(links) => {
                self.has_heard_links = true;
                self.handle_links(links);
            }
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

    fn handle_report(&mut self, report: Report) {
        let peer = Arc::clone(&report.peer);
        match &peer.role {
            Role::Gateway => self.handle_peer_report(&peer.cluster, report),
            Role::Node(name) => {
                let may_complete = matches!(report.event, PeerEvent::SnapshotEnd);
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
                if may_complete {
                    self.open_if_due(Instant::now());
                }
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let holds = self
            .peers
            .values()
            .filter_map(|p| p.expires(self.hold_time));
        holds.chain(self.openings.next()).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        for name in peers::expired(&self.peers, self.hold_time, now) {
            tracing::warn!(peer = %name, "peer was lost for too long; what it shared is withdrawn");
            self.registry.drop_peer_state(&name);
            if let Some(peer) = self.peers.get_mut(&name) {
                peer.forget();
            }
        }
        self.open_if_due(now);
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
                synced: self.is_synced,
                problems: self
                    .problems
                    .iter()
                    .chain(&self.link_problems)
                    .chain(&*self.facts.refused.borrow())
                    .map(status::problem)
                    .chain(status::import_problems(&self.registry))
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
