//! Takes sessions from peers, each with the feed that its identity entitles it to.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use certs::identity::SpiffeId;
use mesh_gateway_core::{limits::OPENING_TIMEOUT, reason::GoodbyeReason};
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, TokioRuntime, VarInt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use crate::{
    drive::{Drive, Peer},
    event::{Report, SessionId},
    feed::Feed,
    identity::{self, Shown},
    resume::Resume,
    settings::Settings,
    shares::{Full, Place, Places, Source},
    streams::Streams,
    transport::{self, TransportError},
};

/// How many handshakes may be under way: at about a millisecond of CPU each, this is a quarter of a second's work.
///
/// Beyond a third of it, whoever has not shown that its address is its own is asked to.
const MAX_HANDSHAKES: usize = 256;

/// What may wait to be read from the socket that all sessions share; the kernel grants no more than `net.core.rmem_max`.
///
/// A thousand peers' heartbeats within a few milliseconds are more than the usual default of 208 KiB holds, and a peer
/// whose heartbeats are lost counts as silent.
const RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// How long goodbyes may take to leave when the listener ends.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// What a peer gets.
#[derive(Debug, Clone)]
pub struct Grant {
    /// What is published to it.
    pub feed: Feed,
    /// How far its announcements are known.
    pub resume: Resume,
    /// When it is asked for its state.
    pub subscribes: Subscribes,
    /// Whether who gets the events answers [`PeerEvent::Compare`](crate::event::PeerEvent::Compare).
    pub compares: bool,
    /// Where its events go.
    pub events: mpsc::Sender<Report>,
}

/// When a session asks for the peer's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Subscribes {
    /// As it begins.
    #[default]
    Now,
    /// When its handle is told to.
    Later,
}

/// The peer may not have a session here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Denied {
    /// Why, for the log; the peer learns only that it is so.
    pub reason: String,
}

/// Decides which peers may have a session.
pub trait Authorise: Send + Sync + 'static {
    /// What the peer behind a verified certificate gets.
    fn authorise(&self, peer: &SpiffeId, address: SocketAddr) -> Result<Grant, Denied>;
}

