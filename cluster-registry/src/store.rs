//! The revision-indexed store: every resource under its key, and each key once in an index by its newest revision.
//!
//! A subscriber is one number, its cursor. What it needs next is the next revision after the cursor, so a slow
//! subscriber is conflated for free and costs no memory. A deletion leaves a tombstone until compaction; a cursor
//! below the compaction floor, or of another epoch, must take a snapshot.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    digest::KeyRange,
    name::{ClusterName, ServiceName},
    resource::{Key, Resource},
    trace::TraceContext,
};

mod graves;
mod index;
mod log;
mod scope;
mod slab;
mod subscriber;

pub use scope::Scope;
pub use subscriber::{Batch, Change, Cursor, Epoch, Page, ResumeError, Revision};

use graves::Graves;
use index::{Index, SlotKey};
use log::Log;
use slab::{Slab, SlotId};

/// The newest state of one key, and when it became so.
#[derive(Debug)]
struct Slot {
    key: SlotKey,
    value: Option<Resource>,
    revision: Revision,
}

// There is one for every key.
const _: () = assert!(size_of::<Option<Slot>>() == 48);

/// The store.
///
/// Each key and its value stand once, in a slot; the index finds slots by key, and the log by revision.
#[derive(Debug)]
pub struct Store {
    epoch: Epoch,
    newest: Revision,
    floor: Revision,
    slots: Slab<Slot>,
    index: Index,
    log: Log,
    /// The traces that slots' newest changes belong to; few belong to any.
    traces: BTreeMap<SlotId, TraceContext>,
    /// How many slots there are, those of tombstones too.
    keys: usize,
    graves: Graves,
}

