//! The revision-indexed store: every resource under its key, and each key once in an index by its newest revision.
//!
//! A subscriber is one number, its cursor. What it needs next is the next revision after the cursor, so a slow
//! subscriber is conflated for free and costs no memory. A deletion leaves a tombstone until compaction; a cursor
//! below the compaction floor, or of another epoch, must take a snapshot.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Bound,
};

use crate::{
    name::{ClusterName, ServiceName},
    resource::{Key, Resource, ResourceId},
    trace::TraceContext,
};

mod scope;

pub use scope::Scope;

/// One life of a store; revisions of different epochs do not compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The number of a change within an epoch, from 1; 0 stands before all changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// How far a subscriber has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// The epoch it read in.
    pub epoch: Epoch,
    /// The last revision it has seen.
    pub revision: Revision,
    /// The compaction floor when its snapshot began, while it is amid one; such a cursor is never sent to a peer.
    ///
    /// A reader amid its snapshot stands at old revisions though it has missed nothing, unless tombstones were
    /// forgotten since it began.
    pub snapshot_floor: Option<Revision>,
}

impl Cursor {
    /// Where a reader stands that has everything up to a revision.
    pub fn at(epoch: Epoch, revision: Revision) -> Self {
        Self {
            epoch,
            revision,
            snapshot_floor: None,
        }
    }
}

/// The newest state of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Key,
    /// The value; `None` when the key is gone.
    pub value: Option<Resource>,
    /// The revision that made it so.
    pub revision: Revision,
    /// The trace that the change belongs to.
    pub trace: Option<TraceContext>,
}

/// Why a cursor cannot be resumed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// The cursor is of another life of the store.
    #[error("the cursor is of another epoch")]
    OtherEpoch,
    /// Tombstones that the subscriber may need are gone.
    #[error("the cursor lies below the compaction floor")]
    Compacted,
    /// The cursor lies beyond the newest revision, which no honest subscriber has.
    #[error("the cursor lies in the future")]
    Future,
}

/// A part of a subscriber's catching up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The changes, in the order of their revisions.
    pub changes: Vec<Change>,
    /// Where the subscriber stands once it has them.
    pub cursor: Cursor,
    /// Whether there is nothing more for now.
    pub is_last: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    value: Option<Resource>,
    revision: Revision,
    trace: Option<TraceContext>,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    epoch: Epoch,
    newest: Revision,
    floor: Revision,
    entries: BTreeMap<Key, Entry>,
    keys_by_revision: BTreeMap<Revision, Key>,
    tombstones: usize,
}

