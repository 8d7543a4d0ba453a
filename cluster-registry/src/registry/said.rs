//! What a peer said, as far as it is known here, in digests: for a comparison with what it now has.
//!
//! That is not what is shown of it: some is withheld, some was refused, and exports may count as made at another time than
//! the peer says. A digest over what is shown would differ from the peer's own for ever. What was left out for want of
//! room is not known here, and differs, as it must be said again.

use std::collections::BTreeMap;

use super::{Registry, peer::Peer};
use crate::{
    digest::{
        Digest, Encode, KeyRange, Part, Step, Summary, Tree, first_step, next_step, of_resource,
    },
    name::{ClusterName, ServiceName},
    resource::{Key, Resource, ResourceId},
    service::Timestamp,
};

/// The most refused resources of a peer that are remembered; more than these differ, and are said again in vain.
const MAX_REFUSED: usize = 4096;

/// What a peer said, where it is not what is held.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Present once a comparison has been asked for.
    tree: Option<Tree>,
    /// When its exports were made by its own word, where that is not believed.
    pub(super) created: BTreeMap<ServiceName, Timestamp>,
    /// What was refused whatever its link says.
    refused: BTreeMap<ResourceId, Digest>,
}

impl Said {
    /// Notes that a peer said something of a key.
    pub(super) fn note(&mut self, key: &Key, is_present: bool) {
        self.refused.remove(&key.id);
        if !is_present && let ResourceId::Service(name) = &key.id {
            self.created.remove(name);
        }
        if let Some(tree) = &mut self.tree {
            tree.note(key, is_present);
        }
    }

    /// Notes when an export was made by the peer's own word.
    pub(super) fn note_created(&mut self, id: &ResourceId, created: Option<Timestamp>) {
        if let (ResourceId::Service(name), Some(created)) = (id, created) {
            self.created.insert(name.clone(), created);
        }
    }

    /// Notes that what a peer said of a key was refused.
    pub(super) fn refuse(&mut self, key: &Key, digest: Digest) {
        if self.refused.len() < MAX_REFUSED {
            self.refused.insert(key.id.clone(), digest);
        }
        if let Some(tree) = &mut self.tree {
            tree.note(key, self.refused.contains_key(&key.id));
        }
    }

    /// Forgets what was refused in some ranges, since the peer says anew what it has there.
    pub(super) fn forget_refused(&mut self, cluster: &ClusterName, ranges: &[KeyRange]) {
        let key = |id: &ResourceId| Key {
            cluster: cluster.clone(),
            id: id.clone(),
        };
        let inside = ranges.iter().filter_map(|range| range.ids_of(cluster));
        let gone: Vec<Key> = inside
            .flat_map(|ids| self.refused.range(ids))
            .map(|(id, _)| key(id))
            .collect();
        for key in gone {
            self.note(&key, false);
        }
    }
}

impl Registry {
    /// Sets how keys and values are written down where digests of them are compared; without it, none are.
    pub fn digest_with(&mut self, encode: Encode) {
        self.encode = Some(encode);
    }

    /// Digests what is known of a peer that is about to compare it: meanwhile the peer digests what it has.
    ///
    /// Of a peer of which nothing is known there is nothing to compare.
    pub fn prepare_comparison(&mut self, cluster: &ClusterName) {
        let peer = self.peers.get(cluster);
        if peer.is_some_and(|peer| !peer.held.is_empty()) {
            // Where none is compared there is nothing to prepare.
            drop(self.compare_imports(cluster, &[]));
        }
    }

    /// What is answered to what a peer says of what it has; `None` when it has no link or nothing is compared here.
    pub fn compare_imports(&mut self, cluster: &ClusterName, theirs: &[Summary]) -> Option<Step> {
        let encode = self.encode?;
        let mut tree = match self.peers.get_mut(cluster)?.said.tree.take() {
            Some(tree) => tree,
            None => {
                let parts = self.said_in(cluster, encode, &KeyRange::default());
                Tree::new(encode, parts.into_iter().filter_map(|part| part.from))
            }
        };
        let mut own = |level, range: &KeyRange| {
            let keys = |range: &KeyRange| self.said_in(cluster, encode, range);
            tree.summary(level, range, &keys)
        };
        let step = match theirs {
            [] => first_step(&mut own),
            theirs => next_step(theirs, &mut own),
        };
        if let Some(peer) = self.peers.get_mut(cluster) {
            peer.said.tree = Some(tree);
        }
        Some(step)
    }

    /// Notes what a peer said and is refused whatever its link says.
    pub(super) fn note_refused(&mut self, key: &Key, value: Option<&Resource>) {
        let digest = self
            .encode
            .zip(value)
            .map(|(encode, v)| of_resource(encode, key, v));
        if let Some(digest) = digest
            && let Some(peer) = self.peers.get_mut(&key.cluster)
        {
            peer.said.refuse(key, digest);
        }
    }

    /// What a peer said in a range of keys, by key.
    fn said_in(&self, cluster: &ClusterName, encode: Encode, range: &KeyRange) -> Vec<Part> {
        let Some(peer) = self.peers.get(cluster) else {
            return Vec::new();
        };
        let of_peer = peer.part_of(range);
        let part = |key: Key, digest| Part {
            from: Some(key),
            digest,
        };
        let shown = self.feed.range(&of_peer);
        let shown = shown.take_while(|(key, _)| key.cluster == *cluster);
        let mut parts: Vec<Part> = shown
            .filter(|(key, _)| key.id != ResourceId::Cluster)
            .map(|(key, value)| {
                let digest = peer.said_digest(encode, &key, &value);
                part(key, digest)
            })
            .collect();
        if let Some(ids) = range.ids_of(cluster) {
            let withheld = peer.withheld.range(ids.clone());
            parts.extend(withheld.map(|(id, withheld)| {
                let key = peer.key(id.clone());
                let digest = peer.said_digest(encode, &key, &withheld.value);
                part(key, digest)
            }));
            let refused = peer.said.refused.range(ids);
            parts.extend(refused.map(|(id, digest)| part(peer.key(id.clone()), *digest)));
        }
        parts.sort_by(|one, next| one.from.cmp(&next.from));
        parts
    }
}

impl Peer {
    /// The part of a range that begins with what may be of this peer.
    pub(super) fn part_of(&self, range: &KeyRange) -> KeyRange {
        let first = self.key(ResourceId::FIRST);
        let from = range.from.clone().filter(|from| *from > first);
        KeyRange {
            from: Some(from.unwrap_or(first)),
            until: range.until.clone(),
        }
    }

    /// The digest of a value as the peer said it, from how it is held.
    fn said_digest(&self, encode: Encode, key: &Key, value: &Resource) -> Digest {
        let (ResourceId::Service(name), Resource::Service(service)) = (&key.id, value) else {
            return of_resource(encode, key, value);
        };
        let created = self.said.created.get(name);
        let Some((created, export)) = created.zip(service.export.as_ref()) else {
            return of_resource(encode, key, value);
        };
        let mut said = service.as_ref().clone();
        let mut export = export.clone();
        export.created = *created;
        said.export = Some(export);
        of_resource(encode, key, &Resource::from(said))
    }
}

#[cfg(test)]
mod tests;
