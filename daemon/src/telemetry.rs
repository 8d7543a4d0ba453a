//! Starts a daemon's logs and, when there is somewhere to send them, its traces.

use std::{fmt, str::FromStr, time::Duration};

use cluster_registry::name::ClusterName;
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

/// What is logged when nobody says otherwise: ours from INFO, the libraries' only what is wrong.
pub const DEFAULT_LOG_FILTER: &str = "info,quinn=warn,hickory_server=warn,h2=warn,tonic=warn,hyper=warn,kube=warn,\
     opentelemetry=warn,opentelemetry_sdk=warn,opentelemetry_otlp=warn";

/// How long the last spans may take to leave when a daemon ends: a dead collector must not hold it up.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why a text is no log format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no log format: text or json")]
pub struct ParseLogFormatError(String);

impl FromStr for LogFormat {
    type Err = ParseLogFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(ParseLogFormatError(text.to_owned())),
        }
    }
}

/// What a daemon's telemetry says of it and where it goes.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// The daemon, as traces name it.
    pub service_name: &'static str,
    /// The cluster that it belongs to.
    pub cluster: ClusterName,
    /// Where traces go (OTLP over gRPC, `http://host:port`); `None` makes none.
    pub otlp_endpoint: Option<String>,
    /// How log lines look.
    pub log_format: LogFormat,
}

/// Why telemetry does not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The endpoint is not plain HTTP: the collector is expected on the node or in the cluster.
    #[error("the OTLP endpoint '{0}' must begin with http://")]
    Endpoint(String),
    /// The exporter refuses its settings.
    #[error("cannot export traces")]
    Exporter(#[from] ExporterBuildError),
    /// Another subscriber was installed before.
    #[error("telemetry was started before")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Holds what must be flushed when the daemon ends.
#[derive(Debug)]
#[must_use = "traces are flushed through the guard"]
pub struct TelemetryGuard {
    provider: Option<SdkTracerProvider>,
}

impl TelemetryGuard {
    /// Sends the last spans, and waits for that no longer than two seconds.
    pub async fn flush(mut self) {
        let Some(provider) = self.provider.take() else {
            return;
        };
        let ended =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_DEADLINE));
        match ended.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans were not sent"),
            Err(error) => tracing::warn!(%error, "the last spans were not sent"),
        }
    }
}

/// Starts logs to standard error, and traces when there is an endpoint; must be called within a runtime.
pub fn init(config: &TelemetryConfig) -> Result<TelemetryGuard, TelemetryError> {
    let provider = match &config.otlp_endpoint {
        None => None,
        Some(endpoint) => Some(provider(config, endpoint)?),
    };
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer().with_tracer(provider.tracer(config.service_name))
    });
    tracing_subscriber::registry()
        .with(EnvFilter::new(DEFAULT_LOG_FILTER))
        .with(traces)
        .with(lines(config.log_format))
        .try_init()?;
    Ok(TelemetryGuard { provider })
}

fn provider(config: &TelemetryConfig, endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    if !endpoint.starts_with("http://") {
        return Err(TelemetryError::Endpoint(endpoint.to_owned()));
    }
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()?;
    let resource = Resource::builder_empty()
        .with_service_name(config.service_name)
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("isthmus.cluster", config.cluster.to_string()),
        ])
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => layer.with_ansi(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

#[cfg(test)]
mod tests;
