//! Brings what the gateway says and the probes see into the kernel's maps.
//!
//! One task owns the replica, the planner and the maps. What a newcomer would get wrong: a change of a path comes before
//! everything else, because until its one write is made, connections go to a cluster that does not answer. Services are
//! therefore planned a few at a time.

mod heal;
mod maps;
mod routed;
mod rule;
mod session;
mod snapshot;
mod tell;
#[cfg(test)]
mod tests;
mod verdicts;
mod writer;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use cluster_registry::{
    name::{ClusterName, NodeName, ServiceName},
    trace::TraceContext,
};
use isthmus_daemon::{readiness::ReadyGuard, trace};
use mesh_link::{event::Report, seat::Seat};
use node_dp_core::{
    departure::Gone,
    health::Checks,
    image::MapOp,
    plan::{Planner, Problem},
    replica::Replica,
    tunnel::{TunnelPlan, Tunnels},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::Metrics,
    probe::{Paths, Targets},
};

pub(crate) use maps::Maps;
pub(crate) use snapshot::Snapshot;
pub(crate) use verdicts::Known;
use verdicts::Verdicts;
use writer::Writer;

/// How many services are planned before the paths are looked at again: well under a millisecond of work.
const CHUNK: usize = 64;

/// How often the maps are read back and compared with the plan, in case something else has changed them.
const COMPARE_INTERVAL: Duration = Duration::from_secs(60);

/// How soon that is done after a write has failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// How often the kernel's counters are read for the metrics.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// How often devices are looked for that have come or gone.
const DEVICE_INTERVAL: Duration = Duration::from_secs(1);

/// The time by the runtime's clock, which the deadlines are slept by.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Where facts come from.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// The session with the gateway.
    pub(crate) reports: mpsc::Receiver<Report>,
    /// The probes.
    pub(crate) paths: watch::Receiver<Paths>,
    /// The plan that the node's routes follow.
    pub(crate) routed: watch::Receiver<Option<Arc<TunnelPlan>>>,
    /// Who asks for the status.
    pub(crate) requests: mpsc::Receiver<oneshot::Sender<Snapshot>>,
    /// Ends the task.
    pub(crate) shutdown: CancellationToken,
}

/// Where decisions go, besides the maps.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// What the tunnels shall carry.
    pub(crate) plan: watch::Sender<Option<Arc<TunnelPlan>>>,
    /// Whom to probe.
    pub(crate) targets: watch::Sender<Arc<Targets>>,
    /// What is gone, once the maps no longer lead to it.
    pub(crate) gone: mpsc::Sender<Gone>,
    /// What load balancers are told.
    pub(crate) checks: watch::Sender<Arc<Checks>>,
}

/// The tunnels of the node, where it has any.
#[derive(Debug)]
pub(crate) struct TunnelSide {
    /// Who holds which prefix.
    pub(crate) tunnels: Tunnels,
    /// Whether the device goes when the agent goes, so that nothing gets through without it.
    pub(crate) dies_with_agent: bool,
}

/// The task; ends on shutdown. It is cancel safe: the maps are whole between any two writes, and the rest is soft.
pub(crate) struct Reconcile<M> {
    cluster: ClusterName,
    tunnels: Option<TunnelSide>,
    writer: Writer<M>,
    planner: Planner,
    replica: Replica,
    verdicts: Verdicts,
    gateways: Seat,
    /// The services to be planned anew, with the trace of the last change to each.
    dirty: BTreeMap<ServiceName, Option<TraceContext>>,
    needs_sweep: bool,
    plan: Arc<TunnelPlan>,
    /// Until when services wait for the routes that the plan asks for.
    routes_by: Option<Instant>,
    problems: BTreeSet<(ServiceName, Problem)>,
    /// What is still to be told of.
    gone: Gone,
    inputs: Inputs,
    outputs: Outputs,
    next_compare: Instant,
    next_count: Instant,
    next_devices: Instant,
    last_error: Option<String>,
    ready: Option<ReadyGuard>,
    metrics: Metrics,
}

