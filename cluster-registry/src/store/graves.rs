//! The tombstones of a store, oldest first, so that forgetting some does not walk over everything that lives.

use std::collections::VecDeque;

use super::{Revision, table::KeyId};

/// Stale marks that are always allowed.
const SLACK: usize = 1024;

/// The tombstones, among stale marks of keys that came back.
#[derive(Debug, Default)]
pub(super) struct Graves {
    marks: VecDeque<(Revision, KeyId)>,
    /// How many marks are not stale.
    pub(super) tombstones: usize,
}

impl Graves {
    pub(super) fn push(&mut self, revision: Revision, key: KeyId) {
        self.marks.push_back((revision, key));
        self.tombstones += 1;
    }

    /// Takes out the oldest mark, unless it is above a revision.
    pub(super) fn pop_until(&mut self, floor: Revision) -> Option<(Revision, KeyId)> {
        let (revision, _) = self.marks.front()?;
        (*revision <= floor).then(|| self.marks.pop_front())?
    }

    /// All marks, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Revision, KeyId)> {
        self.marks.iter().copied()
    }

    /// Sweeps stale marks out once there are more of them than of others.
    pub(super) fn sweep_if_due(&mut self, is_tombstone: impl Fn(Revision, KeyId) -> bool) {
        if self.marks.len() > 2 * self.tombstones + SLACK {
            self.marks
                .retain(|(revision, key)| is_tombstone(*revision, *key));
        }
    }
}
