//! The table of flows, as the agent reads and sweeps it; the kernel enters them.

use std::{io, os::fd::OwnedFd};

use aya::maps::{HashMap, MapData};
use node_dp_common::{Flow, FlowKey, FlowValue};
use node_dp_core::expiry::keys;

use super::{
    OpenError,
    contents::{ApplyError, removed},
    object::Loaded,
    sys,
};

const NAME: &str = "FLOWS";

/// How many entries are looked at by one call of the kernel.
pub(super) const BATCH: usize = 1_024;

/// The flows could not be swept.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The table could not be read.
    #[error("cannot read the table of flows")]
    Read(#[source] io::Error),
    /// A flow could not be removed.
    #[error("cannot remove a flow")]
    Remove(#[from] ApplyError),
}

/// A handle on the table; there may be several.
#[derive(Debug)]
pub(super) struct Flows {
    map: HashMap<MapData, FlowKey, FlowValue>,
    /// For calls that aya does not make.
    fd: OwnedFd,
}

impl Flows {
    /// A handle on the table among loaded maps.
    pub(super) fn of(loaded: &Loaded) -> Result<Self, OpenError> {
        Ok(Self {
            map: loaded.hash_map(NAME)?,
            fd: loaded.hash_map_fd(NAME)?,
        })
    }

    /// Looks at the next entries, about a thousand of them, and removes the flows that `choose` names; returns how many, and
    /// where to go on, `None` at the end.
    pub(super) fn remove_some(
        &mut self,
        cursor: Option<u32>,
        mut choose: impl FnMut(&FlowKey, &FlowValue) -> Option<Flow>,
    ) -> Result<(usize, Option<u32>), SweepError> {
        let batch: sys::Batch<FlowKey, FlowValue> =
            sys::next_entries(&self.fd, cursor, BATCH).map_err(SweepError::Read)?;
        let mut count = 0;
        for (key, value) in &batch.entries {
            let Some(flow) = choose(key, value) else {
                continue;
            };
            for key in keys(&flow) {
                removed(NAME, self.map.remove(&key))?;
            }
            count += 1;
        }
        Ok((count, batch.next))
    }

    /// Looks at all entries.
    pub(super) fn remove_all(
        &mut self,
        mut choose: impl FnMut(&FlowKey, &FlowValue) -> Option<Flow>,
    ) -> Result<usize, SweepError> {
        let (mut total, mut cursor) = self.remove_some(None, &mut choose)?;
        while cursor.is_some() {
            let (count, next) = self.remove_some(cursor, &mut choose)?;
            total += count;
            cursor = next;
        }
        Ok(total)
    }
}
