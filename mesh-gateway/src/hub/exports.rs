//! What each peer may know: a feed for each link, all served from the one store of exports.

use std::collections::BTreeMap;

use cluster_registry::{
    import::Namespaces,
    store::{Cursor, Epoch, Scope, Store},
};
use mesh_gateway_core::question::Reader;
use mesh_link::feed::{Feed, FetchRequest};
use tokio::sync::{mpsc, watch};

/// How many requests may wait: one for each session that is catching up at the same time.
const REQUEST_DEPTH: usize = 64;

/// The feeds of all links.
#[derive(Debug)]
pub(super) struct Exports {
    /// The epoch of the next feed.
    next_epoch: Epoch,
    feeds: BTreeMap<Epoch, (Reader, watch::Sender<Cursor>)>,
    requests_tx: mpsc::Sender<FetchRequest>,
    requests_rx: mpsc::Receiver<FetchRequest>,
}

impl Exports {
    /// No feed yet; the feeds' epochs count up from a number above those of earlier lives.
    pub(super) fn new(first_epoch: Epoch) -> Self {
        let (requests_tx, requests_rx) = mpsc::channel(REQUEST_DEPTH);
        Self {
            next_epoch: first_epoch,
            feeds: BTreeMap::new(),
            requests_tx,
            requests_rx,
        }
    }

    /// A new feed of some namespaces, with an epoch that no other had: what its readers know counts in it only.
    pub(super) fn open(&mut self, store: &Store, namespaces: &Namespaces) -> Feed {
        let epoch = self.next_epoch;
        self.next_epoch = Epoch(epoch.0 + 1);
        let scope = Scope::new(epoch, namespaces.clone());
        let reader = Reader::new(Some(scope));
        let (newest_tx, newest) = watch::channel(reader.cursor(store));
        self.feeds.insert(epoch, (reader, newest_tx));
        Feed {
            newest,
            requests: self.requests_tx.clone(),
        }
    }

    /// Ends a feed, and with it the sessions that read it.
    pub(super) fn close(&mut self, feed: &Feed) {
        self.feeds.remove(&feed.epoch());
    }

    /// Tells all sessions where the store stands.
    pub(super) fn publish(&self, store: &Store) {
        for (reader, newest) in self.feeds.values() {
            let cursor = reader.cursor(store);
            newest.send_if_modified(|known| {
                let is_new = *known != cursor;
                *known = cursor;
                is_new
            });
        }
    }

    /// The next request. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<FetchRequest> {
        self.requests_rx.recv().await
    }

    /// Answers a request; one through a feed that has ended gets no answer, which ends its session.
    pub(super) fn answer(&mut self, request: FetchRequest, store: &Store) {
        if let Some((reader, _)) = self.feeds.get_mut(&request.epoch) {
            request.answer(store, reader);
        }
    }
}
