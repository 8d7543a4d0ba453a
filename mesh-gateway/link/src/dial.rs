//! Keeps sessions with a peer's gateways: dials them, runs the sessions, and dials anew when they end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use certs::identity::SpiffeId;
use cluster_registry::link::PeerAddress;
use mesh_gateway_core::{
    backoff::Backoff,
    dialling::{Dialling, Output},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use crate::{
    attempt::Attempt,
    event::{PeerEvent, Report, SessionId},
    feed::Feed,
    listen::Subscribes,
    places,
    resume::Resume,
    settings::Settings,
};

/// The delay after the first failure.
const FIRST_BACKOFF: Duration = Duration::from_millis(20);

/// Keeps a session with each gateway of a peer, up to a limit, for as long as the process lives.
///
/// Who gets the events says which sessions are one too many, by their handles.
#[derive(Debug)]
pub struct Dialer {
    /// What all sessions have in common.
    pub settings: Settings,
    /// Who must answer.
    pub expected: SpiffeId,
    /// Where its gateways may be found; names are resolved anew before one is dialled again, and while any may be missing.
    pub addresses: Vec<PeerAddress>,
    /// What is published to it.
    pub feed: Feed,
    /// How far its announcements are known.
    pub resume: Resume,
    /// When its state is asked for.
    pub subscribes: Subscribes,
    /// Whether who gets the events answers [`PeerEvent::Compare`].
    pub compares: bool,
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
        let shutdown = shutdown.child_token();
        let backoff = Backoff::new(FIRST_BACKOFF, self.max_backoff, self.seed);
        let mut dialling = Dialling::new(self.addresses.len(), backoff, now());
        let dialer = Arc::new(self);
        let (mut searches, mut attempts) = (JoinSet::new(), JoinSet::new());
        let mut ups = JoinSet::new();
        let closing = TaskTracker::new();
        loop {
            dialling.handle_timeout(now());
            while let Some(output) = dialling.poll_output() {
                match output {
                    Output::Resolve(place) => match dialer.literal(place) {
                        Some(found) => dialling.handle_resolved(place, Some(found), now()),
                        None => dialer.search(place, &shutdown, &mut searches),
                    },
                    Output::Dial(address) => {
                        let (up_tx, up) = oneshot::channel();
                        ups.spawn(when_up(address, up));
                        let absent_since = dialling.absent_since(address);
                        let attempt = Attempt {
                            dialer: Arc::clone(&dialer),
                            address,
                            absence: absent_since.map_or(Duration::ZERO, |since| now() - since),
                            closing: closing.clone(),
                            shutdown: shutdown.clone(),
                        };
                        attempts.spawn(attempt.run(up_tx));
                    }
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = dialer.events.closed() => break,
                Some(Ok((place, found))) = searches.join_next() => {
                    dialling.handle_resolved(place, found, now());
                }
                Some(Ok(up)) = ups.join_next() => up.into_iter().for_each(|at| dialling.handle_up(at)),
                Some(Ok((address, outcome))) = attempts.join_next() => {
                    dialling.handle_ended(address, outcome, now());
                }
                () = sleep_until(dialling.poll_timeout()) => {}
            }
        }
        // Whatever ended the loop ends the sessions, and their goodbyes leave.
        shutdown.cancel();
        while attempts.join_next().await.is_some() {}
        closing.close();
        closing.wait().await;
    }

    /// The address of a place that is not a name, for which nobody need be asked.
    fn literal(&self, place: usize) -> Option<Vec<SocketAddr>> {
        let address = places::literal(self.addresses.get(place)?)?;
        Some(vec![address])
    }

    fn search(
        self: &Arc<Self>,
        place: usize,
        shutdown: &CancellationToken,
        searches: &mut JoinSet<(usize, Option<Vec<SocketAddr>>)>,
    ) {
        searches.spawn(Arc::clone(self).resolve(place, shutdown.clone()));
    }

    /// Finds the addresses of a place; `None` when it is not found.
    async fn resolve(
        self: Arc<Self>,
        place: usize,
        shutdown: CancellationToken,
    ) -> (usize, Option<Vec<SocketAddr>>) {
        let Some(address) = self.addresses.get(place) else {
            return (place, None);
        };
        match places::resolve(address).await {
            Ok(found) => (place, Some(found)),
            Err(failure) => {
                self.say_unreachable(None, failure.to_string(), &shutdown)
                    .await;
                (place, None)
            }
        }
    }

    pub(crate) async fn say_unreachable(
        &self,
        address: Option<SocketAddr>,
        reason: String,
        shutdown: &CancellationToken,
    ) {
        debug!(peer = %self.expected, ?address, reason, "peer is unreachable");
        let report = Report {
            session: SessionId::next(),
            peer: Arc::new(self.expected.clone()),
            event: PeerEvent::Unreachable { address, reason },
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            // Without an owner there is nobody to tell, and the caller ends.
            sent = self.events.send(report) => drop(sent),
        }
    }
}

/// The address, once its session is up; `None` if the attempt ends before.
async fn when_up(address: SocketAddr, up: oneshot::Receiver<()>) -> Option<SocketAddr> {
    up.await.ok().map(|()| address)
}

/// The time by the runtime's clock, which the deadlines are slept by.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

async fn sleep_until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