impl Store {
    /// An empty store of a new epoch.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            newest: Revision(0),
            floor: Revision(0),
            slots: Slab::new(),
            index: Index::new(),
            log: Log::default(),
            traces: BTreeMap::new(),
            keys: 0,
            graves: Graves::default(),
        }
    }

    /// Where a subscriber that knows everything stands.
    pub fn cursor(&self) -> Cursor {
        Cursor::at(self.epoch, self.newest)
    }

    /// The value under a key.
    pub fn get(&self, key: &Key) -> Option<&Resource> {
        self.slots.get(self.find(key)?)?.value.as_ref()
    }

    /// All present resources, by key.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &Resource)> {
        self.present(self.index.iter())
    }

    /// The present resources of one cluster, by key.
    pub fn iter_of(&self, cluster: &ClusterName) -> impl Iterator<Item = (Key, &Resource)> {
        self.present(self.index.iter_of(cluster))
    }

    /// The present endpoints of a service in one cluster, by key.
    pub fn endpoints_of(
        &self,
        cluster: &ClusterName,
        service: &ServiceName,
    ) -> impl Iterator<Item = (Key, &Resource)> {
        self.present(self.index.endpoints_of(cluster, service))
    }

    /// The present resources of a range of keys, by key.
    pub fn range<'a>(
        &'a self,
        range: &'a KeyRange,
    ) -> impl Iterator<Item = (Key, &'a Resource)> + 'a {
        let address_of = |id| address_in(&self.slots, id);
        self.present(self.index.iter_from(range.from.as_ref(), address_of))
            .take_while(|(key, _)| range.contains(key))
    }

    /// The next present resources of some ranges of keys, by key, at most `limit`: with what is left of the ranges.
    ///
    /// A reader that pages so sees each key that does not change meanwhile; for the others it must read the changes after the
    /// first page's cursor.
    pub fn page(&self, ranges: &[KeyRange], limit: usize) -> Page {
        let mut changes = Vec::new();
        let mut rest = Vec::new();
        for range in ranges {
            if !rest.is_empty() {
                rest.push(range.clone());
                continue;
            }
            let address_of = |id| address_in(&self.slots, id);
            for id in self.index.iter_from(range.from.as_ref(), address_of) {
                let Some(change) = self.change_of(id).filter(|c| c.value.is_some()) else {
                    continue;
                };
                if !range.contains(&change.key) {
                    break;
                }
                if changes.len() == limit {
                    let until = range.until.clone();
                    let from = Some(change.key);
                    rest.push(KeyRange { from, until });
                    break;
                }
                changes.push(change);
            }
        }
        Page {
            changes,
            rest,
            cursor: self.cursor(),
        }
    }

    fn present(
        &self,
        slots: impl Iterator<Item = SlotId>,
    ) -> impl Iterator<Item = (Key, &Resource)> {
        slots.filter_map(|id| {
            let slot = self.slots.get(id)?;
            let value = slot.value.as_ref()?;
            Some((self.index.key(&slot.key)?, value))
        })
    }

    /// Sets a key, and returns the new revision, or `None` when that changes nothing.
    pub fn put(
        &mut self,
        key: Key,
        value: Resource,
        trace: Option<TraceContext>,
    ) -> Option<Revision> {
        debug_assert!(value.is_of(&key.id), "{key:?} is not of {value:?}'s kind");
        self.set(&key, Some(value), trace)
    }

    /// Removes a key, and returns the new revision, or `None` when it was not there.
    pub fn delete(&mut self, key: &Key, trace: Option<TraceContext>) -> Option<Revision> {
        self.get(key)?;
        self.set(key, None, trace)
    }

    /// The next changes after a cursor, at most `limit`; `None` reads from the very beginning, without tombstones.
    ///
    /// A reader that starts from nothing pages through with the cursor it is given, and from then on sees
    /// tombstones too, so that no deletion between two pages is missed.
    pub fn changes_after(
        &self,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Batch, ResumeError> {
        let after = match cursor {
            None => Revision(0),
            Some(cursor) => self.check(cursor)?,
        };
        let mut rest = self.log.after(after).filter_map(|(revision, id)| {
            let slot = self.slots.get(id)?;
            (slot.revision == revision).then_some((id, slot))
        });
        let mut changes = Vec::new();
        let mut reached = after;
        for (id, slot) in rest.by_ref().take(limit) {
            reached = slot.revision;
            if cursor.is_none() && slot.value.is_none() {
                continue;
            }
            changes.extend(self.change_of(id));
        }
        let is_last = rest.next().is_none();
        let cursor = if is_last {
            self.cursor()
        } else {
            Cursor {
                epoch: self.epoch,
                revision: reached,
                snapshot_floor: cursor.map_or(Some(self.floor), |c| c.snapshot_floor),
            }
        };
        Ok(Batch {
            changes,
            cursor,
            is_last,
        })
    }

    fn change_of(&self, id: SlotId) -> Option<Change> {
        let slot = self.slots.get(id)?;
        Some(Change {
            key: self.index.key(&slot.key)?,
            value: slot.value.clone(),
            revision: slot.revision,
            trace: self.traces.get(&id).copied(),
        })
    }

    /// Forgets the tombstones at or below a revision; cursors below it can no longer resume.
    pub fn compact(&mut self, floor: Revision) {
        let floor = floor.min(self.newest);
        while let Some((revision, id)) = self.graves.pop_until(floor) {
            let is_tombstone = self.is_tombstone(revision, id);
            if let Some(slot) = is_tombstone.then(|| self.slots.remove(id)).flatten() {
                self.index.remove(&slot.key, id);
                self.traces.remove(&id);
                self.keys -= 1;
                self.graves.tombstones -= 1;
            }
        }
        self.floor = self.floor.max(floor);
    }

    /// Forgets the older half of the tombstones once there are more than `limit`.
    ///
    /// Half at a time, so that cursors do not fall below the floor with every deletion.
    pub fn compact_above(&mut self, limit: usize) {
        if self.tombstones() <= limit {
            return;
        }
        let surplus = self.tombstones() - limit / 2;
        let floor = self
            .graves
            .iter()
            .filter(|(revision, id)| self.is_tombstone(*revision, *id))
            .nth(surplus.saturating_sub(1))
            .map(|(revision, _)| revision);
        if let Some(floor) = floor {
            self.compact(floor);
        }
    }

    /// How many tombstones the store holds.
    pub fn tombstones(&self) -> usize {
        self.graves.tombstones
    }

    fn check(&self, cursor: Cursor) -> Result<Revision, ResumeError> {
        if cursor.epoch != self.epoch {
            return Err(ResumeError::OtherEpoch);
        }
        if cursor.revision > self.newest {
            return Err(ResumeError::Future);
        }
        let has_missed_none = match cursor.snapshot_floor {
            Some(floor) => floor == self.floor,
            None => cursor.revision >= self.floor,
        };
        if !has_missed_none {
            return Err(ResumeError::Compacted);
        }
        Ok(cursor.revision)
    }

    fn find(&self, key: &Key) -> Option<SlotId> {
        self.index.get(key, |id| address_in(&self.slots, id))
    }

    fn is_tombstone(&self, revision: Revision, id: SlotId) -> bool {
        is_current(&self.slots, revision, id, |slot| slot.value.is_none())
    }

    fn set(
        &mut self,
        key: &Key,
        value: Option<Resource>,
        trace: Option<TraceContext>,
    ) -> Option<Revision> {
        let revision = Revision(self.newest.0 + 1);
        let is_present = value.is_some();
        let id = match self.find(key) {
            Some(id) => {
                let slot = self.slots.get_mut(id)?;
                if slot.value == value {
                    return None;
                }
                self.graves.tombstones -= usize::from(slot.value.is_none());
                slot.value = value;
                slot.revision = revision;
                id
            }
            None => {
                self.keys += 1;
                let key = self.index.prepare(key);
                let id = self.slots.insert(Slot {
                    key: key.clone(),
                    value,
                    revision,
                });
                let slots = &self.slots;
                self.index.insert(&key, id, |id| address_in(slots, id));
                id
            }
        };
        match trace {
            Some(trace) => self.traces.insert(id, trace),
            None => self.traces.remove(&id),
        };
        self.newest = revision;
        self.log.push(revision, id);
        if !is_present {
            self.graves.push(revision, id);
        }
        let slots = &self.slots;
        self.graves.sweep_if_due(|revision, id| {
            is_current(slots, revision, id, |slot| slot.value.is_none())
        });
        self.log.sweep_if_due(self.keys, |revision, id| {
            is_current(slots, revision, id, |_| true)
        });
        Some(revision)
    }
}

/// The address of the endpoint that a slot is of.
fn address_in(slots: &Slab<Slot>, id: SlotId) -> Option<IpAddr> {
    slots.get(id)?.key.address()
}

/// Whether a mark of the log is not stale, and its slot as wanted.
fn is_current(
    slots: &Slab<Slot>,
    revision: Revision,
    id: SlotId,
    is_wanted: impl Fn(&Slot) -> bool,
) -> bool {
    let slot = slots.get(id);
    slot.is_some_and(|slot| slot.revision == revision && is_wanted(slot))
}

#[cfg(test)]
mod tests;
