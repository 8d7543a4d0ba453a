//! What a store and its subscribers say to each other: how far one has read, and what it reads next.

use crate::{
    digest::KeyRange,
    resource::{Key, Resource},
    trace::TraceContext,
};

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

/// A part of what stands under some ranges of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What stands there, by key.
    pub changes: Vec<Change>,
    /// What is left of the ranges; empty after the last page.
    pub rest: Vec<KeyRange>,
    /// Where a subscriber stands that knows all that was there when the page was read.
    pub cursor: Cursor,
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
