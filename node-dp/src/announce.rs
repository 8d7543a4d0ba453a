//! Announces the node's own tunnel end to its gateway.

use std::time::{SystemTime, UNIX_EPOCH};

use cluster_registry::{
    name::{ClusterName, NodeName},
    node::Tunnel,
    resource::{Key, Resource, ResourceId},
    store::{Epoch, Store},
};
use mesh_gateway_core::question::Reader;
use mesh_link::feed::{Feed, FeedServer};
use tokio_util::sync::CancellationToken;

/// The task that serves what the node announces; ends on shutdown, and is cancel safe: the store is all its state.
pub(crate) struct Announce {
    store: Store,
    reader: Reader,
    server: FeedServer,
    shutdown: CancellationToken,
}

impl Announce {
    /// Announces a tunnel end, or nothing where tunnels are off.
    pub(crate) fn new(
        cluster: ClusterName,
        node: NodeName,
        tunnel: Option<Tunnel>,
        shutdown: CancellationToken,
    ) -> (Feed, Self) {
        let mut store = Store::new(epoch());
        if let Some(tunnel) = tunnel {
            let id = ResourceId::Tunnel(node);
            store.put(Key { cluster, id }, Resource::from(tunnel), None);
        }
        let (feed, server) = FeedServer::new(store.cursor());
        let announce = Self {
            store,
            reader: Reader::new(None),
            server,
            shutdown,
        };
        (feed, announce)
    }

    /// Serves.
    pub(crate) async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                request = self.server.next() => match request {
                    Some(request) => request.answer(&self.store, &mut self.reader),
                    None => return,
                },
            }
        }
    }
}

/// Another one in each life of the process.
fn epoch() -> Epoch {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let micros = since.unwrap_or_default().as_micros();
    Epoch(u64::try_from(micros).unwrap_or_default())
}
