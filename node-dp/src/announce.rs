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
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The task that serves what the node announces; ends on shutdown, and is cancel safe: the store is all its state.
pub(crate) struct Announce {
    store: Store,
    key: Key,
    tunnel: watch::Receiver<Option<Tunnel>>,
    reader: Reader,
    server: FeedServer,
    shutdown: CancellationToken,
}

impl Announce {
    /// Announces the latest tunnel end, or nothing where tunnels are off.
    pub(crate) fn new(
        cluster: ClusterName,
        node: NodeName,
        tunnel: watch::Receiver<Option<Tunnel>>,
        shutdown: CancellationToken,
    ) -> (Feed, Self) {
        let store = Store::new(epoch());
        let (feed, server) = FeedServer::new(store.cursor());
        let id = ResourceId::Tunnel(node);
        let mut announce = Self {
            store,
            key: Key { cluster, id },
            tunnel,
            reader: Reader::new(None),
            server,
            shutdown,
        };
        announce.take_tunnel();
        (feed, announce)
    }

    fn take_tunnel(&mut self) {
        let tunnel = self.tunnel.borrow_and_update().clone();
        if let Some(tunnel) = tunnel {
            let key = self.key.clone();
            self.store.put(key, Resource::from(tunnel), None);
            self.server.publish(self.store.cursor());
        }
    }

    /// Serves.
    pub(crate) async fn run(mut self) {
        let mut has_source = true;
        loop {
            tokio::select! {
                changed = self.tunnel.changed(), if has_source => {
                    // Without tunnels, or once their device has ended, what was announced stays.
                    has_source = changed.is_ok();
                    self.take_tunnel();
                }
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
