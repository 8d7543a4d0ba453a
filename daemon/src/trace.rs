//! Carries a change's trace from one daemon to the next: a fact on the wire, a parent of spans here.

use cluster_registry::trace::TraceContext;
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Makes a span, not yet entered, the child of the span that caused a change.
///
/// Without an OTLP endpoint there are no traces to continue, and this does nothing.
pub fn continue_from(span: &Span, cause: Option<TraceContext>) {
    let Some(cause) = cause else {
        return;
    };
    let flags = TraceFlags::NOT_SAMPLED.with_sampled(cause.sampled);
    let parent = SpanContext::new(
        TraceId::from_bytes(cause.trace_id),
        SpanId::from_bytes(cause.span_id),
        flags,
        true,
        TraceState::NONE,
    );
    if !parent.is_valid() {
        return;
    }
    if let Err(error) = span.set_parent(Context::new().with_remote_span_context(parent)) {
        tracing::trace!(%error, "no trace is continued");
    }
}

/// Where a span stands in its trace, to be sent along with what it changed; `None` when nothing is traced.
pub fn context_of(span: &Span) -> Option<TraceContext> {
    let context = span.context();
    let span = context.span();
    let position = span.span_context();
    position.is_valid().then(|| TraceContext {
        trace_id: position.trace_id().to_bytes(),
        span_id: position.span_id().to_bytes(),
        sampled: position.is_sampled(),
    })
}

#[cfg(test)]
mod tests;
