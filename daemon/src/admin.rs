//! The admin server: health, metrics, status and dumps over plain HTTP, for the node and the operator only.

mod dump;

use std::{fmt, future::Future, io, pin::Pin, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use prometheus_client::{encoding::text, registry::Registry};
use serde_json::Value;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use self::dump::Dump;
pub use self::dump::{Gone, Sink};
use crate::readiness::Readiness;

/// The media type of the metrics (OpenMetrics 1.0).
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

type StatusFuture = Pin<Box<dyn Future<Output = Value> + Send>>;

/// What the admin server answers from.
#[derive(Clone)]
pub struct AdminState {
    metrics: Arc<Registry>,
    readiness: Readiness,
    status: Arc<dyn Fn() -> StatusFuture + Send + Sync>,
    orders: Vec<(&'static str, Order)>,
    dumps: Vec<(&'static str, Dump)>,
}

type Order = Arc<dyn Fn() -> bool + Send + Sync>;

impl AdminState {
    /// Answers `/metrics` and `/readyz` from these, and `/v1/status` with what `status` returns when asked.
    pub fn new<F>(
        metrics: Arc<Registry>,
        readiness: Readiness,
        status: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Value> + Send + 'static,
    {
        Self {
            metrics,
            readiness,
            status: Arc::new(move || Box::pin(status())),
            orders: Vec::new(),
            dumps: Vec::new(),
        }
    }

    /// Takes an order at a path, by POST; whoever gives it is told by the answer's code whether it was taken.
    #[must_use]
    pub fn with_order(
        mut self,
        path: &'static str,
        order: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        self.orders.push((path, Arc::new(order)));
        self
    }

    /// Answers a path with JSON lines, which `dump` makes while they are read.
    #[must_use]
    pub fn with_dump(
        mut self,
        path: &'static str,
        dump: impl Fn(&mut Sink<'_>) -> Result<(), Gone> + Send + Sync + 'static,
    ) -> Self {
        self.dumps.push((path, Arc::new(dump)));
        self
    }
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState")
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}

/// Serves until the shutdown, and lets requests that have begun end.
pub async fn serve(
    listener: TcpListener,
    state: AdminState,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let mut routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status));
    for (path, order) in &state.orders {
        let order = Arc::clone(order);
        routes = routes.route(path, post(async move || taken(order())));
    }
    let turns = Arc::new(Semaphore::new(1));
    for (path, dump) in &state.dumps {
        let (dump, turns) = (Arc::clone(dump), Arc::clone(&turns));
        routes = routes.route(path, get(async move || dump::answer(dump, &turns)));
    }
    let routes = routes.with_state(state);
    axum::serve(listener, routes)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

fn taken(is_taken: bool) -> StatusCode {
    if is_taken {
        StatusCode::ACCEPTED
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

async fn readyz(State(state): State<AdminState>) -> Response {
    let waiting_for = state.readiness.waiting_for();
    if waiting_for.is_empty() {
        return "ok\n".into_response();
    }
    let text = format!("not ready: {}\n", waiting_for.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(State(state): State<AdminState>) -> Response {
    let mut out = String::new();
    match text::encode(&mut out, &state.metrics) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], out).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn status(State(state): State<AdminState>) -> Json<Value> {
    Json((state.status)().await)
}

#[cfg(test)]
mod tests;