impl<F> Authorise for F
where
    F: Fn(&SpiffeId, SocketAddr) -> Result<Grant, Denied> + Send + Sync + 'static,
{
    fn authorise(&self, peer: &SpiffeId, address: SocketAddr) -> Result<Grant, Denied> {
        self(peer, address)
    }
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The credentials cannot be used.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The address is taken, or not ours.
    #[error("cannot bind {address}")]
    Socket {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Takes sessions at one address.
#[derive(Debug)]
pub struct Listener<A> {
    endpoint: Endpoint,
    acceptor: Arc<Acceptor<A>>,
}

#[derive(Debug)]
struct Acceptor<A> {
    settings: Settings,
    authorise: A,
    handshakes: Places,
}

impl<A: Authorise> Listener<A> {
    /// Binds the address; must be called within a tokio runtime.
    pub fn bind(address: SocketAddr, settings: Settings, authorise: A) -> Result<Self, BindError> {
        let config = transport::server(&settings.credentials)?;
        let endpoint = open(address)
            .and_then(|socket| {
                let runtime = Arc::new(TokioRuntime);
                Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime)
            })
            .map_err(|source| BindError::Socket { address, source })?;
        let acceptor = Acceptor {
            settings,
            authorise,
            handshakes: Places::new(MAX_HANDSHAKES),
        };
        Ok(Self {
            endpoint,
            acceptor: Arc::new(acceptor),
        })
    }

    /// The address that it is bound to.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Takes sessions until the token is cancelled, then says goodbye to all.
    pub async fn run(self, shutdown: CancellationToken) {
        let sessions = TaskTracker::new();
        loop {
            let incoming = tokio::select! {
                () = shutdown.cancelled() => break,
                incoming = self.endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else {
                break;
            };
            if let Some((incoming, place)) = self.acceptor.admit(incoming) {
                let acceptor = Arc::clone(&self.acceptor);
                let shutdown = shutdown.clone();
                sessions.spawn(async move { acceptor.accept(incoming, place, &shutdown).await });
            }
        }
        self.endpoint.set_server_config(None);
        sessions.close();
        let drained = async {
            sessions.wait().await;
            self.endpoint.wait_idle().await;
        };
        if timeout(CLOSE_TIMEOUT, drained).await.is_err() {
            debug!("closed before all peers took note");
        }
    }
}

impl<A: Authorise> Acceptor<A> {
    /// Sheds load: when handshakes pile up, an address must be proved, and is turned away when there are too many.
    fn admit(&self, incoming: Incoming) -> Option<(Incoming, Place)> {
        let is_proven = incoming.remote_address_validated();
        let source = match is_proven {
            true => Source::proven(incoming.remote_address().ip()),
            false => Source::Unproven,
        };
        match self.handshakes.take(source) {
            Ok(place) => return Some((incoming, place)),
            Err(Full::All) => incoming.refuse(),
            // Its first packet comes again, and may find a place then.
            Err(Full::Source) if is_proven || !incoming.may_retry() => incoming.ignore(),
            Err(Full::Source) => {
                if let Err(error) = incoming.retry() {
                    debug!(%error, "cannot ask for proof of the address");
                }
            }
        }
        None
    }

    async fn accept(&self, incoming: Incoming, place: Place, shutdown: &CancellationToken) {
        let address = incoming.remote_address();
        let opened = tokio::select! {
            () = shutdown.cancelled() => return,
            opened = timeout(OPENING_TIMEOUT, self.open(incoming, place, address)) => opened,
        };
        match opened {
            Ok(Some(drive)) => {
                drive.run(shutdown).await;
            }
            Ok(None) => {}
            Err(_elapsed) => debug!(%address, "peer began no session"),
        }
    }

    async fn open(&self, incoming: Incoming, place: Place, address: SocketAddr) -> Option<Drive> {
        let connection = match incoming.await {
            Ok(connection) => connection,
            Err(error) => {
                info!(%address, %error, "handshake refused");
                return None;
            }
        };
        let (shown, grant) = self.authorise(&connection, address)?;
        let peer = Peer {
            session: SessionId::next(),
            id: Arc::new(shown.id),
            address,
            expires: shown.expires,
        };
        let streams = match Streams::accept(&connection).await {
            Ok(streams) => streams,
            Err(error) => {
                debug!(%address, %error, "peer went away");
                return None;
            }
        };
        drop(place);
        let drive = Drive::new(&self.settings, peer, connection, streams, grant);
        Some(drive)
    }

    fn authorise(&self, connection: &Connection, address: SocketAddr) -> Option<(Shown, Grant)> {
        let shown = identity::of(connection)?;
        match self.authorise.authorise(&shown.id, address) {
            Ok(grant) => Some((shown, grant)),
            Err(Denied { reason }) => {
                warn!(peer = %shown.id, %address, reason, "session denied");
                let goodbye = GoodbyeReason::NotAuthorised;
                connection.close(VarInt::from_u32(goodbye.code()), goodbye.label().as_bytes());
                None
            }
        }
    }
}

/// A socket for all sessions; one at the unspecified address of IPv6 takes IPv4, too.
fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6()
        && let Err(error) = socket.set_only_v6(false)
    {
        debug!(%error, "the socket takes one family only");
    }
    if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES) {
        debug!(%error, "the socket keeps its default receive buffer");
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        net::{IpAddr, Ipv4Addr, Ipv6Addr},
    };

    use super::*;

    /// Where it is too small, heartbeats are lost when all peers send theirs at once, and peers that live fall silent.
    #[test]
    fn the_receive_buffer_is_as_large_as_the_kernel_grants() {
        let limit = fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
        let limit: usize = limit.trim().parse().unwrap();

        let socket = Socket::from(open((Ipv4Addr::LOCALHOST, 0).into()).unwrap());

        let granted = socket.recv_buffer_size().unwrap();
        assert!(granted >= limit.min(RECEIVE_BUFFER_BYTES), "{granted}");
    }
    #[test]
    fn the_unspecified_address_of_ipv6_takes_datagrams_of_both_families() {
        let socket = open((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
        socket.set_read_timeout(Some(OPENING_TIMEOUT)).unwrap();
        let port = socket.local_addr().unwrap().port();
        for own in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
        ] {
            let client = UdpSocket::bind((own, 0)).unwrap();
            client.send_to(b"hello", (own, port)).unwrap();

            let (_, from) = socket.recv_from(&mut [0; 8]).unwrap();

            assert_eq!(from.ip().to_canonical(), own);
            assert_eq!(from.port(), client.local_addr().unwrap().port());
        }
    }
}
