//! Decides when a changed file is read: as soon as it has been still for a moment, and not while it is being written.
//!
//! A pure machine. A file that is written in place is first cut to nothing and then filled: reading it in between would
//! withdraw what it declares, so a file that has been written to waits until it is closed, or until patience ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a file is left alone after its last change: one save is several events within a few milliseconds.
const STILLNESS: Duration = Duration::from_millis(20);

/// How long a file waits at most, for a writer that never closes it or never pauses.
const PATIENCE: Duration = Duration::from_secs(1);

/// What happened to a file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// A file was written to, and its writer may not be done.
    Written(PathBuf),
    /// Something was made, finished, renamed, removed or had its rights changed.
    Changed(PathBuf),
    /// Events were lost, so anything may have changed.
    Anything,
}

/// What has to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dirty {
    /// Every file.
    All,
    /// The tree, and of its known files those that look different.
    Some {
        /// Read even when they look the same as before.
        due: BTreeSet<PathBuf>,
        /// Not read yet, though they look different.
        unfinished: BTreeSet<PathBuf>,
    },
}

impl Dirty {
    /// Whether a file has to be left as it is for now.
    pub(super) fn is_unfinished(&self, path: &Path) -> bool {
        match self {
            Self::All => false,
            Self::Some { unfinished, .. } => unfinished.contains(path),
        }
    }

    /// Whether a file has to be read though it looks the same.
    pub(super) fn is_due(&self, path: &Path) -> bool {
        match self {
            Self::All => true,
            Self::Some { due, .. } => due.contains(path),
        }
    }
}

/// The files that wait to be read.
#[derive(Debug, Default)]
pub(super) struct Settling {
    waiting: BTreeMap<PathBuf, Waiting>,
    /// Set when events were lost.
    all_due: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    last: Instant,
    is_written: bool,
}

impl Waiting {
    fn due(&self) -> Instant {
        let patient_until = self.since + PATIENCE;
        if self.is_written {
            patient_until
        } else {
            patient_until.min(self.last + STILLNESS)
        }
    }
}

impl Settling {
    pub(super) fn handle_notice(&mut self, notice: Notice, now: Instant) {
        let (path, is_written) = match notice {
            Notice::Written(path) => (path, true),
            Notice::Changed(path) => (path, false),
            Notice::Anything => {
                self.all_due.get_or_insert(now + STILLNESS);
                return;
            }
        };
        let waiting = self.waiting.entry(path).or_insert(Waiting {
            since: now,
            last: now,
            is_written,
        });
        waiting.last = now;
        waiting.is_written = is_written;
    }

    /// When [`Self::take_dirty`] has something.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let first = self.waiting.values().map(Waiting::due).min();
        match (first, self.all_due) {
            (Some(first), Some(all)) => Some(first.min(all)),
            (first, all) => first.or(all),
        }
    }

    /// What is due; nothing is before [`Self::poll_timeout`].
    pub(super) fn take_dirty(&mut self, now: Instant) -> Option<Dirty> {
        if self.all_due.is_some_and(|due| due <= now) {
            self.all_due = None;
            self.waiting.clear();
            return Some(Dirty::All);
        }
        let due: BTreeSet<PathBuf> = self
            .waiting
            .extract_if(.., |_, waiting| waiting.due() <= now)
            .map(|(path, _)| path)
            .collect();
        if due.is_empty() {
            return None;
        }
        Some(Dirty::Some {
            due,
            unfinished: self.unfinished(),
        })
    }

    /// What to look at without any notice.
    pub(super) fn look_again(&self) -> Dirty {
        Dirty::Some {
            due: BTreeSet::new(),
            unfinished: self.unfinished(),
        }
    }

    fn unfinished(&self) -> BTreeSet<PathBuf> {
        let unfinished = self.waiting.iter().filter(|(_, w)| w.is_written);
        unfinished.map(|(path, _)| path.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
