//! Decides when a peer's exports count as made.
//!
//! The oldest export wins a conflict, so a peer that antedates its own would win them all. Unless its link says that its
//! timestamps are believed, an export of a peer counts as made when it was first seen here. That time takes the place
//! of the peer's own in what is kept, so that nodes, and this cluster after a restart, go by the same.

use std::sync::Arc;

use super::Registry;
use crate::{
    name::ClusterName,
    resource::{Key, Resource, ResourceId},
    service::Timestamp,
};

impl Registry {
    /// What is kept of a service that a peer announces.
    pub(super) fn with_believed_time(&mut self, key: &Key, mut value: Resource) -> Resource {
        let ResourceId::Service(name) = &key.id else {
            return value;
        };
        let Some(peer) = self.peers.get_mut(&key.cluster) else {
            return value;
        };
        peer.said.created.remove(name);
        if peer.trusts_timestamps {
            return value;
        }
        let since = self.exported_since(key).unwrap_or(self.now);
        let said = set_created(&mut value, since);
        if let Some(peer) = self.peers.get_mut(&key.cluster) {
            peer.said.note_created(&key.id, said);
        }
        value
    }

    /// Lets the exports of a peer that is believed from now on count as made when it said.
    pub(super) fn believe_times_of(&mut self, cluster: &ClusterName) {
        let Some(peer) = self.peers.get_mut(cluster) else {
            return;
        };
        let said = std::mem::take(&mut peer.said.created);
        for (name, created) in said {
            let id = ResourceId::Service(name);
            if let Some(peer) = self.peers.get_mut(cluster)
                && let Some(withheld) = peer.withheld.get_mut(&id)
            {
                set_created(&mut withheld.value, created);
            }
            let key = Key {
                cluster: cluster.clone(),
                id,
            };
            if let Some(mut value) = self.feed.get(&key) {
                set_created(&mut value, created);
                self.set_feed(key, Some(value), None);
            }
        }
    }

    /// Lets the exports of a peer that is no longer believed count as made now.
    pub(super) fn forget_times_of(&mut self, cluster: &ClusterName) {
        let exported: Vec<(Key, Resource)> = self
            .feed
            .iter_of(cluster)
            .filter(|(_, value)| matches!(value, Resource::Service(s) if s.export.is_some()))
            .collect();
        let now = self.now;
        for (key, mut value) in exported {
            let said = set_created(&mut value, now);
            if let Some(peer) = self.peers.get_mut(cluster) {
                peer.said.note_created(&key.id, said);
            }
            self.set_feed(key, Some(value), None);
        }
        let Some(peer) = self.peers.get_mut(cluster) else {
            return;
        };
        for (id, withheld) in &mut peer.withheld {
            let said = set_created(&mut withheld.value, now);
            peer.said.note_created(id, said);
        }
    }

    fn exported_since(&self, key: &Key) -> Option<Timestamp> {
        match self.feed.get(key)? {
            Resource::Service(service) => Some(service.export.as_ref()?.created),
            Resource::Cluster(_)
            | Resource::Node(_)
            | Resource::Tunnel(_)
            | Resource::Endpoint(_)
            | Resource::Namespace(_)
            | Resource::Import(_) => None,
        }
    }
}

/// Sets when a service's export counts as made, and returns when it did before, if it has one.
fn set_created(value: &mut Resource, created: Timestamp) -> Option<Timestamp> {
    let Resource::Service(service) = value else {
        return None;
    };
    service.export.as_ref()?;
    let export = Arc::make_mut(service).export.as_mut()?;
    Some(std::mem::replace(&mut export.created, created))
}

#[cfg(test)]
mod tests;
