//! The registry: turns this cluster's objects and its peers' announcements into what each reader may know.
//!
//! It owns two stores: the **exports**, which peers read (this cluster's shared services, their endpoints, its nodes
//! and tunnels), and the **feed**, which this cluster's nodes read (everything local, what was taken from peers, and
//! each linked cluster's control state). Both hold only what they may show, so that a reader needs no filter.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    digest::Encode,
    merge::{Merge, Touched},
    name::{ClusterName, NodeName, ServiceName},
    node::Tunnel,
    resource::{Key, Resource, ResourceId},
    service::Timestamp,
    store::{Epoch, Store},
    trace::TraceContext,
    view::View,
};

mod addresses;
mod admission;
mod claims;
mod imports;
mod peer;
mod peers;
mod said;
mod timestamps;

pub use peer::PeerSummary;

use addresses::Addresses;
use claims::Claims;
use peers::Peers;

/// Tombstones that a store keeps, unless set otherwise, for readers that were away.
///
/// A rollout deletes as many endpoints as it has pods, so this spans a few large ones, at under 300 bytes each.
pub const MAX_TOMBSTONES: usize = 8_192;

/// The registry of one cluster.
///
/// Facts come in by `apply_*` and `handle_*`; none of them fails for a peer's fault without saying which. Readers page
/// through [`Self::exports`] and [`Self::feed`], and read the merge by [`Self::view`].
#[derive(Debug)]
pub struct Registry {
    cluster: ClusterName,
    exports: Store,
    feed: Store,
    merge: Merge,
    claims: Claims,
    /// The peers that hold what this cluster has come to hold.
    rivals: BTreeSet<ClusterName>,
    /// What is withheld for a claim that was given up.
    freed: BTreeSet<Key>,
    peers: Peers,
    /// Present when this cluster's imports get their addresses here.
    addresses: Option<Addresses>,
    /// How keys and values are written down where digests of them are compared.
    encode: Option<Encode>,
    now: Timestamp,
    max_tombstones: usize,
}

impl Registry {
    /// An empty registry; the epochs must differ from those of earlier lives.
    pub fn new(cluster: ClusterName, exports: Epoch, feed: Epoch) -> Self {
        Self {
            merge: Merge::new(cluster.clone()),
            exports: Store::new(exports),
            feed: Store::new(feed),
            claims: Claims::new(cluster.clone()),
            rivals: BTreeSet::new(),
            freed: BTreeSet::new(),
            peers: Peers::default(),
            addresses: None,
            encode: None,
            now: Timestamp(u64::MAX),
            max_tombstones: MAX_TOMBSTONES,
            cluster,
        }
    }

