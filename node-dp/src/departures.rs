//! Ends what clients still have with backends that are gone.

use std::{collections::BTreeSet, io, sync::Arc};

use node_dp_core::departure::Departed;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{datapath::Connections, metrics::Metrics};

/// The task; ends on shutdown, or with whoever tells it. Not cancel safe in between: what is being ended is ended whole.
pub(crate) struct DeparturesTask {
    pub(crate) connections: Connections,
    /// Backends that have departed, once the maps no longer lead to them.
    pub(crate) departed: mpsc::Receiver<BTreeSet<Departed>>,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: CancellationToken,
}

impl DeparturesTask {
    /// Destroys sockets.
    pub(crate) async fn run(mut self) {
        let connections = Arc::new(self.connections);
        loop {
            let mut departed = tokio::select! {
                () = self.shutdown.cancelled() => break,
                departed = self.departed.recv() => match departed {
                    Some(departed) => departed,
                    None => break,
                },
            };
            while let Ok(more) = self.departed.try_recv() {
                departed.extend(more);
            }
            let backends = departed.len();
            let destroyed = destroy(Arc::clone(&connections), departed).await;
            match destroyed {
                Ok(sockets) => {
                    self.metrics
                        .sockets_destroyed
                        .inc_by(u64::try_from(sockets).unwrap_or(u64::MAX));
                    tracing::debug!(backends, sockets, "destroyed the sockets of gone backends");
                }
                Err(error) => {
                    tracing::warn!(%error, backends, "sockets of gone backends are left alone");
                }
            }
        }
    }
}

async fn destroy(connections: Arc<Connections>, departed: BTreeSet<Departed>) -> io::Result<usize> {
    // It waits for the kernel, in threads that visit namespaces.
    tokio::task::spawn_blocking(move || connections.destroy(&departed))
        .await
        .map_err(io::Error::other)?
}
