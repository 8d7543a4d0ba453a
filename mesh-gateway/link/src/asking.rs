//! The questions of a session to the owners of what it publishes and of what is known of its peer.

use std::{future::Future, pin::Pin};

use cluster_registry::digest::Step;
use mesh_gateway_core::{
    limits::FETCH_LIMIT,
    question::{Answer, Question},
};
use tokio::sync::{mpsc, oneshot};

use crate::feed::{Feed, FetchRequest};

/// An answer of the store on its way; `None` when its owner is gone.
type Awaited = Pin<Box<dyn Future<Output = Option<Answer>> + Send>>;

/// The questions of one half of the publisher.
#[derive(Default)]
pub(crate) struct Questions {
    /// What is to be asked.
    pub(crate) wanted: Option<Question>,
    awaited: Option<Awaited>,
}

impl Questions {
    /// Whether an answer is on its way.
    pub(crate) fn is_asking(&self) -> bool {
        self.awaited.is_some()
    }

    /// Asks the store's owner.
    pub(crate) fn ask(&mut self, feed: &Feed, question: Question) {
        self.awaited = Some(ask(feed, question));
    }

    /// The answer, once there is one. Cancel safe.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        match &mut self.awaited {
            Some(awaited) => {
                let answer = awaited.await;
                self.awaited = None;
                answer
            }
            None => std::future::pending().await,
        }
    }
}

/// What the owner of what is known of the peer answers to a comparison; `None` when it does not.
pub(crate) async fn step_of(compared: Option<&mut mpsc::Receiver<Step>>) -> Option<Step> {
    match compared {
        Some(compared) => compared.recv().await,
        None => std::future::pending().await,
    }
}

fn ask(feed: &Feed, question: Question) -> Awaited {
    let requests = feed.requests.clone();
    let epoch = feed.epoch();
    Box::pin(async move {
        let (reply, answer) = oneshot::channel();
        let request = FetchRequest {
            epoch,
            question,
            limit: FETCH_LIMIT,
            reply,
        };
        requests.send(request).await.ok()?;
        answer.await.ok()
    })
}
