//! Runs the task on fake maps, says what a gateway and a prober would say, and asks for the status.
//!
//! Time is paused: it passes only where a test lets it, and the task takes its turns while the test gives them.

use std::sync::Arc;

use certs::identity::{SpiffeId, TrustDomain};
use cluster_registry::{digest::KeyRange, name::NodeName};
use isthmus_daemon::readiness::Readiness;
use mesh_gateway_core::instance::{Incarnation, Instance, InstanceId};
use mesh_link::event::{DownReason, PeerEvent, Report, SessionHandle, SessionId, Update};
use node_dp_core::{
    tunnel::{TunnelPlan, Tunnels},
    verdict::Path,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{super::*, fake::FakeMaps, key, name, turns::Turns};
use crate::probe::PathStatus;

/// A running task and the ends of its channels.
pub(super) struct Rig {
    pub(super) maps: FakeMaps,
    pub(super) readiness: Readiness,
    pub(super) metrics: Metrics,
    pub(super) plan: watch::Receiver<Option<Arc<TunnelPlan>>>,
    pub(super) targets: watch::Receiver<Arc<Targets>>,
    pub(super) gone: mpsc::Receiver<Gone>,
    session: SessionId,
    replica: &'static str,
    incarnation: Incarnation,
    reports: Option<mpsc::Sender<Report>>,
    paths: watch::Sender<Paths>,
    requests: mpsc::Sender<oneshot::Sender<Snapshot>>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    turns: Arc<Turns>,
}

/// Whether the node has tunnels, and what becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TunnelKind {
    None,
    Kernel,
    Userspace,
}

impl Rig {
    /// The task over what the maps hold.
    pub(super) fn start(maps: &FakeMaps, tunnel: TunnelKind) -> Self {
        Self::start_with_routes(maps, tunnel, None)
    }

    /// The same with what is said of the routes, instead of that all stand at once.
    pub(super) fn start_with_routes(
        maps: &FakeMaps,
        tunnel: TunnelKind,
        routed: Option<watch::Receiver<Option<Arc<TunnelPlan>>>>,
    ) -> Self {
        let (reports_tx, reports) = mpsc::channel(64);
        let (paths_tx, paths) = watch::channel(Paths::new());
        let (requests_tx, requests) = mpsc::channel(1);
        let (plan_tx, plan) = watch::channel(None);
        let (targets_tx, targets) = watch::channel(Arc::default());
        let shutdown = CancellationToken::new();
        let inputs = Inputs {
            reports,
            paths,
            // Routes stand as soon as they are planned.
            routed: routed.unwrap_or_else(|| plan.clone()),
            requests,
            shutdown: shutdown.clone(),
        };
        let (gone_tx, gone) = mpsc::channel(1);
        let outputs = Outputs {
            gone: gone_tx,
            checks: watch::channel(Arc::default()).0,
            plan: plan_tx,
            targets: targets_tx,
        };
        let node = NodeName::parse("e1").unwrap();
        let tunnels = Tunnels::new(name("east"), node.clone(), key(1));
        let side = (tunnel != TunnelKind::None).then_some(TunnelSide {
            tunnels,
            dies_with_agent: tunnel == TunnelKind::Userspace,
        });
        let readiness = Readiness::new();
        let metrics = Metrics::default();
        let reconcile = Reconcile::open(
            (name("east"), node),
            maps.clone(),
            side,
            (inputs, outputs),
            readiness.guard("gateway"),
            metrics.clone(),
        );
        let turns = Turns::new();
        let task = Arc::clone(&turns).note(reconcile.unwrap().run());
        Self {
            maps: maps.clone(),
            readiness,
            metrics,
            plan,
            targets,
            gone,
            session: SessionId::next(),
            replica: "a",
            incarnation: Incarnation(1),
            reports: Some(reports_tx),
            paths: paths_tx,
            requests: requests_tx,
            shutdown,
            task: tokio::spawn(task),
            turns,
        }
    }

    /// The session comes up and says everything; waits until all of it is in the maps.
    pub(super) async fn sync(&self, updates: Vec<Update>) {
        self.up().await;
        self.say(PeerEvent::SnapshotBegin(vec![KeyRange::default()]))
            .await;
        self.say(PeerEvent::Updates(updates)).await;
        self.say(PeerEvent::SnapshotEnd).await;
        self.settle().await;
    }

