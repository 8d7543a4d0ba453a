//! Traces cross from one daemon to the next as the wire carries them.

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

#[test]
fn a_change_carries_its_trace_from_one_daemon_to_the_next() {
    with_traces(|| {
        let source = tracing::info_span!("source");
        let sent = context_of(&source).unwrap();

        let applied = tracing::info_span!("applied");
        continue_from(&applied, Some(sent));
        let received = context_of(&applied).unwrap();

        assert_eq!(received.trace_id, sent.trace_id);
        assert_ne!(received.span_id, sent.span_id);
        assert!(received.sampled);
    });
}

#[test]
fn a_trace_that_is_not_sampled_stays_so() {
    with_traces(|| {
        let unsampled = TraceContext {
            sampled: false,
            ..CAUSE
        };
        let applied = tracing::info_span!("applied");
        continue_from(&applied, Some(unsampled));

        assert!(!context_of(&applied).unwrap().sampled);
    });
}

#[test]
fn a_change_without_a_trace_begins_its_own() {
    with_traces(|| {
        let applied = tracing::info_span!("applied");
        continue_from(&applied, None);

        assert_ne!(context_of(&applied).unwrap().trace_id, CAUSE.trace_id);
    });
}

#[test]
fn an_invalid_trace_is_not_continued() {
    with_traces(|| {
        let zeros = TraceContext {
            trace_id: [0; 16],
            ..CAUSE
        };
        let applied = tracing::info_span!("applied");
        continue_from(&applied, Some(zeros));

        assert_ne!(context_of(&applied).unwrap().trace_id, [0; 16]);
    });
}

#[test]
fn without_traces_nothing_is_carried() {
    let span = tracing::info_span!("source");
    continue_from(&span, Some(CAUSE));

    assert_eq!(context_of(&span), None);
}

const CAUSE: TraceContext = TraceContext {
    trace_id: [7; 16],
    span_id: [9; 8],
    sampled: true,
};

/// Runs with traces that are made and sent nowhere.
fn with_traces(body: impl FnOnce()) {
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, body);
}
