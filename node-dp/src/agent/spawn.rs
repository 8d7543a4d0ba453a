//! Starts the tasks beside the session, the maps and the tunnel.

use std::sync::Arc;

use isthmus_daemon::{
    admin::{self, AdminState},
    readiness::Readiness,
};
use node_dp_core::{departure::Gone, health::Checks};
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Config,
    datapath::{Datapath, Upkeep},
    departures::DeparturesTask,
    health::{self, HealthTask},
    metrics::Metrics,
    status::StatusSource,
    upkeep::UpkeepTask,
};

/// Where another tunnel key is asked for.
const ROTATE_PATH: &str = "/v1/tunnel/rotate-key";

/// How often in a row something may be gone: beyond, it is told together.
const DEPARTED_DEPTH: usize = 4;

/// Addresses stand for clients only where a device is served.
pub(super) fn upkeep(
    tasks: &TaskTracker,
    config: &Config,
    upkeep: Option<Upkeep>,
    shutdown: &CancellationToken,
) {
    let Some(upkeep) = upkeep else {
        return;
    };
    let task = UpkeepTask {
        upkeep,
        device: config.devices.first().cloned(),
        tunnel_addresses: config.tunnel_addresses.clone(),
        shutdown: shutdown.clone(),
    };
    tasks.spawn(task.run());
}

/// Answers load balancers; returns where it is heard what they are told.
pub(super) fn health(
    tasks: &TaskTracker,
    healthz: Option<TcpListener>,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> watch::Sender<Arc<Checks>> {
    if let Some(listener) = healthz {
        tasks.spawn(health::serve_node_health(
            listener,
            readiness.clone(),
            shutdown.clone(),
        ));
    }
    let (checks_tx, checks) = watch::channel(Arc::default());
    let task = HealthTask {
        checks,
        readiness: readiness.clone(),
        tasks: tasks.clone(),
        shutdown: shutdown.clone(),
    };
    tasks.spawn(task.run());
    checks_tx
}

/// Whoever is told what is gone.
pub(super) fn departures(
    tasks: &TaskTracker,
    datapath: &mut Datapath,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) -> mpsc::Sender<Gone> {
    let (gone_tx, gone) = mpsc::channel(DEPARTED_DEPTH);
    if let Some(connections) = datapath.take_connections() {
        let task = DeparturesTask {
            connections,
            gone,
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        };
        tasks.spawn(task.run());
    }
    gone_tx
}

/// Serves health, metrics and status, and takes orders.
pub(super) fn admin(
    tasks: &TaskTracker,
    (listener, rotate): (TcpListener, mpsc::Sender<()>),
    status: StatusSource,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let readiness = status.readiness.clone();
    let status = Arc::new(status);
    let state = AdminState::new(Arc::new(registry), readiness, move || {
        Arc::clone(&status).json()
    })
    // Where tunnels are off nobody takes it; where many ask at once, one will do.
    .with_order(ROTATE_PATH, move || rotate.try_send(()).is_ok());
    let shutdown = shutdown.clone();
    tasks.spawn(async move {
        if let Err(error) = admin::serve(listener, state, shutdown).await {
            tracing::error!(%error, "the admin server has ended");
        }
    });
}
