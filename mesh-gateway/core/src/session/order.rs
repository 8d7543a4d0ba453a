//! What counts of state that arrives on several streams: for each key the newest, whichever stream is faster.
//!
//! The publisher says its changes in batches: each ends with a Progress on the stream of ordinary updates, and has a key
//! once. Two rules are enough. A Progress waits for the urgent frames that it counts, so that ordinary updates never
//! overtake urgent ones; an urgent update of a later batch than the ordinary stream is in beats what that stream still
//! says of its key. And what stands in a snapshot is older than what any batch says that ends after the snapshot began.

use std::collections::{BTreeMap, BTreeSet};

use cluster_registry::resource::Key;

use crate::{
    limits::{MAX_SAID_IN_SNAPSHOT, MAX_URGENT_AHEAD},
    update::Update,
};

/// The order of one publisher's streams.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The batch that the ordinary stream is in: how many Progress messages were taken.
    batch: u64,
    urgent_frames: u64,
    /// Urgent updates that the ordinary stream has not come to.
    ahead: BTreeMap<Key, (u64, Update)>,
    /// During a snapshot, what was said since it began.
    said: Option<BTreeSet<Key>>,
}

impl Order {
    /// Notes a frame of urgent updates; returns whether its batch may be.
    pub(super) fn take_urgent(&mut self, batch: u64, updates: &[Update]) -> bool {
        if batch < self.batch {
            return false;
        }
        self.urgent_frames += 1;
        for update in updates {
            self.note_said(&update.key);
            self.ahead
                .insert(update.key.clone(), (batch, update.clone()));
        }
        true
    }

    /// Keeps of ordinary updates what no urgent one has overtaken.
    pub(super) fn take_ordinary(&mut self, updates: &mut Vec<Update>) {
        let batch = self.batch;
        updates.retain(|update| {
            let ahead = self.ahead.get(&update.key);
            ahead.is_none_or(|(urgent, _)| *urgent <= batch)
        });
        for update in updates {
            self.note_said(&update.key);
        }
    }

    /// Keeps of a snapshot what nothing newer was said of.
    pub(super) fn take_bulk(&self, updates: &mut Vec<Update>) {
        if let Some(said) = &self.said {
            updates.retain(|update| !said.contains(&update.key));
        }
    }

    /// Whether the urgent frames that a Progress counts are here.
    pub(super) fn has_urgent(&self, frames: u64) -> bool {
        self.urgent_frames >= frames
    }

    /// A batch has ended.
    pub(super) fn end_batch(&mut self) {
        self.batch += 1;
        let batch = self.batch;
        self.ahead.retain(|_, (urgent, _)| *urgent >= batch);
    }

    /// A snapshot begins here in the ordinary stream; returns what was said already that comes after it.
    pub(super) fn begin_snapshot(&mut self) -> Vec<Update> {
        self.said = Some(self.ahead.keys().cloned().collect());
        let ahead = self.ahead.values();
        ahead.map(|(_, update)| update.clone()).collect()
    }

    pub(super) fn end_snapshot(&mut self) {
        self.said = None;
    }

    /// Whether more urgent updates can be remembered.
    pub(super) fn has_room_ahead(&self) -> bool {
        self.ahead.len() < MAX_URGENT_AHEAD
    }

    /// Whether more can be remembered of what is said during a snapshot.
    pub(super) fn has_room_in_snapshot(&self) -> bool {
        let said = self.said.as_ref();
        said.is_none_or(|said| said.len() < MAX_SAID_IN_SNAPSHOT)
    }

    fn note_said(&mut self, key: &Key) {
        if let Some(said) = &mut self.said {
            said.insert(key.clone());
        }
    }
}