    /// Takes what time it is; until then, exports whose timestamps are not believed count as the youngest.
    pub fn set_time(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Sets how many tombstones each store keeps: readers that were away for longer take a snapshot.
    pub fn keep_tombstones(&mut self, limit: usize) {
        self.max_tombstones = limit;
    }

    /// What peers may know.
    pub fn exports(&self) -> &Store {
        &self.exports
    }

    /// What this cluster's nodes must know.
    pub fn feed(&self) -> &Store {
        &self.feed
    }

    /// Everything that is known, merged.
    pub fn view(&mut self) -> Arc<View> {
        self.merge.view()
    }

    /// What changed in the view since this was last called.
    pub fn take_touched(&mut self) -> Touched {
        self.merge.take_touched()
    }

    /// Takes the newest state of an object of this cluster's source; nodes' tunnels and the cluster come elsewhere.
    pub fn apply_local(
        &mut self,
        id: &ResourceId,
        value: Option<Resource>,
        trace: Option<TraceContext>,
    ) {
        match id {
            ResourceId::Cluster | ResourceId::Tunnel(_) => return,
            ResourceId::Node(name) => self.apply_local_node(name, value, trace),
            ResourceId::Service(name) => {
                self.set_local(id, value, trace);
                self.export_service(name, trace);
            }
            ResourceId::Endpoint(name, _) => {
                self.set_local(id, value, trace);
                if self.is_exported(name) {
                    self.copy_to_exports(id, trace);
                }
            }
            ResourceId::Namespace(_) => self.set_local(id, value, trace),
            ResourceId::Import(name) => self.apply_import(name, value),
        }
        self.compact();
    }

    /// Takes the complete state of this cluster's source: what is not in it is gone.
    pub fn apply_local_snapshot(&mut self, resources: Vec<(ResourceId, Resource)>) {
        let said: BTreeSet<&ResourceId> = resources.iter().map(|(id, _)| id).collect();
        let gone: Vec<ResourceId> = self
            .feed
            .iter_of(&self.cluster)
            .map(|(key, _)| key.id)
            .filter(|id| !said.contains(id) && !self.allocates(id))
            .collect();
        for (id, value) in resources {
            self.apply_local(&id, Some(value), None);
        }
        for id in gone {
            self.apply_local(&id, None, None);
        }
    }

    /// Takes the newest state of the tunnel end of one of this cluster's nodes.
    pub fn apply_tunnel(
        &mut self,
        node: &NodeName,
        tunnel: Option<Arc<Tunnel>>,
        trace: Option<TraceContext>,
    ) {
        let id = ResourceId::Tunnel(node.clone());
        self.set_local(&id, tunnel.map(Resource::Tunnel), trace);
        self.copy_to_exports(&id, trace);
        self.compact();
    }

    fn apply_local_node(
        &mut self,
        name: &NodeName,
        value: Option<Resource>,
        trace: Option<TraceContext>,
    ) {
        let id = ResourceId::Node(name.clone());
        self.set_local(&id, value, trace);
        self.copy_to_exports(&id, trace);
    }

    fn set_local(&mut self, id: &ResourceId, value: Option<Resource>, trace: Option<TraceContext>) {
        let key = self.local_key(id);
        if let Some(value) = &value {
            self.rivals.append(&mut self.claims.rivals(&key, value));
        }
        self.set_feed(key, value, trace);
    }

    fn set_feed(&mut self, key: Key, value: Option<Resource>, trace: Option<TraceContext>) {
        if value.as_ref().is_some_and(|value| !value.is_of(&key.id)) {
            return;
        }
        let (mut key, mut value) = (key, value);
        self.merge.share_key(&mut key);
        if let Some(value) = &mut value {
            self.merge.share(value);
        }
        // Claims and the merge know what the feed holds, so that what changes nothing there is nothing to them.
        if let Some(old) = self.feed.replace(&key, value.clone(), trace) {
            let mut freed = self.claims.replace(&key, old.as_ref(), value.as_ref());
            self.freed.append(&mut freed);
            self.merge.apply_shared(&key, value.as_ref());
        }
    }

    fn is_exported(&self, name: &ServiceName) -> bool {
        let key = self.local_key(&ResourceId::Service(name.clone()));
        match self.feed.get(&key) {
            Some(Resource::Service(service)) => service.is_exported(),
            Some(_) | None => false,
        }
    }

    /// Brings a service's exports in line: the service before its endpoints when it comes, after them when it goes.
    fn export_service(&mut self, name: &ServiceName, trace: Option<TraceContext>) {
        let key = self.local_key(&ResourceId::Service(name.clone()));
        let was_exported = self.exports.contains(&key);
        if self.is_exported(name) {
            self.copy_to_exports(&key.id, trace);
            if was_exported {
                return;
            }
            let endpoints: Vec<(Key, Resource)> =
                self.feed.endpoints_of(&self.cluster, name).collect();
            for (key, value) in endpoints {
                self.exports.put(key, value, trace);
            }
        } else if was_exported {
            let endpoints: Vec<Key> = self
                .exports
                .endpoints_of(&self.cluster, name)
                .map(|(key, _)| key)
                .collect();
            for key in &endpoints {
                self.exports.delete(key, trace);
            }
            self.exports.delete(&key, trace);
        }
    }

    fn copy_to_exports(&mut self, id: &ResourceId, trace: Option<TraceContext>) {
        let key = self.local_key(id);
        match self.feed.get(&key) {
            Some(Resource::Service(service)) => {
                let told = Resource::from(service.for_peers());
                self.exports.put(key, told, trace)
            }
            Some(value) => self.exports.put(key, value, trace),
            None => self.exports.delete(&key, trace),
        };
    }

    fn local_key(&self, id: &ResourceId) -> Key {
        Key {
            cluster: self.cluster.clone(),
            id: id.clone(),
        }
    }

    /// Ends a change: claims are settled, and old tombstones forgotten.
    fn compact(&mut self) {
        self.settle_claims();
        self.exports.compact_above(self.max_tombstones);
        self.feed.compact_above(self.max_tombstones);
    }
}

#[cfg(test)]
mod tests;