impl Store {
    /// An empty store of a new epoch.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            newest: Revision(0),
            floor: Revision(0),
            entries: BTreeMap::new(),
            keys_by_revision: BTreeMap::new(),
            tombstones: 0,
        }
    }

    /// Where a subscriber that knows everything stands.
    pub fn cursor(&self) -> Cursor {
        Cursor::at(self.epoch, self.newest)
    }

    /// The value under a key.
    pub fn get(&self, key: &Key) -> Option<&Resource> {
        self.entries.get(key)?.value.as_ref()
    }

    /// All present resources, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Resource)> {
        self.entries
            .iter()
            .filter_map(|(key, entry)| Some((key, entry.value.as_ref()?)))
    }

    /// The present resources of one cluster, by key.
    pub fn iter_of(&self, cluster: &ClusterName) -> impl Iterator<Item = (&Key, &Resource)> {
        let first = Key {
            cluster: cluster.clone(),
            id: ResourceId::FIRST,
        };
        let range = (Bound::Included(&first), Bound::Unbounded);
        self.entries
            .range::<Key, _>(range)
            .take_while(move |(key, _)| key.cluster == first.cluster)
            .filter_map(|(key, entry)| Some((key, entry.value.as_ref()?)))
    }

    /// The present endpoints of a service in one cluster, by key.
    pub fn endpoints_of(
        &self,
        cluster: &ClusterName,
        service: &ServiceName,
    ) -> impl Iterator<Item = (&Key, &Resource)> {
        let at = |address| Key {
            cluster: cluster.clone(),
            id: ResourceId::Endpoint(service.clone(), address),
        };
        // IPv4 addresses sort before IPv6 ones.
        let first = at(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let last = at(IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)));
        self.entries
            .range(first..=last)
            .filter_map(|(key, entry)| Some((key, entry.value.as_ref()?)))
    }

    /// Sets a key, and returns the new revision, or `None` when that changes nothing.
    pub fn put(
        &mut self,
        key: Key,
        value: Resource,
        trace: Option<TraceContext>,
    ) -> Option<Revision> {
        debug_assert!(value.is_of(&key.id), "{key:?} is not of {value:?}'s kind");
        self.set(key, Some(value), trace)
    }

    /// Removes a key, and returns the new revision, or `None` when it was not there.
    pub fn delete(&mut self, key: &Key, trace: Option<TraceContext>) -> Option<Revision> {
        self.get(key)?;
        self.set(key.clone(), None, trace)
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
        let range = (Bound::Excluded(after), Bound::Unbounded);
        let mut rest = self.keys_by_revision.range(range);
        let mut changes = Vec::new();
        let mut reached = after;
        for (revision, key) in rest.by_ref().take(limit) {
            reached = *revision;
            let Some(entry) = self.entries.get(key) else {
                continue;
            };
            if cursor.is_none() && entry.value.is_none() {
                continue;
            }
            changes.push(Change {
                key: key.clone(),
                value: entry.value.clone(),
                revision: *revision,
                trace: entry.trace,
            });
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

    /// Forgets the tombstones at or below a revision; cursors below it can no longer resume.
    pub fn compact(&mut self, floor: Revision) {
        let floor = floor.min(self.newest);
        let dead: Vec<Revision> = self
            .keys_by_revision
            .range(..=floor)
            .filter(|(_, key)| self.entries.get(key).is_some_and(|e| e.value.is_none()))
            .map(|(revision, _)| *revision)
            .collect();
        for revision in dead {
            if let Some(key) = self.keys_by_revision.remove(&revision) {
                self.entries.remove(&key);
                self.tombstones -= 1;
            }
        }
        self.floor = self.floor.max(floor);
    }

    /// Forgets the older half of the tombstones once there are more than `limit`.
    ///
    /// Half at a time, so that the walk over the index is paid for by as many deletions.
    pub fn compact_above(&mut self, limit: usize) {
        if self.tombstones <= limit {
            return;
        }
        let surplus = self.tombstones - limit / 2;
        let floor = self
            .keys_by_revision
            .iter()
            .filter(|(_, key)| self.entries.get(key).is_some_and(|e| e.value.is_none()))
            .nth(surplus.saturating_sub(1))
            .map(|(revision, _)| *revision);
        if let Some(floor) = floor {
            self.compact(floor);
        }
    }

    /// How many tombstones the store holds.
    pub fn tombstones(&self) -> usize {
        self.tombstones
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

    fn set(
        &mut self,
        key: Key,
        value: Option<Resource>,
        trace: Option<TraceContext>,
    ) -> Option<Revision> {
        if self.entries.get(&key).is_some_and(|e| e.value == value) {
            return None;
        }
        self.newest = Revision(self.newest.0 + 1);
        let revision = self.newest;
        let entry = Entry {
            value,
            revision,
            trace,
        };
        self.tombstones += usize::from(entry.value.is_none());
        if let Some(old) = self.entries.insert(key.clone(), entry) {
            self.keys_by_revision.remove(&old.revision);
            self.tombstones -= usize::from(old.value.is_none());
        }
        self.keys_by_revision.insert(revision, key);
        Some(revision)
    }
}

#[cfg(test)]
mod tests;
