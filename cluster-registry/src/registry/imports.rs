//! What peers announce: taken within their links' grants and limits, and withdrawn when these, or the links, go.

use std::collections::BTreeSet;

use super::{
    PeerSummary, Registry,
    peer::{Counts, Peer},
};
use crate::{
    cluster::{Cluster, Control},
    import::{self, Refusal},
    link::LinkSpec,
    name::ClusterName,
    resource::{Key, Resource, ResourceId},
    trace::TraceContext,
};

impl Registry {
    /// Begins to take what a linked cluster announces; its control session counts as lost until said otherwise.
    pub fn add_peer(&mut self, link: &LinkSpec) {
        self.peers.insert(link.cluster.clone(), Peer::new(link));
        self.set_control(&link.cluster, Control::Lost);
    }

    /// Takes a link's new grants and limits, and withdraws what they do not cover.
    ///
    /// What they cover beyond the old ones is only learnt from a new snapshot.
    pub fn change_peer(&mut self, link: &LinkSpec) {
        if let Some(peer) = self.peers.get_mut(&link.cluster) {
            peer.grants = link.grants.clone();
            peer.limits = link.limits;
            let is_doubted = peer.trusts_timestamps && !link.trust_timestamps;
            peer.trusts_timestamps = link.trust_timestamps;
            if is_doubted {
                self.forget_times_of(&link.cluster);
            }
            self.recheck_imports(&link.cluster);
        }
    }

    /// Withdraws all that a cluster announced, and takes nothing of it any more.
    pub fn remove_peer(&mut self, cluster: &ClusterName) {
        self.drop_peer_state(cluster);
        if let Some(peer) = self.peers.remove(cluster) {
            self.set_feed(peer.key(ResourceId::Cluster), None, None);
        }
    }

    /// Takes whether a peer's control session lives; a lost one keeps what it said.
    pub fn set_control(&mut self, cluster: &ClusterName, control: Control) {
        let Some(peer) = self.peers.get_mut(cluster) else {
            return;
        };
        peer.unsaid = None;
        let key = peer.key(ResourceId::Cluster);
        self.set_feed(key, Some(Resource::Cluster(Cluster { control })), None);
    }

    /// Takes what an earlier life of this registry knew, by the rules of this one.
    pub fn restore(&mut self, key: Key, value: Resource) -> Result<(), Refusal> {
        let cluster = key.cluster.clone();
        if cluster == self.cluster {
            match (&key.id, value) {
                (ResourceId::Tunnel(node), Resource::Tunnel(tunnel)) => {
                    self.apply_tunnel(node, Some(tunnel), None);
                }
                (id, value) => self.apply_local(id, Some(value), None),
            }
            return Ok(());
        }
        let Some(peer) = self.peers.get_mut(&cluster) else {
            return Err(Refusal::UnknownPeer(cluster));
        };
        import::check(&cluster, &peer.grants, &self.own, &key, Some(&value))?;
        peer.held.check_room(&key.id, peer.limits)?;
        self.set_import(&cluster, key, Some(value), None);
        Ok(())
    }

    /// A peer begins to say everything it has.
    pub fn handle_import_begin(&mut self, cluster: &ClusterName) {
        let unsaid = self.imports_of(cluster);
        if let Some(peer) = self.peers.get_mut(cluster) {
            peer.unsaid = Some(unsaid);
        }
    }

    /// Takes the newest state of a key that a peer announces; what is refused is withdrawn if it was there.
    pub fn handle_import(
        &mut self,
        cluster: &ClusterName,
        key: Key,
        value: Option<Resource>,
        trace: Option<TraceContext>,
    ) -> Result<(), Refusal> {
        let Some(peer) = self.peers.get_mut(cluster) else {
            return Err(Refusal::UnknownPeer(cluster.clone()));
        };
        let is_new = self.feed.get(&key).is_none();
        let checked = import::check(cluster, &peer.grants, &self.own, &key, value.as_ref())
            .and_then(|()| match is_new && value.is_some() {
                true => peer.held.check_room(&key.id, peer.limits),
                false => Ok(()),
            });
        if let Err(refusal) = checked {
            peer.count_refused(&refusal);
            if key.cluster == *cluster && key.id != ResourceId::Cluster {
                self.set_import(cluster, key, None, trace);
            }
            return Err(refusal);
        }
        peer.accepted += 1;
        if let Some(unsaid) = &mut peer.unsaid {
            unsaid.remove(&key.id);
        }
        if key.id != ResourceId::Cluster {
            let value = value.map(|value| self.with_believed_time(&key, value));
            self.set_import(cluster, key, value, trace);
            self.compact();
        }
        Ok(())
    }

    /// A peer has said everything it has: what it did not say again is gone.
    pub fn handle_import_end(&mut self, cluster: &ClusterName) {
        let Some(peer) = self.peers.get_mut(cluster) else {
            return;
        };
        for id in peer.unsaid.take().unwrap_or_default() {
            let key = Key {
                cluster: cluster.clone(),
                id,
            };
            self.set_import(cluster, key, None, None);
        }
        self.compact();
    }

    /// Withdraws all that a peer announced, when it has been away for too long.
    pub fn drop_peer_state(&mut self, cluster: &ClusterName) {
        for id in self.imports_of(cluster) {
            let key = Key {
                cluster: cluster.clone(),
                id,
            };
            self.set_import(cluster, key, None, None);
        }
        self.compact();
    }

    /// What a peer's announcements came to.
    pub fn peer_summary(&self, cluster: &ClusterName) -> Option<PeerSummary> {
        Some(self.peers.get(cluster)?.summary())
    }

    /// Withdraws what was taken before this cluster knew that a range is its own.
    pub(super) fn recheck_all_imports(&mut self) {
        let peers: Vec<ClusterName> = self.peers.keys().cloned().collect();
        for peer in &peers {
            self.recheck_imports(peer);
        }
    }

    /// Withdraws what was taken under other grants or limits, or of ranges that are our own.
    fn recheck_imports(&mut self, cluster: &ClusterName) {
        let Some(peer) = self.peers.get_mut(cluster) else {
            return;
        };
        let mut refused = Vec::new();
        let mut kept = Counts::default();
        for (key, value) in self.feed.iter_of(cluster) {
            if key.id == ResourceId::Cluster {
                continue;
            }
            let checked = import::check(cluster, &peer.grants, &self.own, &key, Some(value))
                .and_then(|()| kept.check_room(&key.id, peer.limits));
            match checked {
                Ok(()) => kept.count_present(&key.id, false, true),
                Err(refusal) => {
                    peer.count_refused(&refusal);
                    refused.push(key);
                }
            }
        }
        for key in refused {
            self.set_import(cluster, key, None, None);
        }
        self.compact();
    }

    fn set_import(
        &mut self,
        cluster: &ClusterName,
        key: Key,
        value: Option<Resource>,
        trace: Option<TraceContext>,
    ) {
        let was_there = self.feed.get(&key).is_some();
        let is_there = value.is_some();
        if let Some(peer) = self.peers.get_mut(cluster) {
            peer.held.count_present(&key.id, was_there, is_there);
        }
        self.set_feed(key, value, trace);
    }

    fn imports_of(&self, cluster: &ClusterName) -> BTreeSet<ResourceId> {
        self.feed
            .iter_of(cluster)
            .map(|(key, _)| key.id)
            .filter(|id| *id != ResourceId::Cluster)
            .collect()
    }
}

#[cfg(test)]
mod tests;
