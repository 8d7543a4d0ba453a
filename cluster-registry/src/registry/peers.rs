//! The peers by name; what one says comes in runs, so that the one that spoke last is found at once.

use std::ops::Index;

use super::peer::Peer;
use crate::name::ClusterName;

/// The peers, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Peers {
    sorted: Vec<Peer>,
    /// Where the one is that was changed last.
    last: usize,
}

impl Peers {
    pub(super) fn get(&self, cluster: &ClusterName) -> Option<&Peer> {
        self.sorted.get(self.find(cluster).ok()?)
    }

    pub(super) fn get_mut(&mut self, cluster: &ClusterName) -> Option<&mut Peer> {
        self.last = self.find(cluster).ok()?;
        self.sorted.get_mut(self.last)
    }

    /// Adds a peer, in place of one of its name.
    pub(super) fn insert(&mut self, peer: Peer) {
        match self.find(peer.cluster()) {
            Ok(at) => self.sorted[at] = peer,
            Err(at) => self.sorted.insert(at, peer),
        }
    }

    pub(super) fn remove(&mut self, cluster: &ClusterName) -> Option<Peer> {
        let at = self.find(cluster).ok()?;
        Some(self.sorted.remove(at))
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.sorted.iter()
    }

    /// Where a peer is, or else where it would be.
    fn find(&self, cluster: &ClusterName) -> Result<usize, usize> {
        let last = self.sorted.get(self.last);
        if last.is_some_and(|last| last.cluster() == cluster) {
            return Ok(self.last);
        }
        self.sorted
            .binary_search_by(|peer| peer.cluster().cmp(cluster))
    }
}

impl Index<&ClusterName> for Peers {
    type Output = Peer;

    /// A peer that is there; panics as the standard library's maps do.
    fn index(&self, cluster: &ClusterName) -> &Peer {
        self.get(cluster).expect("it is a peer")
    }
}
