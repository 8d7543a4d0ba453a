//! What peers announce: taken within their links' grants and limits, and withdrawn when these, or the links, go.

use std::collections::BTreeSet;

use super::{PeerSummary, Registry, admission::Outcome, peer::Peer};
use crate::{
    cluster::{Cluster, Control},
    digest::KeyRange,
    import::{self, Refusal},
    link::LinkSpec,
    name::ClusterName,
    resource::{Key, Resource, ResourceId},
    trace::TraceContext,
};

impl Registry {
    /// Begins to take what a linked cluster announces; its control session counts as lost until said otherwise.
    pub fn add_peer(&mut self, link: &LinkSpec) {
        self.peers.insert(Peer::new(link));
        self.set_control(&link.cluster, Control::Lost);
    }

    /// Takes a link's new grants and limits, withdraws what they do not cover, and shows what they now do.
    ///
    /// What the old limits had no room for is only learnt from a new snapshot.
    pub fn change_peer(&mut self, link: &LinkSpec) {
        if let Some(peer) = self.peers.get_mut(&link.cluster) {
            peer.grants = link.grants.clone();
            peer.limits = link.limits;
            let was_trusted = std::mem::replace(&mut peer.trusts_timestamps, link.trust_timestamps);
            match (was_trusted, link.trust_timestamps) {
                (true, false) => self.forget_times_of(&link.cluster),
                (false, true) => self.believe_times_of(&link.cluster),
                (true, true) | (false, false) => {}
            }
            self.recheck_imports(&link.cluster);
            self.compact();
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
        peer.snapshot = None;
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
        import::check_form(&cluster, &key, Some(&value))?;
        peer.held.check_room(&key.id, peer.limits)?;
        let was_held = self.holds(&key);
        let restored = self.admit(key, value, was_held, None);
        self.settle_claims();
        restored
    }

    /// A peer begins to say everything it has in some ranges of keys, which stand in order and have no key in common.
    pub fn handle_import_begin(&mut self, cluster: &ClusterName, ranges: &[KeyRange]) {
        let unsaid = self.imports_in(cluster, ranges);
        if let Some(peer) = self.peers.get_mut(cluster) {
            peer.said.forget_refused(cluster, ranges);
            peer.begin(unsaid);
        }
    }

    /// Takes the newest state of a key that a peer announces.
    ///
    /// What may never be shown is withdrawn if it was there. What may not be shown for now is withdrawn and kept, and
    /// shown when the link or whoever holds what it claims allows. What there is no room for leaves what is there alone.
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
        let mut key = key;
        if key.cluster == *cluster {
            // One copy of the name is kept, and found again without reading it.
            key.cluster.clone_from(peer.cluster());
        }
        self.merge.share_key(&mut key);
        let taken = self.take_import(cluster, key, value, trace);
        if taken.is_ok()
            && let Some(peer) = self.peers.get_mut(cluster)
        {
            peer.accepted += 1;
        }
        self.compact();
        taken
    }

    fn take_import(
        &mut self,
        cluster: &ClusterName,
        key: Key,
        value: Option<Resource>,
        trace: Option<TraceContext>,
    ) -> Result<(), Refusal> {
        if let Err(refusal) = import::check_form(cluster, &key, value.as_ref()) {
            self.count_refused(cluster, &refusal);
            if key.cluster == *cluster && key.id != ResourceId::Cluster {
                self.set_import(key.clone(), Outcome::Gone, trace);
                self.note_refused(&key, value.as_ref());
            }
            return Err(refusal);
        }
        let is_held = self.holds(&key);
        let Some(peer) = self.peers.get_mut(cluster) else {
            return Err(Refusal::UnknownPeer(cluster.clone()));
        };
        if let Some(snapshot) = &mut peer.snapshot {
            snapshot.unsaid.remove(&key.id);
        }
        let Some(value) = value else {
            if let Some(snapshot) = &mut peer.snapshot {
                snapshot.forget(&key.id);
            }
            if key.id != ResourceId::Cluster {
                self.set_import(key, Outcome::Gone, trace);
            }
            return Ok(());
        };
        if !is_held && let Err(refusal) = peer.held.check_room(&key.id, peer.limits) {
            let limits = peer.limits;
            // A peer that was restarted may have as much as before, and all of it new.
            let kept = match &mut peer.snapshot {
                Some(snapshot) => snapshot.keep(&key.id, value, limits),
                None => Err(refusal),
            };
            return kept.inspect_err(|refusal| {
                peer.count_refused(refusal);
                peer.note_no_room(&key.id, refusal);
            });
        }
        let value = self.with_believed_time(&key, value);
        self.admit(key, value, is_held, trace)
    }

    /// A peer has said everything it has: what it did not say again is gone.
    pub fn handle_import_end(&mut self, cluster: &ClusterName) {
        let Some(snapshot) = self
            .peers
            .get_mut(cluster)
            .and_then(|peer| peer.snapshot.take())
        else {
            return;
        };
        let key = |id| Key {
            cluster: cluster.clone(),
            id,
        };
        for id in snapshot.unsaid {
            self.set_import(key(id), Outcome::Gone, None);
        }
        for (id, value) in snapshot.surplus {
            // It is refused like anything that comes later, and counted so.
            drop(self.take_import(cluster, key(id), Some(value), None));
        }
        self.compact();
    }

    /// Whether a peer that announced more than is taken has come to announce much less: what was refused must be said again.
    ///
    /// Says so once; then everything must be asked for.
    pub fn take_room_again(&mut self, cluster: &ClusterName) -> bool {
        let peer = self.peers.get_mut(cluster);
        peer.is_some_and(|peer| peer.snapshot.is_none() && peer.take_room_again())
    }

    /// Withdraws all that a peer announced, when it has been away for too long.
    pub fn drop_peer_state(&mut self, cluster: &ClusterName) {
        if let Some(peer) = self.peers.get_mut(cluster) {
            peer.said.forget_refused(cluster, &[KeyRange::default()]);
        }
        for id in self.imports_in(cluster, &[KeyRange::default()]) {
            let key = Key {
                cluster: cluster.clone(),
                id,
            };
            self.set_import(key, Outcome::Gone, None);
        }
        self.compact();
    }

    /// What a peer's announcements came to.
    pub fn peer_summary(&self, cluster: &ClusterName) -> Option<PeerSummary> {
        Some(self.peers.get(cluster)?.summary())
    }

    /// What a peer announced in some ranges of keys, and is shown or withheld.
    fn imports_in(&self, cluster: &ClusterName, ranges: &[KeyRange]) -> BTreeSet<ResourceId> {
        let Some(peer) = self.peers.get(cluster) else {
            return BTreeSet::new();
        };
        let mut ids = BTreeSet::new();
        for range in ranges {
            let of_peer = peer.part_of(range);
            let shown = self.feed.range(&of_peer).map(|(key, _)| key);
            let shown = shown.take_while(|key| key.cluster == *cluster);
            ids.extend(shown.map(|key| key.id));
            let withheld = range.ids_of(cluster).map(|ids| peer.withheld.range(ids));
            ids.extend(withheld.into_iter().flatten().map(|(id, _)| id.clone()));
        }
        ids.remove(&ResourceId::Cluster);
        ids
    }
}

#[cfg(test)]
mod tests;
