//! A subscriber of a store, as naive as it can be.

use std::collections::BTreeMap;

use crate::{
    resource::{Key, Resource},
    store::{Cursor, Store},
};

/// A subscriber: what it knows, and how far; it begins a snapshot anew when it cannot resume.
pub(super) struct Reader {
    limit: usize,
    pub(super) cursor: Option<Cursor>,
    pub(super) known: BTreeMap<Key, Resource>,
    /// During a snapshot, what was known before it and has not been said again.
    unsaid: Vec<Key>,
}

impl Reader {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            cursor: None,
            known: BTreeMap::new(),
            unsaid: Vec::new(),
        }
    }

    pub(super) fn read(&mut self, store: &Store) {
        self.read_page(store);
    }

    pub(super) fn read_to_the_end(&mut self, store: &Store) {
        while !self.read_page(store) {}
    }

    fn read_page(&mut self, store: &Store) -> bool {
        let batch = match store.changes_after(self.cursor, self.limit) {
            Ok(batch) => batch,
            Err(_) => {
                self.cursor = None;
                store.changes_after(None, self.limit).unwrap()
            }
        };
        if self.cursor.is_none() {
            self.unsaid = self.known.keys().cloned().collect();
        }
        for change in batch.changes {
            self.unsaid.retain(|key| *key != change.key);
            match change.value {
                Some(value) => self.known.insert(change.key, value),
                None => self.known.remove(&change.key),
            };
        }
        if batch.is_last {
            for key in self.unsaid.drain(..) {
                self.known.remove(&key);
            }
        }
        self.cursor = Some(batch.cursor);
        batch.is_last
    }
}