impl<M: Maps> Reconcile<M> {
    /// Adopts what the maps hold; `ready` is dropped once they hold what the gateway says.
    pub(crate) fn open(
        (cluster, node): (ClusterName, NodeName),
        maps: M,
        tunnels: Option<TunnelSide>,
        (inputs, outputs): (Inputs, Outputs),
        ready: ReadyGuard,
        metrics: Metrics,
    ) -> Result<Self, M::ReadError> {
        let image = maps.read_image()?;
        tracing::info!(
            services = image.services.len(),
            backends = image.backends.len(),
            clusters = image.clusters.len(),
            "adopting what the maps hold",
        );
        let now = now();
        Ok(Self {
            planner: Planner::adopt((cluster.clone(), node), image),
            replica: Replica::new(cluster.clone()),
            cluster,
            tunnels,
            writer: Writer::new(maps, metrics.clone()),
            verdicts: Verdicts::default(),
            gateways: Seat::default(),
            dirty: BTreeMap::new(),
            needs_sweep: false,
            plan: Arc::default(),
            routes_by: None,
            problems: BTreeSet::new(),
            gone: Gone::default(),
            inputs,
            outputs,
            next_compare: now + COMPARE_INTERVAL,
            next_count: now + COUNT_INTERVAL,
            next_devices: now + DEVICE_INTERVAL,
            last_error: None,
            ready: Some(ready),
            metrics,
        })
    }

    /// Whether it serves clients from outside too.
    pub(crate) fn serving_outside(mut self, serves_outside: bool) -> Self {
        self.planner = self.planner.serving_outside(serves_outside);
        self
    }

    /// Reconciles.
    pub(crate) async fn run(mut self) {
        self.take_out_unreachable();
        let (mut has_paths, mut has_routes) = (true, true);
        loop {
            let deadline = self.deadline();
            let has_work = self.has_work();
            tokio::select! {
                biased;
                changed = self.inputs.paths.changed(), if has_paths => {
                    has_paths = changed.is_ok();
                    self.judge();
                }
                changed = self.inputs.routed.changed(), if has_routes => {
                    has_routes = changed.is_ok();
                    self.note_routed();
                }
                () = self.inputs.shutdown.cancelled() => break,
                Some(request) = self.inputs.requests.recv() => self.answer(request),
                () = tokio::task::yield_now(), if has_work => self.work(),
                report = self.inputs.reports.recv() => match report {
                    Some(report) => self.handle_report(report),
                    None => break,
                },
                () = sleep_until(deadline.into()) => self.handle_timeout(now()),
            }
        }
        self.take_out_unreachable();
    }

    fn deadline(&self) -> Instant {
        let own = self.next_compare.min(self.next_count);
        let own = own.min(self.next_devices);
        let own = self.routes_by.map_or(own, |at| own.min(at));
        self.replica.poll_timeout().map_or(own, |at| at.min(own))
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.replica.poll_timeout().is_some_and(|at| at <= now) {
            self.replica.handle_timeout(now);
            self.take_touched();
        }
        if self.routes_by.is_some_and(|at| at <= now) {
            self.give_up_routes();
        }
        if self.next_count <= now {
            self.next_count = now + COUNT_INTERVAL;
            self.metrics.note_drops(&self.writer.drops());
            self.metrics.note_forwarded(self.writer.forwarded());
        }
        if self.next_devices <= now {
            self.next_devices = now + DEVICE_INTERVAL;
            self.follow_devices();
            self.tell();
        }
        if self.next_compare <= now {
            self.next_compare = now + COMPARE_INTERVAL;
            self.compare();
        }
    }

    /// Whether services wait to be planned; what a snapshot has half said waits for its end, and all for missing routes.
    fn has_work(&self) -> bool {
        let is_whole = self.replica.is_synced() && !self.replica.is_in_snapshot();
        let may_plan = is_whole && self.routes_by.is_none();
        may_plan && (self.needs_sweep || !self.dirty.is_empty())
    }

