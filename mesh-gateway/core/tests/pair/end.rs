//! One end of a connection: what it publishes, and what it knows of the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use cluster_registry::{
    digest::{Step, StoreDigests, Summary},
    resource::{Key, Resource},
    store::{Epoch, Store},
};
use mesh_gateway_core::{
    codec::Decoder,
    convert::encode_for_digest,
    question::Reader,
    reason::DownReason,
    resume::{Generation, Resume},
    session::{Delivery, Features, Session},
};

/// One end: what it publishes and what it knows of the other.
pub(crate) struct End {
    pub(crate) store: Store,
    pub(crate) known: BTreeMap<Key, Resource>,
    pub(crate) unsaid: BTreeSet<Key>,
    pub(crate) resume: Resume,
    pub(crate) generation: Generation,
    pub(crate) session: Option<Session>,
    /// What arrived and was not read, by channel.
    pub(crate) decoders: [Decoder; 4],
    pub(crate) reader: Reader,
    /// What the session can do.
    pub(crate) features: Features,
    /// How much longer than others frames of each channel travel.
    pub(crate) delays: [Duration; 4],
    pub(crate) ups: Vec<bool>,
    pub(crate) downs: Vec<(Instant, DownReason)>,
    pub(crate) snapshots: usize,
    pub(crate) state_bytes: usize,
}

impl End {
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            store: Store::new(Epoch(epoch)),
            known: BTreeMap::new(),
            unsaid: BTreeSet::new(),
            resume: Resume::default(),
            generation: Generation::default(),
            session: None,
            decoders: Default::default(),
            reader: Reader::new(None),
            features: Features::ALL,
            delays: [Duration::ZERO; 4],
            ups: Vec::new(),
            downs: Vec::new(),
            snapshots: 0,
            state_bytes: 0,
        }
    }

    pub(crate) fn compare(&self, theirs: &[Summary]) -> Step {
        let mut store = Store::new(Epoch(0));
        for (key, value) in &self.known {
            store.put(key.clone(), value.clone(), None);
        }
        StoreDigests::new(encode_for_digest, None).compare(&store, theirs)
    }

    pub(crate) fn take(&mut self, delivery: Delivery) {
        self.resume.note(self.generation, &delivery);
        match delivery {
            Delivery::SnapshotBegin(ranges) => {
                let is_inside = |key: &&Key| ranges.iter().any(|range| range.contains(key));
                self.unsaid = self.known.keys().filter(is_inside).cloned().collect();
            }
            Delivery::Updates(updates) => {
                for update in updates {
                    self.unsaid.remove(&update.key);
                    match update.value {
                        Some(value) => self.known.insert(update.key, value),
                        None => self.known.remove(&update.key),
                    };
                }
            }
            Delivery::SnapshotEnd => {
                self.snapshots += 1;
                for key in std::mem::take(&mut self.unsaid) {
                    self.known.remove(&key);
                }
            }
            Delivery::Progress(_) => {}
        }
    }
}
