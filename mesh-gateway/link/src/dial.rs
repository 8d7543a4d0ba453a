//! Keeps sessions with a peer's gateways: dials them, runs the sessions, and dials anew when they end.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use certs::{identity::SpiffeId, tls::Expectation};
use cluster_registry::link::PeerAddress;
use mesh_gateway_core::{
    backoff::Backoff,
    dialling::{Dialling, Outcome, Output},
    limits::OPENING_TIMEOUT,
    reason::{DownReason, GoodbyeReason},
};
use quinn::{Connection, ConnectionError, Endpoint, VarInt};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    drive::{Drive, Ended, Peer},
    event::{PeerEvent, Report, SessionId},
    feed::Feed,
    identity::{self, Shown},
    listen::{Grant, Subscribes},
    places,
    resume::Resume,
    settings::Settings,
    streams::Streams,
    transport::{self, TransportError},
};

/// The delay after the first failure.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// How long a handshake may take.
///
/// Its packets are repeated ever more rarely, so a fresh attempt finds a healed path sooner than an old one does. It
/// leaves room for two lost packets at a round trip of 300 ms.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long the last packets of a connection are waited for; then the socket is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(250);

/// The name in the TLS handshake; identities are compared instead, so it only has to be one.
const SERVER_NAME: &str = "isthmus";

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

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("no socket: {0}")]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Connect(#[from] quinn::ConnectError),
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("no answer")]
    NoAnswer(#[from] tokio::time::error::Elapsed),
    #[error("{0}")]
    NotUp(DownReason),
    #[error("answered by {found}")]
    WrongIdentity { found: String },
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
        loop {
            dialling.handle_timeout(now());
            while let Some(output) = dialling.poll_output() {
                match output {
                    Output::Resolve(place) => {
                        searches.spawn(Arc::clone(&dialer).resolve(place, shutdown.clone()));
                    }
                    Output::Dial(address) => {
                        let (up_tx, up) = oneshot::channel();
                        ups.spawn(when_up(address, up));
                        let dialer = Arc::clone(&dialer);
                        attempts.spawn(dialer.attempt(address, up_tx, shutdown.clone()));
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

    /// One attempt and the session that it leads to.
    async fn attempt(
        self: Arc<Self>,
        address: SocketAddr,
        up: oneshot::Sender<()>,
        shutdown: CancellationToken,
    ) -> (SocketAddr, Outcome) {
        let outcome = match self.dial(address, up, &shutdown).await {
            Ok(outcome) => outcome,
            Err(failure) => {
                self.say_unreachable(Some(address), failure.to_string(), &shutdown)
                    .await;
                Outcome::Failed
            }
        };
        (address, outcome)
    }

    /// Dials one address, and runs the session.
    async fn dial(
        &self,
        address: SocketAddr,
        up: oneshot::Sender<()>,
        shutdown: &CancellationToken,
    ) -> Result<Outcome, DialError> {
        let session = SessionId::next();
        debug!(%session, peer = %self.expected, %address, "dialling");
        let connected = tokio::select! {
            () = shutdown.cancelled() => return Ok(Outcome::Failed),
            connected = timeout(HANDSHAKE_TIMEOUT, self.connect(address)) => connected,
        };
        let (endpoint, connection, shown) = connected??;
        let peer = Peer {
            session,
            id: Arc::new(shown.id),
            address,
            expires: shown.expires,
        };
        let ended = self.run_session(peer, connection, up, shutdown).await;
        // The goodbye must leave before the socket is gone.
        if timeout(CLOSE_TIMEOUT, endpoint.wait_idle()).await.is_err() {
            debug!(%session, "closed before the peer took note");
        }
        let Ended { up_since, reason } = ended?;
        let is_redundant = [GoodbyeReason::Duplicate, GoodbyeReason::TooManyReplicas]
            .map(DownReason::EndedHere)
            .contains(&reason);
        match up_since {
            None => Err(DialError::NotUp(reason)),
            Some(_) if is_redundant => Ok(Outcome::Redundant),
            Some(since) => Ok(Outcome::WasUp(since.into_std())),
        }
    }

    async fn connect(
        &self,
        address: SocketAddr,
    ) -> Result<(Endpoint, Connection, Shown), DialError> {
        let expectation = Expectation {
            cluster: self.expected.cluster.clone(),
        };
        let config = transport::client(&self.settings.credentials, expectation)?;
        let unspecified = match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let endpoint = Endpoint::client(SocketAddr::new(unspecified, 0))?;
        let connection = endpoint.connect_with(config, address, SERVER_NAME)?.await?;
        match identity::of(&connection) {
            Some(shown) if shown.id == self.expected => Ok((endpoint, connection, shown)),
            found => {
                let code = VarInt::from_u32(GoodbyeReason::NotAuthorised.code());
                connection.close(code, GoodbyeReason::NotAuthorised.label().as_bytes());
                let found = found.map_or_else(|| "nobody".to_owned(), |shown| shown.id.to_string());
                Err(DialError::WrongIdentity { found })
            }
        }
    }

    async fn run_session(
        &self,
        peer: Peer,
        connection: Connection,
        up: oneshot::Sender<()>,
        shutdown: &CancellationToken,
    ) -> Result<Ended, DialError> {
        let streams = timeout(OPENING_TIMEOUT, Streams::open(&connection)).await??;
        let grant = Grant {
            feed: self.feed.clone(),
            resume: self.resume.clone(),
            subscribes: self.subscribes,
            compares: self.compares,
            events: self.events.clone(),
        };
        let drive = Drive::new(&self.settings, peer, connection, streams, grant).telling(up);
        Ok(drive.run(shutdown).await)
    }

    async fn say_unreachable(
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
