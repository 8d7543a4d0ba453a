//! Answers load balancers: at `healthCheckNodePort`s whether the node has endpoints of a service, and at `/healthz` whether
//! it serves at all.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderName, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use isthmus_daemon::readiness::Readiness;
use node_dp_core::health::Checks;
use serde_json::json;
use tokio::{net::TcpListener, sync::watch, time::sleep};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// How many connections a node should get, for balancers that read it (as kube-proxy says it).
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// How soon a port that could not be had is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The task; ends on shutdown, when its servers end too. It is cancel safe: it only starts and stops servers.
pub(crate) struct HealthTask {
    pub(crate) checks: watch::Receiver<Arc<Checks>>,
    pub(crate) readiness: Readiness,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

/// What a server at a port answers from.
#[derive(Clone)]
struct Answers {
    port: NonZeroU16,
    checks: watch::Receiver<Arc<Checks>>,
    readiness: Readiness,
}

impl HealthTask {
    /// Listens at the ports that there are.
    pub(crate) async fn run(mut self) {
        let mut servers: BTreeMap<NonZeroU16, DropGuard> = BTreeMap::new();
        loop {
            let checks = Arc::clone(&self.checks.borrow_and_update());
            servers.retain(|port, _| checks.contains_key(port));
            let mut has_all = true;
            for port in checks.keys() {
                if servers.contains_key(port) {
                    continue;
                }
                match self.start(*port).await {
                    Ok(server) => drop(servers.insert(*port, server)),
                    Err(error) => {
                        has_all = false;
                        tracing::warn!(%port, %error, "a service's health cannot be told");
                    }
                }
            }
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                changed = self.checks.changed() => if changed.is_err() {
                    break;
                },
                () = sleep(RETRY_INTERVAL), if !has_all => {}
            }
        }
    }

    /// Starts a server, which ends when what is returned goes.
    async fn start(&self, port: NonZeroU16) -> io::Result<DropGuard> {
        let listener = listen(port.get()).await?;
        let stop = self.shutdown.child_token();
        let answers = Answers {
            port,
            checks: self.checks.clone(),
            readiness: self.readiness.clone(),
        };
        // Balancers ask at paths of their own choice.
        let routes = Router::new().fallback(service_health).with_state(answers);
        self.tasks.spawn(serve(listener, routes, stop.clone()));
        Ok(stop.drop_guard())
    }
}

/// Serves `/healthz` and `/livez` as kube-proxy does: 200 while the node serves what its gateway says, 503 else.
pub(crate) async fn serve_node_health(
    listener: TcpListener,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    let routes = Router::new()
        .route("/healthz", get(node_health))
        .route("/livez", get(node_health))
        .with_state(readiness);
    serve(listener, routes, shutdown).await;
}

async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) {
    let served = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "a health server has ended");
    }
}

/// At all addresses of the node, of both families where it has both.
async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await
        }
        listener => listener,
    }
}

async fn service_health(State(answers): State<Answers>) -> Response {
    let checks = Arc::clone(&answers.checks.borrow());
    let Some(check) = checks.get(&answers.port) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let is_ready = answers.readiness.is_ready();
    let body = json!({
        "service": { "namespace": check.service.namespace.as_str(), "name": check.service.name.as_str() },
        "localEndpoints": check.local_endpoints,
        "serviceProxyHealthy": is_ready,
    });
    let weight = [(WEIGHT, check.local_endpoints.to_string())];
    let status = status(is_ready && check.local_endpoints > 0);
    (status, weight, Json(body)).into_response()
}

async fn node_health(State(readiness): State<Readiness>) -> Response {
    let body = json!({ "waitingFor": readiness.waiting_for() });
    (status(readiness.is_ready()), Json(body)).into_response()
}

fn status(is_healthy: bool) -> StatusCode {
    match is_healthy {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests;
