//! The revision-indexed store: every resource under its key, and each key once in an index by its newest revision.
//!
//! A subscriber is one number, its cursor. What it needs next is the next revision after the cursor, so a slow
//! subscriber is conflated for free and costs no memory. A deletion leaves a tombstone until compaction; a cursor
//! below the compaction floor, or of another epoch, must take a snapshot.

use std::{collections::BTreeMap, num::NonZeroU64};

use crate::{
    digest::KeyRange,
    name::{ClusterName, ServiceName},
    resource::{Key, Resource},
    trace::TraceContext,
};

mod graves;
mod log;
mod scope;
mod slab;
mod subscriber;
mod table;

pub use scope::Scope;
pub use subscriber::{Batch, Change, Cursor, Epoch, Page, ResumeError, Revision};

use graves::Graves;
use log::Log;
use table::{KeyId, State, Table};

/// The store.
///
/// Each key and its value stand once, in a table, under a number by which the log finds them in the order of revisions.
#[derive(Debug)]
pub struct Store {
    epoch: Epoch,
    newest: Revision,
    floor: Revision,
    table: Table,
    log: Log,
    /// The traces that keys' newest changes belong to; few belong to any.
    traces: BTreeMap<KeyId, TraceContext>,
    /// How many keys there are, those of tombstones too.
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
            table: Table::default(),
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
    pub fn get(&self, key: &Key) -> Option<Resource> {
        self.table.value(self.table.find(key)?)
    }

    /// Whether there is a value under a key.
    pub fn contains(&self, key: &Key) -> bool {
        let state = self.table.find(key).and_then(|id| self.table.state(id));
        state.is_some_and(|state| state.is_present)
    }

    /// As [`Self::contains`], and remembers where that is, for when the key is changed next.
    pub(crate) fn seek(&mut self, key: &Key) -> bool {
        let state = self.table.seek(key).and_then(|id| self.table.state(id));
        state.is_some_and(|state| state.is_present)
    }

    /// All present resources, by key.
    pub fn iter(&self) -> impl Iterator<Item = (Key, Resource)> {
        self.present(self.table.iter())
    }

    /// The present resources of one cluster, by key.
    pub fn iter_of(&self, cluster: &ClusterName) -> impl Iterator<Item = (Key, Resource)> {
        self.present(self.table.iter_of(cluster))
    }

    /// The present endpoints of a service in one cluster, by key.
    pub fn endpoints_of(
        &self,
        cluster: &ClusterName,
        service: &ServiceName,
    ) -> impl Iterator<Item = (Key, Resource)> {
        self.present(self.table.endpoints_of(cluster, service))
    }

    /// The present resources of a range of keys, by key.
    pub fn range<'a>(&'a self, range: &'a KeyRange) -> impl Iterator<Item = (Key, Resource)> + 'a {
        self.present(self.table.iter_from(range.from.as_ref()))
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
            for id in self.table.iter_from(range.from.as_ref()) {
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

    fn present(&self, ids: impl Iterator<Item = KeyId>) -> impl Iterator<Item = (Key, Resource)> {
        ids.filter_map(|id| {
            let value = self.table.value(id)?;
            Some((self.table.key(id)?, value))
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
        self.replace(&key, Some(value), trace)?;
        Some(self.newest)
    }

    /// Removes a key, and returns the new revision, or `None` when it was not there.
    pub fn delete(&mut self, key: &Key, trace: Option<TraceContext>) -> Option<Revision> {
        self.replace(key, None, trace)?;
        Some(self.newest)
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
            let state = self.table.state(id)?;
            (state.revision == revision).then_some((id, state))
        });
        let mut changes = Vec::new();
        let mut reached = after;
        for (id, state) in rest.by_ref().take(limit) {
            reached = state.revision;
            if cursor.is_none() && !state.is_present {
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

    fn change_of(&self, id: KeyId) -> Option<Change> {
        Some(Change {
            key: self.table.key(id)?,
            value: self.table.value(id),
            revision: self.table.state(id)?.revision,
            trace: self.traces.get(&id).copied(),
        })
    }

    /// Forgets the tombstones at or below a revision; cursors below it can no longer resume.
    pub fn compact(&mut self, floor: Revision) {
        let floor = floor.min(self.newest);
        while let Some((revision, id)) = self.graves.pop_until(floor) {
            if is_tombstone(&self.table, revision, id) {
                self.table.remove(id);
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
            .filter(|(revision, id)| is_tombstone(&self.table, *revision, *id))
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

    /// Sets or removes a key, and returns what it had, or `None` when that changes nothing.
    pub(crate) fn replace(
        &mut self,
        key: &Key,
        value: Option<Resource>,
        trace: Option<TraceContext>,
    ) -> Option<Option<Resource>> {
        if value.as_ref().is_some_and(|value| !value.is_of(&key.id)) {
            return None;
        }
        let since = NonZeroU64::MIN.saturating_add(self.newest.0);
        let is_present = value.is_some();
        let set = self.table.set(key, value, since)?;
        let (id, revision) = (set.id, Revision(since.get()));
        if set.is_new {
            self.keys += 1;
        } else {
            self.graves.tombstones -= usize::from(set.old.is_none());
        }
        match trace {
            Some(trace) => self.traces.insert(id, trace),
            None => self.traces.remove(&id),
        };
        self.newest = revision;
        self.log.push(revision, id);
        if !is_present {
            self.graves.push(revision, id);
        }
        let table = &self.table;
        self.graves
            .sweep_if_due(|revision, id| is_tombstone(table, revision, id));
        self.log.sweep_if_due(self.keys, |revision, id| {
            is_current(table, revision, id, |_| true)
        });
        Some(set.old)
    }
}

fn is_tombstone(table: &Table, revision: Revision, id: KeyId) -> bool {
    is_current(table, revision, id, |state| !state.is_present)
}

/// Whether a mark of the log is not stale, and its key as wanted.
fn is_current(
    table: &Table,
    revision: Revision,
    id: KeyId,
    is_wanted: impl Fn(State) -> bool,
) -> bool {
    let state = table.state(id);
    state.is_some_and(|state| state.revision == revision && is_wanted(state))
}

#[cfg(test)]
mod tests;
