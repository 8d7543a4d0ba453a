//! The feed: how a session reads the store that it publishes, without owning it.

use cluster_registry::store::{Cursor, Epoch, Store};
use mesh_gateway_core::question::{Answer, Question, Reader};
use tokio::sync::{mpsc, oneshot, watch};

/// How many requests may wait for the store's owner: one for each session that is catching up at the same time.
const REQUEST_DEPTH: usize = 64;

/// A question to a store.
#[derive(Debug)]
pub struct FetchRequest {
    /// The epoch of the feed that it was made through, which tells feeds apart that share their requests' receiver.
    pub epoch: Epoch,
    /// What is asked.
    pub question: Question,
    /// The most resources to give.
    pub limit: usize,
    /// Where the answer goes; dropping it ends the session.
    pub reply: oneshot::Sender<Answer>,
}

impl FetchRequest {
    /// Answers from a store.
    pub fn answer(self, store: &Store, reader: &mut Reader) {
        let answer = reader.answer(store, &self.question, self.limit);
        // A session that has ended meanwhile needs no answer.
        drop(self.reply.send(answer));
    }
}

/// The reading end of a store, shared by any number of sessions; they end when either of its other ends is dropped.
#[derive(Debug, Clone)]
pub struct Feed {
    /// Where a reader that knows everything stands; always of the same epoch.
    pub newest: watch::Receiver<Cursor>,
    /// Where requests go.
    pub requests: mpsc::Sender<FetchRequest>,
}

impl Feed {
    /// The epoch of the store that it reads.
    pub fn epoch(&self) -> Epoch {
        self.newest.borrow().epoch
    }
}

/// The end of a [`Feed`] that the store's owner holds.
#[derive(Debug)]
pub struct FeedServer {
    newest: watch::Sender<Cursor>,
    requests: mpsc::Receiver<FetchRequest>,
}

impl FeedServer {
    /// A feed and its server.
    pub fn new(newest: Cursor) -> (Feed, Self) {
        let (newest_tx, newest_rx) = watch::channel(newest);
        let (requests_tx, requests_rx) = mpsc::channel(REQUEST_DEPTH);
        let feed = Feed {
            newest: newest_rx,
            requests: requests_tx,
        };
        let server = Self {
            newest: newest_tx,
            requests: requests_rx,
        };
        (feed, server)
    }

    /// Tells all sessions where the store stands; call it after each change.
    pub fn publish(&self, newest: Cursor) {
        self.newest.send_if_modified(|known| {
            let is_new = *known != newest;
            *known = newest;
            is_new
        });
    }

    /// The next request; `None` once every [`Feed`] is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<FetchRequest> {
        self.requests.recv().await
    }
}
