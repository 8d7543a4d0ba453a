//! How far the peer's announcements are known here, kept from one session to the next.

use std::sync::{Arc, Mutex, PoisonError};

use cluster_registry::store::Cursor;

/// The position that the next session with a peer offers to resume from.
///
/// Sessions set it as they report progress. Whoever forgets what a peer said must [`Resume::clear`] it, so that the
/// next session brings a snapshot; a session that is already up is then closed by its handle.
#[derive(Debug, Clone, Default)]
pub struct Resume(Arc<Mutex<Option<Cursor>>>);

impl Resume {
    /// The position, or `None` to ask for a snapshot.
    pub fn get(&self) -> Option<Cursor> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a snapshot next time.
    pub fn clear(&self) {
        self.store(None);
    }

    pub(crate) fn set(&self, cursor: Cursor) {
        self.store(Some(cursor));
    }

    fn store(&self, cursor: Option<Cursor>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = cursor;
    }
}
