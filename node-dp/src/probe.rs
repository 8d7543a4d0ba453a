//! Sends and answers path probes through the tunnels.
//!
//! When to probe whom and what answers mean is decided by [`node_dp_core::probe`]; here is the socket.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use cluster_registry::name::ClusterName;
use node_dp_core::{
    probe::{Output, Prober},
    tunnel::NodeKey,
    verdict::Path,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, watch},
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;

mod packet;
#[cfg(test)]
mod tests;

use packet::{LENGTH, Packet, Prover};

/// How long to wait after a failed receive, so that a socket that stays broken does not burn a core.
const RECEIVE_RETRY: Duration = Duration::from_millis(10);

/// What is known of the path to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathStatus {
    /// Its state.
    pub path: Path,
    /// The shortest of the last round-trip times to its probed nodes.
    pub rtt: Option<Duration>,
    /// How many of a thousand probes are lost, of the latest.
    pub loss_per_mille: Option<u16>,
}

/// The paths to all probed clusters.
pub type Paths = BTreeMap<ClusterName, PathStatus>;

/// Where each node that can be probed answers.
pub type Targets = BTreeMap<NodeKey, SocketAddr>;

/// Why probes can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The socket could not be had.
    #[error("cannot listen for probes on {address}")]
    Socket {
        /// The probe address and port.
        address: SocketAddr,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

/// The socket of probes.
pub struct ProbeSocket {
    socket: UdpSocket,
    prover: Prover,
}

impl ProbeSocket {
    /// Listens on an address of the tunnel device; with the device named, nothing comes and goes elsewhere.
    ///
    /// Bind anew when the device was opened anew.
    pub fn bind(address: SocketAddr, device: Option<&str>) -> Result<Self, BindError> {
        let mut secret = [0; 32];
        if aws_lc_rs::rand::fill(&mut secret).is_err() {
            return Err(BindError::NoRandomness);
        }
        let socket =
            open(address, device).map_err(|source| BindError::Socket { address, source })?;
        Ok(Self {
            socket,
            prover: Prover::new(secret),
        })
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    async fn send(&self, bytes: &[u8], to: SocketAddr) {
        // A probe that is not sent is not answered: the prober finds out.
        if let Err(error) = self.socket.send_to(bytes, to).await {
            tracing::trace!(%error, %to, "a probe was not sent");
        }
    }
}

/// The task that probes: it ends when told to shut down, or when nobody reads the paths any more.
///
/// It is cancel safe: what is lost with it is the prober's memory.
pub struct ProbeTask {
    /// The socket.
    pub socket: ProbeSocket,
    /// The socket before, at which probes are still answered.
    pub former: Option<ProbeSocket>,
    /// Sockets at other addresses of the device, each to take the former's place.
    pub sockets: mpsc::Receiver<ProbeSocket>,
    /// What decides.
    pub prober: Prober,
    /// Whom to probe.
    pub targets: watch::Receiver<Arc<Targets>>,
    /// The result; receivers are woken when a path changes, and find the latest round-trip times in it at any time.
    pub paths: watch::Sender<Paths>,
    /// Ends the task.
    pub shutdown: CancellationToken,
}

impl ProbeTask {
    /// Probes and answers.
    pub async fn run(mut self) {
        let mut buffer = [0; LENGTH + 1];
        let mut former_buffer = [0; LENGTH + 1];
        let mut has_source = true;
        self.take_targets();
        loop {
            self.perform_outputs().await;
            let deadline = self.prober.poll_timeout();
            tokio::select! {
                received = self.socket.socket.recv_from(&mut buffer) => match received {
                    Ok((length, from)) => self.take(from, buffer.get(..length)).await,
                    Err(error) => after_failed_receive(&error).await,
                },
                received = receive(self.former.as_ref(), &mut former_buffer) => match received {
                    Ok((length, from)) => self.answer_as_former(from, former_buffer.get(..length)).await,
                    Err(error) => after_failed_receive(&error).await,
                },
                Some(socket) = self.sockets.recv() => {
                    self.former = Some(std::mem::replace(&mut self.socket, socket));
                }
                changed = self.targets.changed(), if has_source => {
                    // Without its source the last targets stay.
                    has_source = changed.is_ok();
                    self.take_targets();
                }
                () = wait(deadline) => {
                    self.take_waiting().await;
                    self.prober.handle_timeout(Instant::now());
                    self.note_measures();
                }
                () = self.paths.closed() => return,
                () = self.shutdown.cancelled() => return,
            }
        }
    }

    fn take_targets(&mut self) {
        let targets = Arc::clone(&self.targets.borrow_and_update());
        self.prober.handle_targets(&targets, Instant::now());
    }

    /// Takes what has already arrived, so that an agent that was held up blames no path for it.
    async fn take_waiting(&mut self) {
        let mut buffer = [0; LENGTH + 1];
        while let Ok((length, from)) = self.socket.socket.try_recv_from(&mut buffer) {
            self.take(from, buffer.get(..length)).await;
        }
    }

    async fn take(&mut self, from: SocketAddr, bytes: Option<&[u8]>) {
        match self.socket.prover.read(from, bytes.unwrap_or_default()) {
            Some(Packet::Request(answer)) => self.socket.send(&answer, from).await,
            Some(Packet::Answer { sequence }) => {
                self.prober.handle_answer(from, sequence, Instant::now());
            }
            None => {}
        }
    }

    /// Answers who probes the address before, or takes an answer to what was sent from it.
    async fn answer_as_former(&mut self, from: SocketAddr, bytes: Option<&[u8]>) {
        let Some(former) = &self.former else {
            return;
        };
        match former.prover.read(from, bytes.unwrap_or_default()) {
            Some(Packet::Request(answer)) => former.send(&answer, from).await,
            Some(Packet::Answer { sequence }) => {
                self.prober.handle_answer(from, sequence, Instant::now());
            }
            None => {}
        }
    }

    async fn perform_outputs(&mut self) {
        while let Some(output) = self.prober.poll_output() {
            match output {
                Output::SendProbe { to, sequence } => {
                    let probe = self.socket.prover.request(to, sequence);
                    self.socket.send(&probe, to).await;
                }
                Output::PathChanged { cluster, path, rtt } => {
                    let loss_per_mille = self.prober.loss_per_mille(&cluster);
                    let status = PathStatus {
                        path,
                        rtt,
                        loss_per_mille,
                    };
                    self.note_path(cluster, status);
                }
            }
        }
    }

    fn note_path(&self, cluster: ClusterName, status: PathStatus) {
        let PathStatus { path, rtt, .. } = status;
        tracing::info!(%cluster, path = path.label(), ?rtt, "the path to a cluster changed");
        self.paths.send_modify(|paths| {
            if path == Path::Unprobed {
                paths.remove(&cluster);
            } else {
                paths.insert(cluster, status);
            }
        });
    }

    /// Keeps round-trip times and losses fresh without waking anybody.
    fn note_measures(&self) {
        self.paths.send_if_modified(|paths| {
            for (cluster, status) in paths.iter_mut() {
                status.rtt = self.prober.rtt(cluster);
                status.loss_per_mille = self.prober.loss_per_mille(cluster);
            }
            false
        });
    }
}

/// Receives from a socket, if there is one.
async fn receive(
    socket: Option<&ProbeSocket>,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.socket.recv_from(buffer).await,
        None => std::future::pending().await,
    }
}

async fn wait(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

async fn after_failed_receive(error: &io::Error) {
    tracing::debug!(%error, "the probes' socket failed to receive");
    tokio::time::sleep(RECEIVE_RETRY).await;
}

fn open(address: SocketAddr, device: Option<&str>) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.nonblocking().cloexec(),
        Some(Protocol::UDP),
    )?;
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}
