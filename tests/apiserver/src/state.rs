//! What requests share: the API behind a lock, the faults, and what wakes the watches.

use std::{
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::{
    api::Api,
    faults::{Faults, Tally},
};

/// How often a watch hears how far it is when nothing else happens.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(10);

/// The shared state.
#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// Moves whenever a watch may have something to say.
    changed: watch::Sender<u64>,
    pub(crate) bookmark_interval: Duration,
    /// The folder that every write is kept in.
    data: Option<PathBuf>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) api: Api,
    pub(crate) faults: Faults,
    pub(crate) tally: Tally,
    /// How far the server's clock is ahead of the machine's.
    pub(crate) clock_ahead: Duration,
    /// Watches that began under an older number end.
    pub(crate) watch_life: u64,
    /// The watches that are open, by plural.
    pub(crate) open_watches: std::collections::BTreeMap<String, usize>,
    changes: u64,
}

impl Inner {
    pub(crate) fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        now.checked_add(self.clock_ahead).unwrap_or(now)
    }
}

impl Shared {
    pub(crate) fn new(api: Api, data: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                api,
                faults: Faults::default(),
                tally: Tally::default(),
                clock_ahead: Duration::ZERO,
                watch_life: 0,
                open_watches: std::collections::BTreeMap::new(),
                changes: 0,
            }),
            changed: watch::Sender::new(0),
            bookmark_interval: BOOKMARK_INTERVAL,
            data,
        })
    }

    /// Reads or changes the state, and wakes the watches when something was written.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let before = inner.api.store.revision();
        let result = work(&mut inner);
        if inner.api.store.revision() != before {
            self.keep(&inner.api);
            inner.changes += 1;
            self.changed.send_replace(inner.changes);
        }
        result
    }

    /// Changes the state and wakes the watches in any case.
    pub(crate) fn wake<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let result = work(&mut inner);
        inner.changes += 1;
        self.changed.send_replace(inner.changes);
        result
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Before anybody is told, so that a killed server never comes back older than what it has answered.
    fn keep(&self, api: &Api) {
        let Some(folder) = &self.data else { return };
        if let Err(error) = api.save(folder) {
            // The write stands in memory; whoever runs the server reads why it will not outlive it.
            drop(writeln!(std::io::stderr(), "{error:#}"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
