//! Keeps one session with a peer: dials, runs the session, and dials anew when it ends.

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
    limits::OPENING_TIMEOUT,
    reason::{DownReason, GoodbyeReason},
};
use quinn::{Connection, ConnectionError, Endpoint, VarInt};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    drive::{Drive, Ended, Peer},
    event::{PeerEvent, Report, SessionId},
    feed::Feed,
    identity::{self, Shown},
    listen::{Grant, Subscribes},
    places::{PlaceError, Places},
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

/// Keeps one session with a peer, for as long as the process lives.
#[derive(Debug)]
pub struct Dialer {
    /// What all sessions have in common.
    pub settings: Settings,
    /// Who must answer.
    pub expected: SpiffeId,
    /// Where it may be found; tried in turn, names resolved each time.
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
    Place(#[from] PlaceError),
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
        let mut backoff = Backoff::new(FIRST_BACKOFF, self.max_backoff, self.seed);
        let mut places = Places::new(&self.addresses);
        while !shutdown.is_cancelled() && !self.events.is_closed() {
            let started = Instant::now();
            let up_since = self.attempt(&mut places, &shutdown).await;
            if up_since.is_some() {
                places.stay();
            }
            let next = backoff.next_start(
                started.into_std(),
                up_since.map(Instant::into_std),
                Instant::now().into_std(),
            );
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep_until(next.into()) => {}
            }
        }
    }

    /// One attempt and the session that it leads to; says when the session came up.
    async fn attempt(
        &self,
        places: &mut Places<'_>,
        shutdown: &CancellationToken,
    ) -> Option<Instant> {
        let found = tokio::select! {
            () = shutdown.cancelled() => return None,
            found = places.next() => found,
        };
        let (address, failure) = match found {
            Err(failure) => (None, DialError::from(failure)),
            Ok(address) => match self.dial(address, shutdown).await {
                Ok(up_since) => return up_since,
                Err(failure) => (Some(address), failure),
            },
        };
        self.say_unreachable(address, failure.to_string(), shutdown)
            .await;
        None
    }

    /// Dials one address, and runs the session; `None` when the shutdown came first.
    async fn dial(
        &self,
        address: SocketAddr,
        shutdown: &CancellationToken,
    ) -> Result<Option<Instant>, DialError> {
        let session = SessionId::next();
        debug!(%session, peer = %self.expected, %address, "dialling");
        let connected = tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            connected = timeout(HANDSHAKE_TIMEOUT, self.connect(address)) => connected,
        };
        let (endpoint, connection, shown) = connected??;
        let peer = Peer {
            session,
            id: Arc::new(shown.id),
            address,
            expires: shown.expires,
        };
        let ended = self.run_session(peer, connection, shutdown).await;
        // The goodbye must leave before the socket is gone.
        if timeout(CLOSE_TIMEOUT, endpoint.wait_idle()).await.is_err() {
            debug!(%session, "closed before the peer took note");
        }
        let Ended { up_since, reason } = ended?;
        if up_since.is_none() {
            return Err(DialError::NotUp(reason));
        }
        Ok(up_since)
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
        let drive = Drive::new(&self.settings, peer, connection, streams, grant);
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