    /// Notes what has changed, and acts on clusters and nodes at once.
    fn take_touched(&mut self) {
        if !self.replica.is_synced() || self.replica.is_in_snapshot() {
            return;
        }
        let touched = self.replica.take_touched();
        for service in touched.services {
            self.dirty.entry(service).or_default();
        }
        if !touched.nodes.is_empty() {
            self.plan_tunnels();
            self.follow_zone();
            let ops = self.planner.follow_nodes(&self.replica.view());
            self.write(&ops);
        }
        if !touched.clusters.is_empty() {
            self.take_clusters(&touched.clusters);
        }
        if !touched.nodes.is_empty() || !touched.clusters.is_empty() {
            self.judge();
        }
    }

    /// Which endpoints are near depends on where the node is.
    fn follow_zone(&mut self) {
        let view = self.replica.view();
        if !self.planner.follow_zone(&view) {
            return;
        }
        for service in view.services.keys() {
            self.dirty.entry(service.clone()).or_default();
        }
    }

    /// Plans the next few services, or sweeps once all are planned.
    fn work(&mut self) {
        let view = self.replica.view();
        let mut untraced = Vec::new();
        let mut traced = Vec::new();
        while untraced.len() + traced.len() < CHUNK {
            match self.dirty.pop_first() {
                Some((service, Some(trace))) => traced.push((service, trace)),
                Some((service, None)) => untraced.push(service),
                None => break,
            }
        }
        let ops = self.planner.update(&view, &untraced);
        self.write(&ops);
        for (service, cause) in traced {
            let span = tracing::info_span!("apply change", %service, ops = tracing::field::Empty);
            trace::continue_from(&span, Some(cause));
            span.in_scope(|| {
                let ops = self.planner.update(&view, [&service]);
                // OTLP has no unsigned numbers.
                span.record("ops", i64::try_from(ops.len()).unwrap_or(i64::MAX));
                self.write(&ops);
            });
        }
        if self.dirty.is_empty() && self.needs_sweep {
            let ops = self.planner.sweep(&view);
            self.write(&ops);
            self.needs_sweep = false;
            self.begin_serving();
        }
        drop(view);
        self.tell();
        if self.dirty.is_empty() {
            self.note_problems();
            self.metrics.note_image(self.planner.image());
        }
    }

    /// The maps hold all that the gateway says; does nothing once done.
    fn begin_serving(&mut self) {
        if self.ready.is_none() {
            return;
        }
        if let Err(error) = self.writer.activate() {
            self.next_compare = self.next_compare.min(now() + RETRY_INTERVAL);
            self.note_error("the programs could not be attached", &error);
            return;
        }
        self.ready = None;
        tracing::info!("the maps hold what the gateway says");
    }

    fn write(&mut self, ops: &[MapOp]) {
        let Err(failed) = self.writer.write(ops) else {
            return;
        };
        let retry_at = now() + RETRY_INTERVAL;
        self.next_compare = self.next_compare.min(retry_at);
        tracing::error!(
            failed = failed.count,
            ops = ops.len(),
            "not all changes were made"
        );
        self.note_error("a map could not be changed", &failed.first);
    }

    fn note_error(&mut self, what: &str, error: &(dyn std::error::Error + 'static)) {
        let mut text = format!("{what}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        tracing::error!("{text}");
        self.last_error = Some(text);
    }

    fn note_problems(&mut self) {
        let all = self.planner.problems().iter();
        let problems: BTreeSet<(ServiceName, Problem)> = all
            .flat_map(|(name, problems)| problems.iter().map(|p| (name.clone(), p.clone())))
            .collect();
        for (service, problem) in problems.difference(&self.problems) {
            tracing::warn!(%service, reason = problem.label(), "{problem}");
        }
        self.problems = problems;
    }
}
