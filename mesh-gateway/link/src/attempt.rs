//! One attempt to dial a gateway, and the session that it leads to.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use certs::tls::Expectation;
use mesh_gateway_core::{
    dialling::Outcome,
    limits::OPENING_TIMEOUT,
    reason::{DownReason, GoodbyeReason},
};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, VarInt};
use tokio::{sync::oneshot, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use crate::{
    dial::Dialer,
    drive::{Drive, Ended, Peer},
    event::SessionId,
    identity::{self, Shown},
    knock,
    listen::Grant,
    settings::DEFAULT_MAX_BACKOFF,
    streams::Streams,
    transport::{self, TransportError},
};

/// How long a handshake may take: as long as the time between two attempts, so that the knocks beside it never pause.
const HANDSHAKE_TIMEOUT: Duration = DEFAULT_MAX_BACKOFF;

/// How long the last packets of a connection are waited for; then the socket is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(250);

/// The name in the TLS handshake; identities are compared instead, so it only has to be one.
const SERVER_NAME: &str = "isthmus";

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

/// One attempt to dial an address, and the session that it leads to.
pub(crate) struct Attempt {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) address: SocketAddr,
    /// How long there has been no session by this address.
    pub(crate) absence: Duration,
    /// Connections that have ended, and whose last packets are on their way.
    pub(crate) closing: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

impl Attempt {
    /// Runs it to its end, and tells when the session is up.
    pub(crate) async fn run(self, up: oneshot::Sender<()>) -> (SocketAddr, Outcome) {
        let outcome = match self.dial(up).await {
            Ok(outcome) => outcome,
            Err(failure) => {
                let (address, reason) = (Some(self.address), failure.to_string());
                let dialer = &self.dialer;
                dialer
                    .say_unreachable(address, reason, &self.shutdown)
                    .await;
                Outcome::Failed
            }
        };
        (self.address, outcome)
    }

    /// Dials the address, and runs the session.
    async fn dial(&self, up: oneshot::Sender<()>) -> Result<Outcome, DialError> {
        let (session, address) = (SessionId::next(), self.address);
        debug!(%session, peer = %self.dialer.expected, %address, "dialling");
        let connected = tokio::select! {
            () = self.shutdown.cancelled() => return Ok(Outcome::Failed),
            connected = timeout(HANDSHAKE_TIMEOUT, self.connect()) => connected,
        };
        let (endpoint, connection, shown) = connected??;
        let peer = Peer {
            session,
            id: Arc::new(shown.id),
            address,
            expires: shown.expires,
        };
        let ended = self.run_session(peer, connection, up).await;
        // The goodbye must leave before the socket is gone; the next attempt need not wait for that.
        self.closing.spawn(async move {
            if timeout(CLOSE_TIMEOUT, endpoint.wait_idle()).await.is_err() {
                debug!(%session, "closed before the peer took note");
            }
        });
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

    async fn connect(&self) -> Result<(Endpoint, Connection, Shown), DialError> {
        let expected = &self.dialer.expected;
        let expectation = Expectation {
            cluster: expected.cluster.clone(),
        };
        let config = transport::client(&self.dialer.settings.credentials, expectation)?;
        let endpoint = Endpoint::client(unspecified_for(self.address))?;
        let connection = self.shake_hands(&endpoint, config).await?;
        match identity::of(&connection) {
            Some(shown) if shown.id == *expected => Ok((endpoint, connection, shown)),
            found => {
                let code = VarInt::from_u32(GoodbyeReason::NotAuthorised.code());
                connection.close(code, GoodbyeReason::NotAuthorised.label().as_bytes());
                let found = found.map_or_else(|| "nobody".to_owned(), |shown| shown.id.to_string());
                Err(DialError::WrongIdentity { found })
            }
        }
    }

    /// The handshake; once more, and at once, when the path turns out to have healed.
    async fn shake_hands(
        &self,
        endpoint: &Endpoint,
        config: ClientConfig,
    ) -> Result<Connection, DialError> {
        let first = endpoint.connect_with(config.clone(), self.address, SERVER_NAME)?;
        tokio::select! {
            connected = first => return Ok(connected?),
            stuck = knock::until_handshake_is_stuck(self.address, self.absence) => stuck?,
        }
        debug!(address = %self.address, "the path has healed");
        Ok(endpoint
            .connect_with(config, self.address, SERVER_NAME)?
            .await?)
    }

    async fn run_session(
        &self,
        peer: Peer,
        connection: Connection,
        up: oneshot::Sender<()>,
    ) -> Result<Ended, DialError> {
        let streams = timeout(OPENING_TIMEOUT, Streams::open(&connection)).await??;
        let dialer = &self.dialer;
        let grant = Grant {
            feed: dialer.feed.clone(),
            resume: dialer.resume.clone(),
            subscribes: dialer.subscribes,
            compares: dialer.compares,
            events: dialer.events.clone(),
        };
        let drive = Drive::new(&dialer.settings, peer, connection, streams, grant).telling(up);
        Ok(drive.run(&self.shutdown).await)
    }
}

/// Where a socket is bound from which an address can be reached.
pub(crate) fn unspecified_for(address: SocketAddr) -> SocketAddr {
    let unspecified = match address.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(unspecified, 0)
}
