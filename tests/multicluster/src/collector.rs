//! A collector that keeps what it is sent: OTLP over gRPC, as the daemons speak it.

use std::{
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
};
use tokio::runtime::Runtime;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// A running collector; it ends when this is dropped.
pub struct Collector {
    spans: Spans,
    _runtime: Runtime,
}

/// A span, with what its daemon says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The daemon's name.
    pub service: String,
    /// The daemon's cluster.
    pub cluster: String,
    /// The span's name.
    pub name: String,
    /// The trace that it belongs to.
    pub trace_id: Vec<u8>,
    /// Its own id.
    pub id: Vec<u8>,
    /// The id of its parent; empty if it has none.
    pub parent_id: Vec<u8>,
    /// When it began, in nanoseconds since 1970.
    pub started_at_unix_ns: u128,
    /// When it ended.
    pub ended_at_unix_ns: u128,
    /// How many map writes it says it made, if it says so.
    pub ops: Option<i64>,
}

#[derive(Debug, Clone, Default)]
struct Spans(Arc<Mutex<Vec<Span>>>);

impl Collector {
    /// Collects what arrives at a socket.
    pub fn start(listener: TcpListener) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = Runtime::new().context("starting a runtime")?;
        let spans = Spans::default();
        let service = TraceServiceServer::new(spans.clone());
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let incoming = TcpIncoming::from(listener);
        // It ends with the runtime; what it would fail with shows as spans that are missing.
        runtime.spawn(Server::builder().serve_with_incoming(service, incoming));
        Ok(Self {
            spans,
            _runtime: runtime,
        })
    }

    /// What has arrived so far.
    pub fn spans(&self) -> Vec<Span> {
        let spans = self.spans.0.lock();
        spans.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Span {
    /// Whether it is of the same trace as another and was caused by it.
    pub fn is_child_of(&self, parent: &Self) -> bool {
        self.trace_id == parent.trace_id && self.parent_id == parent.id
    }
}

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> std::result::Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = Vec::new();
        for resource_spans in request.into_inner().resource_spans {
            let resource = resource_spans.resource.unwrap_or_default().attributes;
            let scopes = resource_spans.scope_spans.into_iter();
            spans.extend(scopes.flat_map(|scope| scope.spans).map(|span| Span {
                service: text(&resource, "service.name"),
                cluster: text(&resource, "isthmus.cluster"),
                name: span.name,
                trace_id: span.trace_id,
                id: span.span_id,
                parent_id: span.parent_span_id,
                started_at_unix_ns: span.start_time_unix_nano.into(),
                ended_at_unix_ns: span.end_time_unix_nano.into(),
                ops: number(&span.attributes, "ops"),
            }));
        }
        let all = self.0.lock();
        all.unwrap_or_else(PoisonError::into_inner).extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    match value(attributes, key) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(_) | None => String::new(),
    }
}

fn number(attributes: &[KeyValue], key: &str) -> Option<i64> {
    match value(attributes, key) {
        Some(Value::IntValue(number)) => Some(*number),
        Some(_) | None => None,
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    found?.value.as_ref()?.value.as_ref()
}
