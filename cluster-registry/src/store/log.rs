//! The log: which key changed at which revision, in the order of revisions.
//!
//! A key that changes again leaves a stale mark behind. Marks are only ever added at the end, and once as many are
//! stale as are not, they are swept out, so that the log stays within twice the number of keys at a constant cost for each change.

use super::{Revision, table::KeyId};

const CHUNK: usize = 2048;

/// Stale marks that are always allowed, so that a small log is not swept at every other change.
const SLACK: usize = CHUNK;

/// A change that a sweep left: its revision, counted from its chunk's first, and the key's number.
#[derive(Debug, Clone, Copy)]
struct Mark {
    offset: u32,
    key: KeyId,
}

#[derive(Debug)]
struct Chunk {
    first: Revision,
    marks: Marks,
}

#[derive(Debug)]
enum Marks {
    /// Those of each revision from the first on, as they come.
    Each(Vec<KeyId>),
    /// Those that a sweep left.
    Left(Vec<Mark>),
}

/// The log.
#[derive(Debug, Default)]
pub(super) struct Log {
    chunks: Vec<Chunk>,
    /// Emptied memory that the log will need again before the next sweep, and amid it.
    spare: (Vec<Vec<KeyId>>, Vec<Vec<Mark>>),
    marks: usize,
}

impl Log {
    /// Adds a change; its revision is above all others.
    pub(super) fn push(&mut self, revision: Revision, key: KeyId) {
        self.marks += 1;
        if let Some(chunk) = self.chunks.last_mut()
            && let Marks::Each(keys) = &mut chunk.marks
            && keys.len() < CHUNK
            && chunk.first.0 + keys.len() as u64 == revision.0
        {
            keys.push(key);
            return;
        }
        let spare = self.spare.0.pop();
        let mut keys = spare.unwrap_or_else(|| Vec::with_capacity(CHUNK));
        keys.push(key);
        self.chunks.push(Chunk {
            first: revision,
            marks: Marks::Each(keys),
        });
    }

    /// Adds a change that a sweep leaves.
    fn keep(&mut self, revision: Revision, key: KeyId) {
        self.marks += 1;
        if let Some(chunk) = self.chunks.last_mut()
            && let Marks::Left(marks) = &mut chunk.marks
            && marks.len() < CHUNK
            && let Ok(offset) = u32::try_from(revision.0 - chunk.first.0)
        {
            marks.push(Mark { offset, key });
            return;
        }
        let spare = self.spare.1.pop();
        let mut marks = spare.unwrap_or_else(|| Vec::with_capacity(CHUNK));
        marks.push(Mark { offset: 0, key });
        self.chunks.push(Chunk {
            first: revision,
            marks: Marks::Left(marks),
        });
    }

    /// How many marks there are, stale ones too.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.marks
    }

    /// The changes after a revision, stale ones too.
    pub(super) fn after(&self, revision: Revision) -> impl Iterator<Item = (Revision, KeyId)> {
        // The chunk before the first one that begins beyond it may hold some.
        let beyond = self.chunks.partition_point(|c| c.first <= revision);
        let (older, newer) = self.chunks.split_at(beyond);
        let partly = older.last().map(|chunk| {
            let seen = chunk.seen_at(revision);
            chunk.from(seen)
        });
        let rest = newer.iter().flat_map(|chunk| chunk.from(0));
        partly.into_iter().flatten().chain(rest)
    }

    /// Sweeps stale marks out once there are more of them than of the `live` others.
    pub(super) fn sweep_if_due(&mut self, live: usize, is_live: impl Fn(Revision, KeyId) -> bool) {
        let most = 2 * live + SLACK;
        if self.marks <= most {
            return;
        }
        self.marks = 0;
        for chunk in std::mem::take(&mut self.chunks) {
            for (revision, key) in chunk.from(0) {
                if is_live(revision, key) {
                    self.keep(revision, key);
                }
            }
            match chunk.marks {
                Marks::Each(mut keys) => {
                    keys.clear();
                    self.spare.0.push(keys);
                }
                Marks::Left(mut marks) => {
                    marks.clear();
                    self.spare.1.push(marks);
                }
            }
        }
        let needed = most.div_ceil(CHUNK) + 1;
        self.spare.0.truncate(needed);
        let left = needed.saturating_sub(self.chunks.len());
        self.spare.1.truncate(left);
    }
}

impl Chunk {
    /// How many of its marks are at or below a revision, which is not below its first.
    fn seen_at(&self, revision: Revision) -> usize {
        let offset = revision.0 - self.first.0;
        match &self.marks {
            Marks::Each(keys) => {
                usize::try_from(offset).map_or(keys.len(), |offset| keys.len().min(offset + 1))
            }
            Marks::Left(marks) => marks.partition_point(|mark| u64::from(mark.offset) <= offset),
        }
    }

    /// Its marks, with their revisions, but for the first ones.
    fn from(&self, seen: usize) -> impl Iterator<Item = (Revision, KeyId)> {
        let (all, some) = match &self.marks {
            Marks::Each(keys) => (keys.get(seen..).unwrap_or_default(), &[][..]),
            Marks::Left(marks) => (&[][..], marks.get(seen..).unwrap_or_default()),
        };
        let first = self.first.0;
        let all = (first + seen as u64..).zip(all);
        let all = all.map(|(revision, key)| (Revision(revision), *key));
        let some = some
            .iter()
            .map(move |mark| (Revision(first + u64::from(mark.offset)), mark.key));
        all.chain(some)
    }
}
