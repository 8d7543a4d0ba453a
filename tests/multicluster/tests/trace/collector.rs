//! A collector that keeps what it is sent: OTLP over gRPC, as the daemons speak it.

use std::{
    net::TcpListener,
    sync::{Arc, Mutex},
};

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
pub(crate) struct Collector {
    spans: Spans,
    _runtime: Runtime,
}

/// A span, with what its daemon says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    /// The daemon's name.
    pub(crate) service: String,
    /// The daemon's cluster.
    pub(crate) cluster: String,
    /// The span's name.
    pub(crate) name: String,
    pub(crate) trace_id: Vec<u8>,
    pub(crate) id: Vec<u8>,
    /// The id of its parent; empty if it has none.
    pub(crate) parent_id: Vec<u8>,
    pub(crate) started_at_unix_ns: u128,
    /// How many map writes it says it made, if it says so.
    pub(crate) ops: Option<i64>,
}

#[derive(Debug, Clone, Default)]
struct Spans(Arc<Mutex<Vec<Span>>>);

impl Collector {
    /// Collects what arrives at a socket.
    pub(crate) fn start(listener: TcpListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        let runtime = Runtime::new().unwrap();
        let spans = Spans::default();
        let service = TraceServiceServer::new(spans.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let incoming = TcpIncoming::from(listener);
            let served = Server::builder().serve_with_incoming(service, incoming);
            served.await.unwrap();
        });
        Self {
            spans,
            _runtime: runtime,
        }
    }

    /// What has arrived so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.0.lock().unwrap().clone()
    }
}

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
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
                ops: number(&span.attributes, "ops"),
            }));
        }
        match self.0.lock() {
            Ok(mut all) => all.extend(spans),
            Err(_poisoned) => return Err(Status::internal("the test has panicked")),
        }
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
