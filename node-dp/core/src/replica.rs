//! The node's copy of what its gateway knows: takes snapshots and deltas, and gives the merged view.
//!
//! A gateway that has just been restarted has not yet heard from its peers, so its first snapshot lacks what they offer.
//! That must not take their backends away: what such a snapshot leaves out of a cluster that is still linked stays until
//! the cluster has had time to say it again, or has been silent for too long.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use cluster_registry::{
    cluster::{Cluster, Control},
    merge::{Merge, Touched},
    name::ClusterName,
    resource::{Key, Resource, ResourceId},
    view::View,
};

/// How long a connected cluster may take to say again what a snapshot left out: its whole state crosses in that time.
pub const SETTLE: Duration = Duration::from_secs(10);

/// How long that is kept while the cluster is not connected: as long as gateways keep what a silent peer said.
pub const HOLD: Duration = Duration::from_secs(15 * 60);

/// The replica.
///
/// Facts come in the order of the session: updates, or a snapshot's begin, updates and end. Call [`Self::handle_timeout`] at
/// [`Self::poll_timeout`]; then, as after each update outside a snapshot, read [`Self::take_touched`] and [`Self::view`].
#[derive(Debug)]
pub struct Replica {
    cluster: ClusterName,
    merge: Merge,
    keys: BTreeSet<Key>,
    /// During a snapshot, what was known before and has not been said again.
    unsaid: Option<BTreeSet<Key>>,
    leftovers: BTreeMap<ClusterName, Leftover>,
    is_synced: bool,
}

/// What a snapshot left out of a cluster.
#[derive(Debug)]
struct Leftover {
    keys: BTreeSet<Key>,
    held_until: Instant,
    /// Set while the cluster is connected.
    settled_at: Option<Instant>,
}

impl Leftover {
    fn expires(&self) -> Instant {
        let settled_at = self.settled_at.unwrap_or(self.held_until);
        settled_at.min(self.held_until)
    }
}

impl Replica {
    /// A replica that knows nothing, of a node in the given cluster.
    pub fn new(cluster: ClusterName) -> Self {
        Self {
            merge: Merge::new(cluster.clone()),
            cluster,
            keys: BTreeSet::new(),
            unsaid: None,
            leftovers: BTreeMap::new(),
            is_synced: false,
        }
    }

    /// Whether a whole snapshot has been taken: before that, what is missing says nothing.
    pub fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// Whether a snapshot is being taken, and the view is a mixture of before and after.
    pub fn is_in_snapshot(&self) -> bool {
        self.unsaid.is_some()
    }

    /// How many resources are known.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The gateway begins to say everything it knows.
    pub fn handle_snapshot_begin(&mut self) {
        self.unsaid = Some(self.keys.clone());
    }

    /// The session ended: a snapshot that it had begun will be begun anew.
    pub fn handle_session_end(&mut self) {
        self.unsaid = None;
    }

    /// Takes the newest state of a key.
    pub fn handle_update(&mut self, key: &Key, value: Option<&Resource>, now: Instant) {
        if let Some(unsaid) = &mut self.unsaid {
            unsaid.remove(key);
        }
        if let Some(leftover) = self.leftovers.get_mut(&key.cluster) {
            leftover.keys.remove(key);
            if leftover.keys.is_empty() {
                self.leftovers.remove(&key.cluster);
            }
        }
        self.set(key, value);
        if key.id == ResourceId::Cluster {
            self.settle(&key.cluster, value, now);
        }
    }

    /// The gateway has said everything it knows: what it did not say is gone, or is kept for a while.
    pub fn handle_snapshot_end(&mut self, now: Instant) {
        self.is_synced = true;
        let unsaid = self.unsaid.take().unwrap_or_default();
        let linked: BTreeSet<ClusterName> = self
            .keys
            .iter()
            .filter(|key| key.id == ResourceId::Cluster && !unsaid.contains(key))
            .map(|key| key.cluster.clone())
            .collect();
        for key in unsaid {
            if key.cluster == self.cluster || !linked.contains(&key.cluster) {
                self.set(&key, None);
                continue;
            }
            let leftover = self.leftovers.entry(key.cluster.clone());
            let leftover = leftover.or_insert_with(|| Leftover {
                keys: BTreeSet::new(),
                held_until: now + HOLD,
                settled_at: None,
            });
            leftover.keys.insert(key);
        }
        self.leftovers.retain(|cluster, _| linked.contains(cluster));
        self.settle_all(now);
    }

    /// The time of [`Self::poll_timeout`] has come: forgets what was kept for long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<ClusterName> = self
            .leftovers
            .iter()
            .filter(|(_, leftover)| leftover.expires() <= now)
            .map(|(cluster, _)| cluster.clone())
            .collect();
        for cluster in due {
            self.forget_leftover(&cluster);
        }
    }

    /// When [`Self::handle_timeout`] must next be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let expiries = self.leftovers.values().map(Leftover::expires);
        expiries.min()
    }

    /// The merged view; keep it only for as long as it is read, or the next change copies its maps.
    pub fn view(&mut self) -> Arc<View> {
        self.merge.view()
    }

    /// What changed in the view since this was last called.
    pub fn take_touched(&mut self) -> Touched {
        self.merge.take_touched()
    }

    /// How many resources are kept although the last snapshot did not have them, by cluster.
    pub fn leftovers(&self) -> impl Iterator<Item = (&ClusterName, usize)> {
        self.leftovers
            .iter()
            .map(|(cluster, leftover)| (cluster, leftover.keys.len()))
    }

    fn settle_all(&mut self, now: Instant) {
        let clusters = self.merge.view().clusters.clone();
        for (name, cluster) in clusters {
            self.settle(&name, Some(&Resource::Cluster(cluster)), now);
        }
    }

    fn settle(&mut self, name: &ClusterName, cluster: Option<&Resource>, now: Instant) {
        let Some(cluster) = cluster else {
            self.forget_leftover(name);
            return;
        };
        let Some(leftover) = self.leftovers.get_mut(name) else {
            return;
        };
        let is_connected = *cluster
            == Resource::Cluster(Cluster {
                control: Control::Connected,
            });
        leftover.settled_at = match leftover.settled_at {
            _ if !is_connected => None,
            None => Some(now + SETTLE),
            Some(at) => Some(at),
        };
    }

    fn forget_leftover(&mut self, cluster: &ClusterName) {
        let leftover = self.leftovers.remove(cluster);
        for key in leftover.map(|leftover| leftover.keys).unwrap_or_default() {
            self.set(&key, None);
        }
    }

    fn set(&mut self, key: &Key, value: Option<&Resource>) {
        match value {
            Some(_) => self.keys.insert(key.clone()),
            None => self.keys.remove(key),
        };
        self.merge.apply(key, value);
    }
}

#[cfg(test)]
mod tests;
