//! Keeps one session with a peer: dials, runs the session, and dials anew when it ends.

use std::{net::SocketAddr, time::Duration};

use certs::identity::SpiffeId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{event::Report, feed::Feed, resume::Resume, settings::Settings};

/// Keeps one session with a peer, for as long as the process lives.
#[derive(Debug)]
pub struct Dialer {
    /// What all sessions have in common.
    pub settings: Settings,
    /// Who must answer.
    pub expected: SpiffeId,
    /// Where it may be found; tried in turn.
    pub addresses: Vec<SocketAddr>,
    /// What is published to it.
    pub feed: Feed,
    /// How far its announcements are known.
    pub resume: Resume,
    /// Where its events go.
    pub events: mpsc::Sender<Report>,
    /// The longest time between the starts of two attempts.
    pub max_backoff: Duration,
    /// Where the jitter of the backoff starts; different in each process, so that they do not dial in step.
    pub seed: u64,
}

impl Dialer {
    /// Dials until the token is cancelled or the receiver of the events is gone, then says goodbye.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.cancelled().await;
    }
}
