//! How far the peer's announcements are known here, shared by the sessions with it and the owner of its state.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cluster_registry::store::Cursor;
use mesh_gateway_core::{
    resume::{Generation, Offer, Resume as Position},
    session::Delivery,
};

/// The position that the next session with a peer offers to resume from.
///
/// The newest session moves it as it reports progress. Whoever forgets what a peer said must [`Resume::clear`] it, so that
/// the next session brings a snapshot; a session that is already up is then closed by its handle.
#[derive(Debug, Clone, Default)]
pub struct Resume(Arc<Mutex<Position>>);

impl From<Cursor> for Resume {
    /// A position that is known from elsewhere.
    fn from(cursor: Cursor) -> Self {
        Self(Arc::new(Mutex::new(Position::from(cursor))))
    }
}

impl Resume {
    /// Something is known of what the peer said, though not up to a position.
    pub fn holding_some() -> Self {
        Self(Arc::new(Mutex::new(Position::default().holding_some())))
    }

    /// The position, or `None` to ask for a snapshot.
    pub fn get(&self) -> Option<Cursor> {
        self.lock().cursor()
    }

    /// Asks for a snapshot next time.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// What a new session resumes from, and its right to move it; older sessions lose theirs.
    pub(crate) fn begin(&self) -> (Offer, ResumeWriter) {
        let mut position = self.lock();
        let writer = ResumeWriter {
            resume: self.clone(),
            generation: position.begin(),
        };
        (position.offer(), writer)
    }

    fn lock(&self) -> MutexGuard<'_, Position> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session's right to move the position.
#[derive(Debug)]
pub(crate) struct ResumeWriter {
    resume: Resume,
    generation: Generation,
}

impl ResumeWriter {
    /// Moves the position with what the owner of the peer's state is about to get.
    pub(crate) fn note(&self, delivery: &Delivery) {
        self.resume.lock().note(self.generation, delivery);
    }
}
