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
    /// Whether anything is known that a peer's digests can be compared with.
    holds_some: bool,
    generation: Generation,
}

/// What a session offers its peer to continue from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offer {
    /// The position up to which all is known.
    pub cursor: Option<Cursor>,
    /// Whether what is known can be compared with what the peer has, by digests.
    pub compare: bool,
}

/// A session's right to move the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Generation(u64);

impl From<Cursor> for Resume {
    /// A position that is known from elsewhere.
    fn from(cursor: Cursor) -> Self {
        Self {
            cursor: Some(cursor),
            holds_some: true,
            generation: Generation::default(),
        }
    }
}

impl Resume {
    /// The position, or `None` to ask for a snapshot.
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// What the next session offers.
    pub fn offer(&self) -> Offer {
        Offer {
            cursor: self.cursor,
            compare: self.holds_some,
        }
    }

    /// Something is known, from elsewhere, of what the peer said, though not up to a position.
    pub fn holding_some(mut self) -> Self {
        self.holds_some = true;
        self
    }

    /// Asks for a snapshot next time, and takes the right to move the position from whoever has it.
    pub fn clear(&mut self) {
        self.cursor = None;
        self.holds_some = false;
        self.begin();
    }

    /// Gives the right to move the position to a new session; older ones lose theirs.
    pub fn begin(&mut self) -> Generation {
        self.generation = Generation(self.generation.0 + 1);
        self.generation
    }

    /// Moves the position with what the owner of the peer's state is about to get, if the session has the right to.
    ///
    /// Half a snapshot is nothing to resume from, though something to compare with.
    pub fn note(&mut self, generation: Generation, delivery: &Delivery) {
        if self.generation != generation {
            return;
        }
        match delivery {
            Delivery::SnapshotBegin(_) => {
                self.cursor = None;
                self.holds_some = true;
            }
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

        resume.note(session, &Delivery::SnapshotBegin(Vec::new()));
        resume.note(session, &Delivery::Updates(Vec::new()));
        resume.note(session, &Delivery::SnapshotEnd);
        let offer = Offer {
            cursor: None,
            compare: true,
        };
        assert_eq!(resume.offer(), offer);

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
