//! What telemetry refuses before a daemon starts.

use super::*;

#[test]
fn an_endpoint_that_is_not_plain_http_is_refused() {
    for endpoint in ["https://collector:4317", "collector:4317", ""] {
        let refused = provider(&config(), endpoint);
        assert!(
            matches!(refused, Err(TelemetryError::Endpoint(_))),
            "{endpoint:?}"
        );
    }
}

#[tokio::test]
async fn a_collector_that_is_not_there_does_not_hold_up_the_start() {
    assert!(provider(&config(), "http://127.0.0.1:9").is_ok());
}

#[test]
fn the_log_filter_is_valid() {
    let parsed = EnvFilter::builder().parse(DEFAULT_LOG_FILTER);
    assert!(parsed.is_ok(), "{parsed:?}");
}

#[test]
fn log_formats_read_back_what_they_print() {
    for format in [LogFormat::Text, LogFormat::Json] {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    assert!("yaml".parse::<LogFormat>().is_err());
}

fn config() -> TelemetryConfig {
    TelemetryConfig {
        service_name: "isthmus-test",
        cluster: ClusterName::parse("east").unwrap(),
        otlp_endpoint: None,
        log_format: LogFormat::Text,
    }
}