    pub(super) async fn up(&self) {
        self.rise().await;
        self.say(PeerEvent::Subscribed { resumed: false }).await;
    }

    /// The session comes up, and is not read yet.
    pub(super) async fn rise(&self) {
        let (handle, _closing) = SessionHandle::new();
        self.say(PeerEvent::Up {
            address: "192.0.2.1:4700".parse().unwrap(),
            resumed: false,
            instance: Instance::try_new(self.id(), self.incarnation, self.replica).ok(),
            certificate_expires: std::time::SystemTime::UNIX_EPOCH,
            handle,
        })
        .await;
    }

    pub(super) async fn down(&self) {
        let reason = DownReason::Silent;
        self.say(PeerEvent::Down { reason }).await;
        self.settle().await;
    }

    /// What follows is said by another gateway; returns the session with the one before.
    pub(super) fn other_gateway(&mut self, replica: &'static str) -> SessionId {
        self.replica = replica;
        std::mem::replace(&mut self.session, SessionId::next())
    }

    /// Another one for each life of each replica.
    fn id(&self) -> InstanceId {
        let mut id = [0; 16];
        id[0] = self.replica.as_bytes()[0];
        id[8..].copy_from_slice(&self.incarnation.0.to_be_bytes());
        InstanceId(id)
    }

    /// What follows is said by a newer life of the gateway; returns the session with the older one.
    pub(super) fn renew_session(&mut self) -> SessionId {
        self.incarnation.0 += 1;
        std::mem::replace(&mut self.session, SessionId::next())
    }

    pub(super) async fn say(&self, event: PeerEvent) {
        self.say_in(self.session, event).await;
    }

    pub(super) async fn say_in(&self, session: SessionId, event: PeerEvent) {
        let trust_domain = TrustDomain::parse("mesh.test").unwrap();
        let report = Report {
            session,
            peer: Arc::new(SpiffeId::gateway(trust_domain, name("east"))),
            event,
        };
        self.reports.as_ref().unwrap().send(report).await.unwrap();
    }

    /// Says some changes, and waits until they are in the maps.
    pub(super) async fn change(&self, updates: Vec<Update>) {
        self.say(PeerEvent::Updates(updates)).await;
        self.settle().await;
    }

    /// The prober tells of a cluster, without waiting for what follows.
    pub(super) fn probe(&self, cluster: &str, path: Path) {
        let rtt = None;
        self.paths.send_modify(|paths| {
            let loss_per_mille = None;
            let status = PathStatus {
                path,
                rtt,
                loss_per_mille,
            };
            paths.insert(name(cluster), status);
        });
    }

    /// Gives the task its turns until it waits.
    pub(super) async fn settle(&self) {
        self.take_turns_until(|rig| rig.turns.are_over()).await;
    }

    /// Lets time pass in small steps, so that the task meets each of its deadlines.
    pub(super) async fn pass(&self, time: Duration) {
        let mut left = time + TICK;
        while !left.is_zero() {
            let step = left.min(STEP);
            tokio::time::advance(step).await;
            self.settle().await;
            left -= step;
        }
    }

    /// Gives the task one turn after the other until something is so.
    pub(super) async fn take_turns_until(&self, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..MAX_TURNS {
            if is_so(self) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("not so after {MAX_TURNS} turns");
    }

    pub(super) async fn status(&self) -> Snapshot {
        let (reply_tx, reply) = oneshot::channel();
        self.requests.send(reply_tx).await.unwrap();
        reply.await.unwrap()
    }

    /// The gateway's session is gone for good.
    pub(super) fn drop_reports(&mut self) {
        self.reports = None;
    }

    /// Asks the task to end, and waits until it has.
    pub(super) async fn end(self) {
        self.shutdown.cancel();
        self.wait().await;
    }

    /// Waits until the task has ended.
    pub(super) async fn wait(self) {
        tokio::time::timeout(Duration::from_secs(1), self.task)
            .await
            .unwrap()
            .unwrap();
    }
}

/// The runtime's timers may be late by this.
const TICK: Duration = Duration::from_millis(1);

/// Less than the time between two of the task's deadlines.
const STEP: Duration = Duration::from_millis(500);

/// More than any of these tests has work for.
const MAX_TURNS: usize = 10_000;
