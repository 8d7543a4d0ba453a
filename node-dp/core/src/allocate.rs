//! Gives out the numbers that the maps use: ids of services and indices of clusters, stable as long as they are in use.
//!
//! A number that is given back is not given out again while the old entries may still be read: ids count on, and an index
//! is only free once its cluster is gone from the image.

use std::collections::{BTreeMap, BTreeSet};

use cluster_registry::name::ClusterName;
use node_dp_common::{FrontendKey, IN_CLUSTERS, LOCAL_CLUSTER, MAX_CLUSTERS};

use crate::image::Image;

/// The ids and indices in use.
#[derive(Debug)]
pub(crate) struct Allocations {
    local: ClusterName,
    clusters: BTreeMap<ClusterName, u16>,
    services: BTreeMap<FrontendKey, u32>,
    ids: BTreeSet<u32>,
    next_id: u32,
}

/// All indices are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node can tell {MAX_CLUSTERS} clusters apart, and all indices are taken")]
pub(crate) struct NoIndex;

impl Allocations {
    /// Takes over the numbers that an image uses; those of a cluster whose name does not parse are lost.
    pub(crate) fn adopt(local: ClusterName, image: &Image) -> Self {
        let named = image.clusters.iter().filter_map(|(index, value)| {
            let name = ClusterName::parse(value.name()).ok()?;
            let is_local = name == local;
            (is_local == (*index == LOCAL_CLUSTER)).then_some((name, *index))
        });
        let mut clusters: BTreeMap<ClusterName, u16> = named.collect();
        clusters.insert(local.clone(), LOCAL_CLUSTER);
        // Two frontends under one id would share backends: only the first keeps it.
        let mut ids = BTreeSet::new();
        let services: BTreeMap<FrontendKey, u32> = image
            .services
            .iter()
            .filter(|(_, value)| ids.insert(value.id()))
            .map(|(key, value)| (*key, value.id()))
            .collect();
        let stray = image.backends.keys().map(|key| key.service_id());
        let highest = ids.iter().copied().chain(stray).max();
        Self {
            local,
            clusters,
            services,
            ids,
            next_id: highest.map_or(1, |id| id.wrapping_add(1)),
        }
    }

    /// The index of a cluster, given out at its first mention.
    pub(crate) fn cluster(&mut self, name: &ClusterName) -> Result<u16, NoIndex> {
        if let Some(index) = self.clusters.get(name) {
            return Ok(*index);
        }
        let used: BTreeSet<u16> = self.clusters.values().copied().collect();
        let index = (0..MAX_CLUSTERS)
            .find(|index| !used.contains(index))
            .ok_or(NoIndex)?;
        self.clusters.insert(name.clone(), index);
        Ok(index)
    }

    /// The index of a cluster that has one.
    pub(crate) fn index_of(&self, name: &ClusterName) -> Option<u16> {
        self.clusters.get(name).copied()
    }

    /// The clusters that have an index.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = (&ClusterName, u16)> {
        self.clusters.iter().map(|(name, index)| (name, *index))
    }

    /// Gives a cluster's index back; the own one's stays.
    pub(crate) fn release_cluster(&mut self, name: &ClusterName) {
        if *name != self.local {
            self.clusters.remove(name);
        }
    }

    /// The id of a frontend's service, given out at its first mention.
    pub(crate) fn service(&mut self, frontend: FrontendKey) -> u32 {
        if let Some(id) = self.services.get(&frontend) {
            return *id;
        }
        while self.next_id == IN_CLUSTERS || !self.ids.insert(self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        self.services.insert(frontend, id);
        id
    }

    /// Gives a frontend's id back.
    pub(crate) fn release_service(&mut self, frontend: &FrontendKey) {
        if let Some(id) = self.services.remove(frontend) {
            self.ids.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use node_dp_common::{BackendKey, BackendValue, ClusterState, ClusterValue, ServiceValue};

    use super::*;

    #[test]
    fn a_restarted_agent_finds_its_numbers_again() {
        let mut before = Allocations::adopt(name("east"), &Image::default());
        let west = before.cluster(&name("west")).unwrap();
        let north = before.cluster(&name("north")).unwrap();
        before.service(frontend(1));
        let id = before.service(frontend(2));
        let image = Image {
            services: BTreeMap::from([(frontend(2), ServiceValue::try_new(id, &[]).unwrap())]),
            backends: BTreeMap::new(),
            clusters: BTreeMap::from([(west, cluster("west")), (north, cluster("north"))]),
            ..Image::default()
        };

        let mut after = Allocations::adopt(name("east"), &image);

        assert_eq!(after.cluster(&name("north")), Ok(north));
        assert_eq!(after.cluster(&name("west")), Ok(west));
        assert_eq!(after.cluster(&name("east")), Ok(LOCAL_CLUSTER));
        assert_eq!(after.service(frontend(2)), id);
        assert!(after.service(frontend(3)) > id);
    }

    #[test]
    fn ids_of_stray_backends_are_not_given_out() {
        let stray = BackendKey::new(70, 0, 0);
        let ip: std::net::IpAddr = "10.0.0.1".parse().unwrap();
        let mut image = Image::default();
        image.backends.insert(stray, BackendValue::new(ip, 80));

        let mut allocations = Allocations::adopt(name("east"), &image);

        assert_eq!(allocations.service(frontend(1)), 71);
    }

    #[test]
    fn an_index_that_another_clusters_name_holds_is_not_adopted_as_the_own() {
        let image = Image {
            clusters: BTreeMap::from([(LOCAL_CLUSTER, cluster("other")), (3, cluster("east"))]),
            ..Image::default()
        };

        let allocations = Allocations::adopt(name("east"), &image);

        assert_eq!(allocations.index_of(&name("east")), Some(LOCAL_CLUSTER));
        assert_eq!(allocations.index_of(&name("other")), None);
    }

    #[test]
    fn the_257th_cluster_gets_no_index_until_one_is_given_back() {
        let mut allocations = Allocations::adopt(name("east"), &Image::default());
        for number in 1..MAX_CLUSTERS {
            allocations.cluster(&name(&format!("c{number}"))).unwrap();
        }

        assert_eq!(allocations.cluster(&name("more")), Err(NoIndex));
        allocations.release_cluster(&name("c7"));
        assert_eq!(allocations.cluster(&name("more")), Ok(7));
    }

    #[test]
    fn an_id_is_not_given_out_again_at_once() {
        let mut allocations = Allocations::adopt(name("east"), &Image::default());
        let first = allocations.service(frontend(1));

        allocations.release_service(&frontend(1));

        assert_ne!(allocations.service(frontend(2)), first);
    }

    fn cluster(name: &str) -> ClusterValue {
        ClusterValue::try_new(name, ClusterState::Up).unwrap()
    }

    fn frontend(number: u16) -> FrontendKey {
        let ip: std::net::IpAddr = "10.0.0.1".parse().unwrap();
        FrontendKey::new(ip, number, 6)
    }

    fn name(text: &str) -> ClusterName {
        ClusterName::parse(text).unwrap()
    }
}
