//! Ends what clients still have with backends and clusters that are gone.

use std::io;

use node_dp_core::departure::Gone;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    datapath::{Connections, SweepError},
    metrics::Metrics,
};

/// The task; ends on shutdown, or with whoever tells it. Not cancel safe in between: what is being ended is ended whole.
pub(crate) struct DeparturesTask {
    pub(crate) connections: Connections,
    /// What is gone, once the maps no longer lead to it.
    pub(crate) gone: mpsc::Receiver<Gone>,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: CancellationToken,
}

/// What came of it.
struct Ended {
    flows: Result<usize, SweepError>,
    sockets: io::Result<usize>,
}

impl DeparturesTask {
    /// Forgets flows and destroys sockets.
    pub(crate) async fn run(self) {
        let Self {
            mut connections,
            gone: mut inbox,
            metrics,
            shutdown,
        } = self;
        loop {
            let mut gone = tokio::select! {
                () = shutdown.cancelled() => break,
                gone = inbox.recv() => match gone {
                    Some(gone) => gone,
                    None => break,
                },
            };
            while let Ok(more) = inbox.try_recv() {
                gone.extend(more);
            }
            let backends = gone.backends.len();
            // It waits for the kernel, in threads that visit namespaces.
            let work = tokio::task::spawn_blocking(move || {
                let ended = Ended {
                    flows: connections.forget_flows(&gone),
                    sockets: connections.destroy(&gone),
                };
                (connections, ended)
            });
            let ended;
            (connections, ended) = match work.await {
                Ok(done) => done,
                Err(error) => {
                    tracing::error!(%error, "no more sockets of gone backends are destroyed");
                    break;
                }
            };
            tell(backends, ended, &metrics);
        }
    }
}

fn tell(backends: usize, ended: Ended, metrics: &Metrics) {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    match ended.flows {
        Ok(flows) => {
            metrics.flows_forgotten.inc_by(number(flows));
            tracing::debug!(backends, flows, "forgot the flows of gone backends");
        }
        Err(error) => {
            tracing::warn!(%error, backends, "flows of gone backends go on until they are silent");
        }
    }
    match ended.sockets {
        Ok(sockets) => {
            metrics.sockets_destroyed.inc_by(number(sockets));
            tracing::debug!(backends, sockets, "destroyed the sockets of gone backends");
        }
        Err(error) => {
            tracing::warn!(%error, backends, "sockets of gone backends are left alone");
        }
    }
}
