//! The clusters in the image: how each is ruled, when it comes, and when it goes.

use cluster_registry::name::ClusterName;
use node_dp_common::{ClusterState, ClusterValue, LOCAL_CLUSTER};

use super::Planner;
use crate::{
    image::{Image, MapOp},
    verdict::Ruling,
};

impl Planner {
    /// The index of a cluster that has one.
    pub fn cluster_index(&self, cluster: &ClusterName) -> Option<u16> {
        self.allocations.index_of(cluster)
    }

    /// How a cluster is ruled in the image, if it is in it.
    pub fn ruling(&self, cluster: &ClusterName) -> Option<Ruling> {
        let index = self.allocations.index_of(cluster)?;
        match self.image.clusters.get(&index)?.state()? {
            ClusterState::Up | ClusterState::Draining => Some(Ruling::Up),
            ClusterState::Down | ClusterState::Drill => Some(Ruling::Down),
            ClusterState::Unused => None,
        }
    }

    /// Rules a cluster: one change at most, whatever the number of its services.
    pub fn rule(&mut self, cluster: &ClusterName, ruling: Ruling) -> Option<MapOp> {
        self.leaving.remove(cluster);
        if self.ruling(cluster) == Some(ruling) {
            return None;
        }
        let index = self.allocations.cluster(cluster).ok()?;
        let state = match ruling {
            Ruling::Up => ClusterState::Up,
            Ruling::Down => ClusterState::Down,
        };
        let op = MapOp::PutCluster(index, ClusterValue::try_new(cluster.as_str(), state)?);
        self.image.apply(&op);
        Some(op)
    }

    /// Gives up a cluster that the view no longer names, as soon as no service uses it.
    pub fn forget_cluster(&mut self, cluster: &ClusterName) {
        self.leaving.insert(cluster.clone());
    }

    /// Adds the clusters that are new to the image, and drops those that leave and are used no more.
    pub(super) fn settle_clusters(&mut self, old: &mut Image, new: &mut Image) {
        for (name, index) in self.allocations.clusters() {
            if self.image.clusters.contains_key(&index) {
                continue;
            }
            let state = match index {
                LOCAL_CLUSTER => ClusterState::Up,
                _ => ClusterState::Down,
            };
            if let Some(value) = ClusterValue::try_new(name.as_str(), state) {
                new.clusters.insert(index, value);
            }
        }
        for name in std::mem::take(&mut self.leaving) {
            let Some(index) = self.allocations.index_of(&name) else {
                continue;
            };
            if self.is_used(index, new) {
                self.leaving.insert(name);
                continue;
            }
            if let Some(value) = self.image.clusters.get(&index) {
                old.clusters.insert(index, *value);
            }
            new.clusters.remove(&index);
            self.allocations.release_cluster(&name);
        }
    }

    /// Whether a service, as planned in `new` or else as it is, has a group of a cluster.
    fn is_used(&self, index: u16, new: &Image) -> bool {
        let unchanged = self.image.services.iter().filter(|(frontend, _)| {
            self.claims.is_claimed(frontend) && !new.services.contains_key(frontend)
        });
        unchanged
            .chain(&new.services)
            .any(|(_, service)| service.groups().iter().any(|g| g.cluster() == index))
    }
}
