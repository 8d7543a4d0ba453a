//! Puts many entries into a map with one call of the kernel (5.6).

use std::os::fd::OwnedFd;

use aya::Pod;
use node_dp_core::image::MapOp;

use super::{Datapath, OpenError, object::Loaded, sys};

/// The maps that grow large, by descriptors of their own.
pub(super) struct Bulk {
    services: OwnedFd,
    backends: OwnedFd,
    members: OwnedFd,
    maglev: OwnedFd,
}

impl Bulk {
    pub(super) fn of(loaded: &Loaded) -> Result<Self, OpenError> {
        Ok(Self {
            services: loaded.hash_map_fd("SERVICES")?,
            backends: loaded.hash_map_fd("BACKENDS")?,
            members: loaded.hash_map_fd("MEMBERS")?,
            maglev: loaded.hash_map_fd("MAGLEV")?,
        })
    }

    fn put(&self, ops: &[MapOp]) -> usize {
        let Some(first) = ops.first() else {
            return 0;
        };
        match first {
            MapOp::PutService(..) => put(&self.services, ops, |op| {
                let MapOp::PutService(key, value) = op else {
                    return None;
                };
                Some((*key, *value))
            }),
            MapOp::PutBackend(..) => put(&self.backends, ops, |op| {
                let MapOp::PutBackend(key, value) = op else {
                    return None;
                };
                Some((*key, *value))
            }),
            MapOp::PutMember(..) => put(&self.members, ops, |op| {
                let MapOp::PutMember(key, value) = op else {
                    return None;
                };
                Some((*key, *value))
            }),
            MapOp::PutMaglev(..) => put(&self.maglev, ops, |op| {
                let MapOp::PutMaglev(key, value) = op else {
                    return None;
                };
                Some((*key, *value))
            }),
            MapOp::PutCluster(..)
            | MapOp::PutSource(..)
            | MapOp::DeleteService(_)
            | MapOp::DeleteSource(..)
            | MapOp::DeleteMaglev(_)
            | MapOp::DeleteMember(_)
            | MapOp::DeleteBackend(_) => 0,
        }
    }
}

impl Datapath {
    /// Makes the first changes at once, as far as they put entries into one map; returns how many were made.
    ///
    /// None is, where there is but one, the kernel cannot, or it refuses the first: [`Self::apply`] says why.
    pub fn apply_alike(&mut self, ops: &[MapOp]) -> usize {
        self.bulk.put(ops)
    }
}

/// Puts what the leading changes put, as far as they are alike and the kernel takes them.
fn put<K: Pod, V: Pod>(
    map: &OwnedFd,
    ops: &[MapOp],
    entry: impl Fn(&MapOp) -> Option<(K, V)>,
) -> usize {
    let (keys, values): (Vec<K>, Vec<V>) = ops.iter().map_while(entry).unzip();
    if keys.len() < 2 {
        return 0;
    }
    sys::update_entries(map, &keys, &values)
}
