//! Reading and changing what the maps hold.

use std::collections::{BTreeMap, BTreeSet};

use aya::{
    Pod,
    maps::{HashMap, MapData, MapError, PerCpuArray, lpm_trie::Key},
    sys::SyscallError,
};
use ipnet::IpNet;
use node_dp_common::{ClusterState, ClusterValue, DropReason, MAX_CLUSTERS, SourceKey};
use node_dp_core::image::{Image, MapOp};

use super::Datapath;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The map holds as many entries as it can; a larger one must be configured.
    #[error("the map {map} is full: it holds {capacity} entries")]
    MapFull {
        /// The map.
        map: &'static str,
        /// How many entries it holds.
        capacity: u32,
    },
    /// The kernel refused the change.
    #[error("the kernel refused a change to the map {map}")]
    Refused {
        /// The map.
        map: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
}

impl ApplyError {
    /// The name in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::MapFull { .. } => "map-full",
            Self::Refused { .. } => "refused",
        }
    }
}

/// A map could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the map {map}")]
pub struct ReadError {
    map: &'static str,
    source: MapError,
}

impl Datapath {
    /// What the maps hold.
    pub fn read_image(&self) -> Result<Image, ReadError> {
        Ok(Image {
            services: entries("SERVICES", &self.services)?,
            backends: entries("BACKENDS", &self.backends)?,
            members: entries("MEMBERS", &self.members)?,
            maglev: entries("MAGLEV", &self.maglev)?,
            sources: self.read_sources()?,
            clusters: self.read_clusters()?,
        })
    }

    /// Carries out one change; one that is there already, or removes what is not there, succeeds.
    pub fn apply(&mut self, op: &MapOp) -> Result<(), ApplyError> {
        let sizes = self.config.sizes;
        match op {
            MapOp::PutCluster(index, value) => changed(
                "CLUSTERS",
                0,
                self.clusters.set(u32::from(*index), value, 0),
            ),
            MapOp::PutBackend(key, value) => changed(
                "BACKENDS",
                sizes.backends,
                self.backends.insert(key, value, 0),
            ),
            MapOp::PutMember(key, value) => {
                changed("MEMBERS", sizes.members, self.members.insert(key, value, 0))
            }
            MapOp::PutMaglev(key, value) => {
                changed("MAGLEV", sizes.maglev, self.maglev.insert(key, value, 0))
            }
            MapOp::PutSource(id, range) => changed(
                "SOURCE_RANGES",
                sizes.source_ranges,
                self.source_ranges.insert(&source_key(*id, *range), 0, 0),
            ),
            MapOp::PutService(key, value) => changed(
                "SERVICES",
                sizes.services,
                self.services.insert(key, value, 0),
            ),
            MapOp::DeleteService(key) => removed("SERVICES", self.services.remove(key)),
            MapOp::DeleteSource(id, range) => removed(
                "SOURCE_RANGES",
                self.source_ranges.remove(&source_key(*id, *range)),
            ),
            MapOp::DeleteMember(key) => removed("MEMBERS", self.members.remove(key)),
            MapOp::DeleteMaglev(key) => removed("MAGLEV", self.maglev.remove(key)),
            MapOp::DeleteBackend(key) => removed("BACKENDS", self.backends.remove(key)),
        }
    }

    fn read_sources(&self) -> Result<BTreeSet<(u32, IpNet)>, ReadError> {
        let keys = self.source_ranges.keys();
        keys.map(|key| {
            let key = key.map_err(|source| ReadError {
                map: "SOURCE_RANGES",
                source,
            })?;
            let (id, address, length) = key.data().prefix(key.prefix_len());
            // What is no prefix was not written by an agent, and the whole range is the least that it can mean.
            let range = IpNet::new(address, length).unwrap_or_else(|_| address.into());
            Ok((id, range))
        })
        .collect()
    }

    fn read_clusters(&self) -> Result<BTreeMap<u16, ClusterValue>, ReadError> {
        let mut clusters = BTreeMap::new();
        for index in 0..MAX_CLUSTERS {
            let value = self
                .clusters
                .get(&u32::from(index), 0)
                .map_err(|source| ReadError {
                    map: "CLUSTERS",
                    source,
                })?;
            if value.state() != Some(ClusterState::Unused) {
                clusters.insert(index, value);
            }
        }
        Ok(clusters)
    }
}

fn source_key(id: u32, range: IpNet) -> Key<SourceKey> {
    let bits = SourceKey::bits_of(range.addr(), range.prefix_len());
    Key::new(bits, SourceKey::new(id, range.network().into()))
}

/// The counts of all CPUs, added up.
pub(super) fn drops(
    map: &PerCpuArray<MapData, u64>,
) -> Result<BTreeMap<DropReason, u64>, ReadError> {
    DropReason::ALL
        .into_iter()
        .map(|reason| {
            let counts = map.get(&reason.number(), 0).map_err(|source| ReadError {
                map: "DROPS",
                source,
            })?;
            Ok((reason, counts.iter().sum()))
        })
        .collect()
}

/// How many packets all CPUs have forwarded.
pub(super) fn forwarded(map: &PerCpuArray<MapData, u64>) -> Result<u64, ReadError> {
    let counts = map.get(&0, 0).map_err(|source| ReadError {
        map: "FORWARDED",
        source,
    })?;
    Ok(counts.iter().sum())
}

fn entries<K: Pod + Ord, V: Pod>(
    map: &'static str,
    contents: &HashMap<MapData, K, V>,
) -> Result<BTreeMap<K, V>, ReadError> {
    contents
        .iter()
        .collect::<Result<_, _>>()
        .map_err(|source| ReadError { map, source })
}

pub(super) fn changed(
    map: &'static str,
    capacity: u32,
    result: Result<(), MapError>,
) -> Result<(), ApplyError> {
    result.map_err(|source| {
        if errno(&source) == Some(libc::E2BIG) {
            return ApplyError::MapFull { map, capacity };
        }
        ApplyError::Refused { map, source }
    })
}

pub(super) fn removed(map: &'static str, result: Result<(), MapError>) -> Result<(), ApplyError> {
    match result {
        Err(source) if errno(&source) != Some(libc::ENOENT) && !is_missing(&source) => {
            Err(ApplyError::Refused { map, source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn is_missing(error: &MapError) -> bool {
    matches!(error, MapError::KeyNotFound | MapError::ElementNotFound)
}

fn errno(error: &MapError) -> Option<i32> {
    if let MapError::SyscallError(SyscallError { io_error, .. }) = error {
        return io_error.raw_os_error();
    }
    None
}
