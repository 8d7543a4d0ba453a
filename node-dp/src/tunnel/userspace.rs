//! The embedded WireGuard: gotatun's protocol between a TUN device and a UDP socket, for kernels without their own.
//!
//! After a cut, sessions younger than three minutes carry on by themselves. Older ones need a handshake, which the
//! protocol repeats every five seconds; here every second, as a healed path should be used at once.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, atomic::AtomicU16},
    thread,
};

use cluster_registry::node::PublicKey;
use nix::sys::eventfd::{EfdFlags, EventFd};
use node_dp_core::tunnel::succession::Entry;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    PeerStats, PrivateKey, TunnelConfig, TunnelDrops,
    peers::{Peers, changes, wanted_peers},
};

mod engine;
mod identity;
mod outbox;
mod peer;
mod table;
mod tun;
mod udp;

use engine::{Ends, Engine};
use identity::Identity;
use peer::Succession;
use table::{PeerTable, TableChange};
use tun::Tun;
use udp::Socket;

pub use tun::OpenTunError;

/// Commands that wait: the handle has one under way at a time, and a stop may come behind it.
const COMMANDS: usize = 2;

/// Why the embedded WireGuard is not there.
#[derive(Debug, thiserror::Error)]
pub enum UserspaceError {
    /// No TUN device.
    #[error("there is no TUN device")]
    Tun(#[from] OpenTunError),
    /// The socket could not be bound.
    #[error("cannot listen on UDP port {port}")]
    Listen {
        /// The port.
        port: u16,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// No thread, or no way to wake it.
    #[error("cannot start the tunnel's thread")]
    Start(#[source] io::Error),
    /// The thread is no more.
    #[error("the tunnel's thread has ended")]
    Ended,
}

/// What the loop is asked.
enum Command {
    /// Change the peers, and say when it is done.
    Change(Vec<TableChange>, oneshot::Sender<()>),
    /// Use another key, and say when it is done.
    Succeed(Box<Succession>, oneshot::Sender<()>),
    /// What was seen of the peers.
    Stats(oneshot::Sender<BTreeMap<PublicKey, PeerStats>>),
    /// What was not carried.
    Drops(oneshot::Sender<TunnelDrops>),
    /// End.
    Stop,
}

/// An open embedded device.
pub(super) struct Userspace {
    identity: Identity,
    public_key: PublicKey,
    peers: Peers,
    line: Line,
    is_lost: watch::Receiver<bool>,
}

/// The way to the loop; it ends when this is dropped.
struct Line {
    commands: Option<mpsc::Sender<Command>>,
    wake: Arc<EventFd>,
}

impl Userspace {
    /// Opens the device; `mtu` is what it has, and may change under way.
    pub(super) fn open(config: &TunnelConfig, mtu: Arc<AtomicU16>) -> Result<Self, UserspaceError> {
        let tun = Tun::create(&config.device)?;
        let socket = Socket::bind(config.port).map_err(|source| UserspaceError::Listen {
            port: config.port,
            source,
        })?;
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let wake = EventFd::from_value_and_flags(0, flags)
            .map_err(|error| UserspaceError::Start(error.into()))?;
        let wake = Arc::new(wake);
        let (commands, received) = mpsc::channel(COMMANDS);
        let (lost, is_lost) = watch::channel(false);
        let identity = Identity::new(&config.private_key);
        let ends = Ends {
            tun,
            socket,
            wake: Arc::clone(&wake),
            commands: received,
            is_lost: lost,
        };
        let engine = Engine::new(ends, PeerTable::new(identity.clone()), mtu);
        thread::Builder::new()
            .name("wireguard".to_owned())
            .spawn(move || engine.run())
            .map_err(UserspaceError::Start)?;
        Ok(Self {
            identity,
            public_key: config.private_key.public_key(),
            peers: Peers::new(),
            line: Line {
                commands: Some(commands),
                wake,
            },
            is_lost,
        })
    }

    pub(super) async fn configure(
        &mut self,
        wanted: &BTreeMap<PublicKey, Entry>,
    ) -> Result<(), UserspaceError> {
        let wanted = wanted_peers(wanted, self.public_key);
        let changes = changes(&self.peers, &wanted);
        if changes.is_empty() {
            return Ok(());
        }
        let changes = changes
            .into_iter()
            .map(|change| self.identity.prepare(change))
            .collect();
        let (done, is_done) = oneshot::channel();
        self.line.send(Command::Change(changes, done)).await?;
        is_done.await.or(Err(UserspaceError::Ended))?;
        self.peers = wanted;
        Ok(())
    }

    /// Takes another key; what comes in sessions with the former is still taken.
    pub(super) async fn set_key(&mut self, key: &PrivateKey) -> Result<(), UserspaceError> {
        let identity = self.identity.successor(key);
        let protocols = self.peers.iter().map(|(peer, config)| {
            let protocol = identity.protocol(*peer, config.is_used);
            (*peer, protocol)
        });
        let succession = Succession {
            protocols: protocols.collect(),
            identity: identity.clone(),
        };
        let (done, is_done) = oneshot::channel();
        let command = Command::Succeed(Box::new(succession), done);
        self.line.send(command).await?;
        is_done.await.or(Err(UserspaceError::Ended))?;
        self.identity = identity;
        self.public_key = key.public_key();
        Ok(())
    }

    pub(super) async fn stats(&self) -> Result<BTreeMap<PublicKey, PeerStats>, UserspaceError> {
        let (answer, answered) = oneshot::channel();
        self.line.send(Command::Stats(answer)).await?;
        answered.await.or(Err(UserspaceError::Ended))
    }

    pub(super) async fn drops(&self) -> Result<TunnelDrops, UserspaceError> {
        let (answer, answered) = oneshot::channel();
        self.line.send(Command::Drops(answer)).await?;
        answered.await.or(Err(UserspaceError::Ended))
    }

    pub(super) async fn lost(&self) {
        let mut is_lost = self.is_lost.clone();
        // The sender goes only with the loop itself, which is as lost as can be.
        is_lost.wait_for(|is_lost| *is_lost).await.ok();
    }

    pub(super) async fn close(self) {
        let Self {
            line, mut is_lost, ..
        } = self;
        if line.send(Command::Stop).await.is_ok() {
            // The sender goes with the loop, and the device with both.
            while is_lost.changed().await.is_ok() {}
        }
    }
}

impl Line {
    async fn send(&self, command: Command) -> Result<(), UserspaceError> {
        let commands = self.commands.as_ref().ok_or(UserspaceError::Ended)?;
        let sent = commands.send(command).await;
        sent.or(Err(UserspaceError::Ended))?;
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        // It fails only when it was woken so often without looking that it will look now.
        self.wake.write(1).ok();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        drop(self.commands.take());
        self.wake();
    }
}
