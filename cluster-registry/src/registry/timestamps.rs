//! Decides when a peer's exports count as made.
//!
//! The oldest export wins a conflict, so a peer that antedates its own would win them all. Unless its link says that its
//! timestamps are believed, an export of a peer counts as made when it was first seen here. That time takes the place
//! of the peer's own in what is kept, so that nodes, and this cluster after a restart, go by the same.

use std::sync::Arc;

use super::Registry;
use crate::{
    name::ClusterName,
    resource::{Key, Resource},
    service::Timestamp,
};

impl Registry {
    /// What is kept of a service that a peer announces.
    pub(super) fn with_believed_time(&self, key: &Key, mut value: Resource) -> Resource {
        let is_believed = self
            .peers
            .get(&key.cluster)
            .is_some_and(|peer| peer.trusts_timestamps);
        if is_believed {
            return value;
        }
        if let Resource::Service(service) = &mut value
            && service.export.is_some()
        {
            let since = self.exported_since(key).unwrap_or(self.now);
            if let Some(export) = &mut Arc::make_mut(service).export {
                export.created = since;
            }
        }
        value
    }

    /// Lets the exports of a peer that is no longer believed count as made now.
    pub(super) fn forget_times_of(&mut self, cluster: &ClusterName) {
        let exported: Vec<(Key, Resource)> = self
            .feed
            .iter_of(cluster)
            .filter(|(_, value)| matches!(value, Resource::Service(s) if s.export.is_some()))
            .map(|(key, value)| (key, value.clone()))
            .collect();
        for (key, mut value) in exported {
            if let Resource::Service(service) = &mut value
                && let Some(export) = &mut Arc::make_mut(service).export
            {
                export.created = self.now;
            }
            self.set_feed(key, Some(value), None);
        }
        let now = self.now;
        let withheld = self
            .peers
            .get_mut(cluster)
            .map(|peer| peer.withheld.values_mut());
        for withheld in withheld.into_iter().flatten() {
            if let Resource::Service(service) = &mut withheld.value
                && service.export.is_some()
                && let Some(export) = &mut Arc::make_mut(service).export
            {
                export.created = now;
            }
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

#[cfg(test)]
mod tests;
