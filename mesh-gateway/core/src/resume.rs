//! How far a peer's announcements are known here, kept from one session to the next.

use cluster_registry::store::Cursor;

use crate::session::Delivery;

/// The position that the next session with a peer offers to resume from.
///
/// Only the session that began last may move it: what an older one still says may already be ignored. Whoever forgets
/// what a peer said must [`Self::clear`] it, so that the next session brings a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Resume {
    cursor: Option<Cursor>,
    generation: Generation,
}

/// A session's right to move the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Generation(u64);

impl From<Cursor> for Resume {
    /// A position that is known from elsewhere.
    fn from(cursor: Cursor) -> Self {
        Self {
            cursor: Some(cursor),
            generation: Generation::default(),
        }
    }
}

impl Resume {
    /// The position, or `None` to ask for a snapshot.
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Asks for a snapshot next time, and takes the right to move the position from whoever has it.
    pub fn clear(&mut self) {
        self.cursor = None;
        self.begin();
    }

    /// Gives the right to move the position to a new session; older ones lose theirs.
    pub fn begin(&mut self) -> Generation {
        self.generation = Generation(self.generation.0 + 1);
        self.generation
    }

    /// Moves the position with what the owner of the peer's state is about to get, if the session has the right to.
    ///
    /// Half a snapshot is nothing to resume from.
    pub fn note(&mut self, generation: Generation, delivery: &Delivery) {
        if self.generation != generation {
            return;
        }
        match delivery {
            Delivery::SnapshotBegin => self.cursor = None,
            Delivery::Progress(cursor) => self.cursor = Some(*cursor),
            Delivery::Updates(_) | Delivery::SnapshotEnd => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use cluster_registry::store::{Epoch, Revision};

    use super::*;

    #[test]
    fn only_the_newest_session_moves_the_position() {
        let mut resume = Resume::default();
        let older = resume.begin();
        resume.note(older, &progress(1));
        let newer = resume.begin();

        resume.note(older, &progress(9));
        assert_eq!(resume.cursor(), Some(cursor(1)));

        resume.note(newer, &progress(2));
        assert_eq!(resume.cursor(), Some(cursor(2)));
    }

    #[test]
    fn a_cleared_position_is_not_set_by_a_session_from_before() {
        let mut resume = Resume::default();
        let session = resume.begin();

        resume.clear();
        resume.note(session, &progress(1));

        assert_eq!(resume.cursor(), None);
    }

    #[test]
    fn half_a_snapshot_is_nothing_to_resume_from() {
        let mut resume = Resume::default();
        let session = resume.begin();
        resume.note(session, &progress(1));

        resume.note(session, &Delivery::SnapshotBegin);
        resume.note(session, &Delivery::Updates(Vec::new()));
        resume.note(session, &Delivery::SnapshotEnd);
        assert_eq!(resume.cursor(), None);

        resume.note(session, &progress(2));
        assert_eq!(resume.cursor(), Some(cursor(2)));
    }

    fn progress(revision: u64) -> Delivery {
        Delivery::Progress(cursor(revision))
    }

    fn cursor(revision: u64) -> Cursor {
        Cursor::at(Epoch(1), Revision(revision))
    }
}
