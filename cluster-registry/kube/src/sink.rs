//! The sink: what a cluster's own API server is told of the clusterset.
//!
//! It makes ServiceImports with their EndpointSlices, and sets the conditions of ServiceExports and ClusterLinks. Of the
//! gateway's replicas one writes, the holder of a Lease; what is written is decided by pure functions of the view and the
//! objects that are there.

mod condition;
mod election;
mod existing;
mod exports;
mod frontends;
mod imports;
mod lease;
mod links;
mod plan;
mod publisher;
mod refused;
mod settled;
mod slices;
#[cfg(test)]
mod tests;
mod watches;
mod writer;

use std::{fmt, sync::Arc, time::Instant};

use cluster_registry::{mcs::addresses::Allocator, name::ClusterName, view::View};
use kube::Client;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub use self::publisher::LinkStatuses;
use self::{
    election::{Election, RENEW_INTERVAL},
    lease::LeaseClient,
    publisher::{Inputs, Publisher},
};
use crate::source::Problem;

/// Who the fields belong to that are written by server-side apply.
const FIELD_MANAGER: &str = "isthmus-gateway";

/// Writes to the API server of the gateway's own cluster.
pub struct Sink {
    client: Client,
    lease_namespace: String,
    identity: String,
    inputs: Inputs,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = &self.identity;
        f.debug_struct("Sink")
            .field("identity", identity)
            .finish_non_exhaustive()
    }
}

/// What a sink works with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The gateway's own cluster.
    pub cluster: ClusterName,
    /// Tells this replica from the others: its pod's name.
    pub identity: String,
    /// Where the Lease is.
    pub lease_namespace: String,
    /// What imports get their addresses from.
    pub pools: Allocator,
    /// What to publish; `None` before all is known.
    pub views: watch::Receiver<Option<Arc<View>>>,
    /// How the links do; `None` before it is known which there are.
    pub links: watch::Receiver<Option<LinkStatuses>>,
    /// Where to say what could not be written, as long as it cannot.
    pub problems: watch::Sender<Vec<Problem>>,
}

impl Sink {
    /// A sink that writes through this client.
    pub fn new(client: Client, settings: Settings) -> Self {
        Self {
            client,
            lease_namespace: settings.lease_namespace,
            identity: settings.identity,
            inputs: Inputs {
                cluster: settings.cluster,
                views: settings.views,
                links: settings.links,
                pools: settings.pools,
                problems: settings.problems,
            },
        }
    }

    /// Runs until the token is cancelled, and then gives the Lease back.
    pub async fn run(self, shutdown: CancellationToken) {
        let lease = LeaseClient::new(self.client.clone(), &self.lease_namespace, &self.identity);
        let mut election = Election::new(self.identity.clone());
        let mut publishing: Option<AbortOnDropHandle<()>> = None;
        loop {
            let turn = lease.take_turn(&mut election);
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = turn => {}
            }
            let until = election.leads_until(Instant::now());
            match (until, &publishing) {
                (Some(_), None) => {
                    tracing::info!(identity = %self.identity, "this replica writes to the API server");
                    publishing = Some(self.start());
                }
                (None, Some(_)) => stop(&mut publishing).await,
                (Some(_), Some(_)) | (None, None) => {}
            }
            let next = Instant::now() + RENEW_INTERVAL;
            let wake = until.map_or(next, |until| until.min(next));
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            if election.leads_until(Instant::now()).is_none() {
                stop(&mut publishing).await;
            }
        }
        let was_leader = publishing.is_some();
        stop(&mut publishing).await;
        if was_leader {
            lease.give_back().await;
        }
    }

    fn start(&self) -> AbortOnDropHandle<()> {
        let (client, identity) = (self.client.clone(), self.identity.clone());
        let inputs = self.inputs.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            Publisher::new(client, &identity, inputs).await.run().await;
        }))
    }
}

/// Ends publishing; when this returns, nothing more is written.
async fn stop(publishing: &mut Option<AbortOnDropHandle<()>>) {
    let Some(task) = publishing.take() else {
        return;
    };
    tracing::info!("this replica no longer writes to the API server");
    task.abort();
    // It was told to end; there is nothing else to hear.
    drop(task.await);
}
