//! How far the peer's announcements are known here, kept from one session to the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cluster_registry::store::Cursor;

/// The position that the next session with a peer offers to resume from.
///
/// The newest session sets it as it reports progress. Whoever forgets what a peer said must [`Resume::clear`] it, so that
/// the next session brings a snapshot; a session that is already up is then closed by its handle.
#[derive(Debug, Clone, Default)]
pub struct Resume(Arc<Mutex<Position>>);

#[derive(Debug, Default)]
struct Position {
    cursor: Option<Cursor>,
    /// Only the session that began last may write; what an older one still says may already be ignored.
    generation: u64,
}

impl From<Cursor> for Resume {
    /// A position that is known from elsewhere.
    fn from(cursor: Cursor) -> Self {
        Self(Arc::new(Mutex::new(Position {
            cursor: Some(cursor),
            generation: 0,
        })))
    }
}

impl Resume {
    /// The position, or `None` to ask for a snapshot.
    pub fn get(&self) -> Option<Cursor> {
        self.lock().cursor
    }

    /// Asks for a snapshot next time.
    pub fn clear(&self) {
        let mut position = self.lock();
        position.cursor = None;
        position.generation += 1;
    }

    /// The right of a new session to write; older ones lose theirs.
    pub(crate) fn begin(&self) -> ResumeWriter {
        let mut position = self.lock();
        position.generation += 1;
        ResumeWriter {
            resume: self.clone(),
            generation: position.generation,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Position> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session's right to write.
#[derive(Debug)]
pub(crate) struct ResumeWriter {
    resume: Resume,
    generation: u64,
}

impl ResumeWriter {
    /// Sets the position, unless a newer session has begun or the position was cleared.
    pub(crate) fn set(&self, cursor: Option<Cursor>) {
        let mut position = self.resume.lock();
        if position.generation == self.generation {
            position.cursor = cursor;
        }
    }
}

#[cfg(test)]
mod tests {
    use cluster_registry::store::{Epoch, Revision};

    use super::*;

    #[test]
    fn only_the_newest_session_moves_the_position() {
        let resume = Resume::default();
        let older = resume.begin();
        older.set(Some(cursor(1)));
        let newer = resume.begin();

        older.set(Some(cursor(9)));
        assert_eq!(resume.get(), Some(cursor(1)));

        newer.set(Some(cursor(2)));
        assert_eq!(resume.get(), Some(cursor(2)));
    }

    #[test]
    fn a_cleared_position_is_not_set_by_a_session_from_before() {
        let resume = Resume::default();
        let session = resume.begin();

        resume.clear();
        session.set(Some(cursor(1)));

        assert_eq!(resume.get(), None);
    }

    fn cursor(revision: u64) -> Cursor {
        Cursor::at(Epoch(1), Revision(revision))
    }
}
