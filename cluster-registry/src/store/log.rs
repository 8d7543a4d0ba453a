//! The log: which key changed at which revision, in the order of revisions.
//!
//! A key that changes again leaves a stale mark behind. Marks are only ever added at the end, and once as many are
//! stale as are not, they are swept out, so that the log stays within twice the number of keys at a constant cost for each change.

use super::{Revision, slab::SlotId};

const CHUNK: usize = 2048;

/// Stale marks that are always allowed, so that a small log is not swept at every other change.
const SLACK: usize = CHUNK;

/// A change: its revision, counted from its chunk's first, and the key's slot.
#[derive(Debug, Clone, Copy)]
struct Mark {
    offset: u32,
    slot: SlotId,
}

#[derive(Debug)]
struct Chunk {
    first: Revision,
    marks: Vec<Mark>,
}

/// The log.
#[derive(Debug, Default)]
pub(super) struct Log {
    chunks: Vec<Chunk>,
    /// Emptied memory that the log will need again before the next sweep.
    spare: Vec<Vec<Mark>>,
    marks: usize,
}

impl Log {
    /// Adds a change; its revision is above all others.
    pub(super) fn push(&mut self, revision: Revision, slot: SlotId) {
        let offset = self.chunks.last().and_then(|chunk| {
            let has_room = chunk.marks.len() < CHUNK;
            let offset = u32::try_from(revision.0 - chunk.first.0).ok();
            offset.filter(|_| has_room)
        });
        let offset = offset.unwrap_or_else(|| {
            let marks = self.spare.pop();
            self.chunks.push(Chunk {
                first: revision,
                marks: marks.unwrap_or_else(|| Vec::with_capacity(CHUNK)),
            });
            0
        });
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.marks.push(Mark { offset, slot });
            self.marks += 1;
        }
    }

    /// How many marks there are, stale ones too.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.marks
    }

    /// The changes after a revision, stale ones too.
    pub(super) fn after(&self, revision: Revision) -> impl Iterator<Item = (Revision, SlotId)> {
        // The chunk before the first one that begins beyond it may hold some.
        let beyond = self.chunks.partition_point(|c| c.first <= revision);
        let (older, newer) = self.chunks.split_at(beyond);
        let partly = older.last().map_or(&[][..], |chunk| {
            let offset = revision.0 - chunk.first.0;
            let seen = chunk
                .marks
                .partition_point(|mark| u64::from(mark.offset) <= offset);
            chunk.marks.split_at(seen).1
        });
        let first = older.last().map_or(Revision(0), |chunk| chunk.first);
        let rest = newer.iter().flat_map(|c| revisions(c.first, &c.marks));
        revisions(first, partly).chain(rest)
    }

    /// Sweeps stale marks out once there are more of them than of the `live` others.
    pub(super) fn sweep_if_due(&mut self, live: usize, is_live: impl Fn(Revision, SlotId) -> bool) {
        let most = 2 * live + SLACK;
        if self.marks <= most {
            return;
        }
        self.marks = 0;
        for mut chunk in std::mem::take(&mut self.chunks) {
            for (revision, slot) in revisions(chunk.first, &chunk.marks) {
                if is_live(revision, slot) {
                    self.push(revision, slot);
                }
            }
            chunk.marks.clear();
            self.spare.push(chunk.marks);
        }
        let needed = most.div_ceil(CHUNK) + 1;
        self.spare
            .truncate(needed.saturating_sub(self.chunks.len()));
    }
}

fn revisions(first: Revision, marks: &[Mark]) -> impl Iterator<Item = (Revision, SlotId)> {
    marks.iter().map(move |mark| {
        let revision = Revision(first.0 + u64::from(mark.offset));
        (revision, mark.slot)
    })
}
