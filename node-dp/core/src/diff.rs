//! The ordered changes that lead from one image to another without a hole on the way.
//!
//! Whatever is pointed at is written before what points at it, and removed after: clusters, members, backends, Maglev
//! tables, source ranges, services; then the same backwards. A reader that meets the maps between two changes finds a whole
//! old or a whole new service.

use std::collections::BTreeMap;

use node_dp_common::ClusterValue;

use crate::image::{Image, MapOp};

/// The changes that turn `old` into `new`, in the order in which they must be carried out.
pub fn diff(old: &Image, new: &Image) -> Vec<MapOp> {
    let clusters = changed(&old.clusters, &new.clusters).map(|(k, v)| MapOp::PutCluster(k, v));
    let backends = changed(&old.backends, &new.backends).map(|(k, v)| MapOp::PutBackend(k, v));
    let members = changed(&old.members, &new.members).map(|(k, v)| MapOp::PutMember(k, v));
    let maglev = changed(&old.maglev, &new.maglev).map(|(k, v)| MapOp::PutMaglev(k, v));
    let sources = new.sources.difference(&old.sources);
    let sources = sources.map(|(id, range)| MapOp::PutSource(*id, *range));
    let services = changed(&old.services, &new.services).map(|(k, v)| MapOp::PutService(k, v));
    let dead_services = gone(&old.services, &new.services).map(MapOp::DeleteService);
    let dead_sources = old.sources.difference(&new.sources);
    let dead_sources = dead_sources.map(|(id, range)| MapOp::DeleteSource(*id, *range));
    let dead_maglev = gone(&old.maglev, &new.maglev).map(MapOp::DeleteMaglev);
    let dead_members = gone(&old.members, &new.members).map(MapOp::DeleteMember);
    let dead_backends = gone(&old.backends, &new.backends).map(MapOp::DeleteBackend);
    let dead_clusters = gone(&old.clusters, &new.clusters)
        .map(|index| MapOp::PutCluster(index, ClusterValue::UNUSED));

    clusters
        .chain(members)
        .chain(backends)
        .chain(maglev)
        .chain(sources)
        .chain(services)
        .chain(dead_services)
        .chain(dead_sources)
        .chain(dead_maglev)
        .chain(dead_members)
        .chain(dead_backends)
        .chain(dead_clusters)
        .collect()
}

/// The entries of `new` that `old` lacks or holds otherwise.
fn changed<K: Ord + Copy, V: PartialEq + Copy>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> impl Iterator<Item = (K, V)> {
    new.iter()
        .filter(|(key, value)| old.get(key) != Some(value))
        .map(|(key, value)| (*key, *value))
}

/// The keys that `new` lacks.
fn gone<K: Ord + Copy, V>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> impl Iterator<Item = K> {
    old.keys().filter(|key| !new.contains_key(key)).copied()
}
