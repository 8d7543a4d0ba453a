//! What the agent says of itself at `/v1/status`.

use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cluster_registry::{
    cluster::Control,
    name::{ClusterName, NodeName},
};
use isthmus_daemon::{readiness::Readiness, status};
use node_dp_core::verdict::{Path, Ruling, Verdict};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::{
    datapath::{Acceleration, Feature},
    device::StatusRequest,
    reconcile::{Known, Snapshot},
};

/// How long a task may take to answer: beyond, the status comes without its part.
const PATIENCE: Duration = Duration::from_millis(500);

/// Gathers the status from the tasks that know.
#[derive(Debug)]
pub(crate) struct StatusSource {
    /// The cluster.
    pub(crate) cluster: ClusterName,
    /// The node.
    pub(crate) node: NodeName,
    /// When the agent started.
    pub(crate) started_at: SystemTime,
    /// Whether it may serve.
    pub(crate) readiness: Readiness,
    /// What was chosen for the kernel.
    pub(crate) features: Vec<Feature>,
    /// The task that knows of clusters and maps.
    pub(crate) reconcile: mpsc::Sender<oneshot::Sender<Snapshot>>,
    /// The task that knows of the tunnel, if there is one.
    pub(crate) device: Option<mpsc::Sender<StatusRequest>>,
}

impl StatusSource {
    /// The status as JSON.
    pub(crate) async fn json(self: Arc<Self>) -> Value {
        let status = self.gather().await;
        serde_json::to_value(status).unwrap_or_default()
    }

    async fn gather(&self) -> status::AgentStatus {
        let (snapshot, tunnel) = tokio::join!(ask(&self.reconcile), self.tunnel());
        let mut status = status::AgentStatus {
            cluster: self.cluster.to_string(),
            node: self.node.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at_unix_s: unix(self.started_at).as_secs(),
            ready: self.readiness.is_ready(),
            kernel: self.kernel(),
            tunnel,
            ..status::AgentStatus::default()
        };
        let Some(snapshot) = snapshot else {
            status.last_error = Some("the maps' owner does not answer".to_owned());
            return status;
        };
        let (services, backends) = snapshot.sizes;
        status.gateway = snapshot.gateway;
        let (name, devices) = devices(&snapshot.devices);
        status.kernel.features.insert(name, devices);
        let (name, fast_path) = fast_path(&snapshot.accelerations);
        status.kernel.features.insert(name, fast_path);
        let local = Known {
            index: Some(node_dp_common::LOCAL_CLUSTER),
            verdict: Verdict::LOCAL,
            control: None,
            path: Path::Unprobed,
            rtt: None,
            since: self.started_at,
        };
        let known = std::iter::once((&self.cluster, &local)).chain(&snapshot.clusters);
        status.clusters = known.map(|(name, known)| verdict(name, known)).collect();
        status.maps = status::DatapathMaps {
            services: u64::try_from(services).unwrap_or(u64::MAX),
            backends: u64::try_from(backends).unwrap_or(u64::MAX),
        };
        status.drops = snapshot.drops;
        status.last_error = snapshot.last_error;
        status
    }

    async fn tunnel(&self) -> status::Tunnel {
        match &self.device {
            Some(device) => ask(device).await.unwrap_or_default(),
            None => status::Tunnel {
                implementation: "off".to_owned(),
                reason: "asked for".to_owned(),
                ..status::Tunnel::default()
            },
        }
    }

    fn kernel(&self) -> status::Kernel {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let features: BTreeMap<String, status::Feature> = self
            .features
            .iter()
            .map(|feature| {
                let chosen = status::Feature {
                    chosen: feature.chosen.to_owned(),
                    reason: feature.reason.to_owned(),
                };
                (feature.name.to_owned(), chosen)
            })
            .collect();
        status::Kernel {
            release: release.trim().to_owned(),
            features,
        }
    }
}

/// The devices at which clients from outside are served, shown beside how the programs are attached there.
fn devices(devices: &BTreeMap<String, bool>) -> (String, status::Feature) {
    let named = |is_there: bool| {
        let names = devices.iter().filter(|(_, there)| **there == is_there);
        names
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let (served, missing) = (named(true), named(false));
    let reason = match (devices.is_empty(), missing.is_empty()) {
        (true, _) => "clients from outside are not served without --device".to_owned(),
        (false, true) => "clients from outside are served there".to_owned(),
        (false, false) => format!("clients from outside are served there; waits for {missing}"),
    };
    let chosen = match served.is_empty() {
        true => "none".to_owned(),
        false => served,
    };
    ("devices".to_owned(), status::Feature { chosen, reason })
}

/// What came of the fast path at each device.
fn fast_path(accelerations: &BTreeMap<String, Acceleration>) -> (String, status::Feature) {
    let listed = |text: fn(&Acceleration) -> &str, between: &str| {
        let all = accelerations.iter();
        let all = all.map(|(name, acceleration)| format!("{name}{between}{}", text(acceleration)));
        all.collect::<Vec<_>>()
    };
    let feature = match accelerations.is_empty() {
        true => status::Feature {
            chosen: "off".to_owned(),
            reason: "no device has it, or --xdp is off".to_owned(),
        },
        false => status::Feature {
            chosen: listed(|found| found.chosen, " ").join(", "),
            reason: listed(|found| &found.reason, ": ").join("; "),
        },
    };
    ("xdp".to_owned(), feature)
}

async fn ask<T>(task: &mpsc::Sender<oneshot::Sender<T>>) -> Option<T> {
    let (reply_tx, reply_rx) = oneshot::channel();
    let answer = async {
        task.send(reply_tx).await.ok()?;
        reply_rx.await.ok()
    };
    tokio::time::timeout(PATIENCE, answer).await.ok()?
}

fn verdict(name: &ClusterName, known: &Known) -> status::ClusterVerdict {
    status::ClusterVerdict {
        cluster: name.to_string(),
        index: known.index.unwrap_or_default(),
        state: match known.verdict.ruling {
            Ruling::Up => status::ClusterState::Up,
            Ruling::Down => status::ClusterState::Down,
        },
        reason: known.verdict.reason.label().to_owned(),
        control: match known.control {
            Some(Control::Connected) => "connected",
            Some(Control::Lost) => "lost",
            None => "local",
        }
        .to_owned(),
        path: match known.path {
            Path::Good => status::PathState::Good,
            Path::Lost => status::PathState::Lost,
            Path::Unprobed | Path::Pending => status::PathState::Unknown,
        },
        rtt_us: known.rtt.map(micros),
        since_unix_ms: millis(unix(known.since)),
    }
}

fn unix(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
