//! Keeps the tunnel device, its peers and the routes as the plan says, and the prober on it.
//!
//! It is a task of its own so that slow netlink never holds up a write to the maps.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cluster_registry::name::NodeName;
use isthmus_daemon::status;
use node_dp_core::{
    probe::{ProbeConfig, Prober},
    tunnel::TunnelPlan,
    verdict::Path,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    probe::{BindError, PathStatus, Paths, ProbeSocket, ProbeTask, Targets},
    tunnel::{Mode, OpenError, PrivateKey, Tunnel, TunnelConfig},
};

/// How long after a failure to try again.
const RETRY: Duration = Duration::from_secs(1);

/// What the device is opened with, again if it must be.
#[derive(Debug, Clone)]
pub(crate) struct DeviceSettings {
    /// Which implementation.
    pub(crate) mode: Mode,
    /// The device's name.
    pub(crate) device: String,
    /// The UDP port of the tunnels.
    pub(crate) port: u16,
    /// The MTU inside the tunnel.
    pub(crate) mtu: u16,
    /// The node's key.
    pub(crate) key: PrivateKey,
    /// The UDP port of probes.
    pub(crate) probe_port: u16,
    /// How to probe.
    pub(crate) probe: ProbeConfig,
    /// The node.
    pub(crate) node: NodeName,
}

impl DeviceSettings {
    /// Opens the device.
    pub(crate) async fn open(&self) -> Result<Tunnel, OpenError> {
        let config = TunnelConfig {
            mode: self.mode,
            device: self.device.clone(),
            port: self.port,
            mtu: self.mtu,
            private_key: self.key.clone(),
        };
        let tunnel = Tunnel::open(config).await?;
        tracing::info!(
            device = tunnel.device(),
            implementation = %tunnel.implementation(),
            reason = tunnel.reason(),
            "the tunnel device is open",
        );
        Ok(tunnel)
    }
}

/// A question for the tunnel's status.
pub(crate) type StatusRequest = oneshot::Sender<status::Tunnel>;

/// The task; ends on shutdown. It is not cancel safe: the embedded device would go without a word.
pub(crate) struct Device {
    /// How to open it.
    pub(crate) settings: DeviceSettings,
    /// What it shall carry; `None` until that is known, and what an adopted device carries stays.
    pub(crate) plan: watch::Receiver<Option<Arc<TunnelPlan>>>,
    /// Whom to probe.
    pub(crate) targets: watch::Receiver<Arc<Targets>>,
    /// What the probes say.
    pub(crate) paths: watch::Sender<Paths>,
    /// Who asks for the status.
    pub(crate) requests: mpsc::Receiver<StatusRequest>,
    /// Ends the task.
    pub(crate) shutdown: CancellationToken,
}

/// Why the device is no longer served.
enum Ended {
    Shutdown,
    Lost,
}

impl Device {
    /// Serves the device, and opens it anew when it is lost.
    pub(crate) async fn run(mut self, tunnel: Tunnel) {
        let mut opened = Some(tunnel);
        while let Some(mut tunnel) = opened.take() {
            let probing = CancellationToken::new();
            let prober = self.probe(&tunnel, probing.clone());
            let ended = self.serve(&mut tunnel).await;
            probing.cancel();
            // A prober that panicked has nothing left to say.
            drop(prober.await);
            if let Ended::Lost = ended {
                tracing::error!(
                    device = self.settings.device,
                    "the tunnel device is gone or down"
                );
                self.mark_lost();
            }
            // What is left of an embedded one must be gone before another can have its name.
            tunnel.close().await;
            if let Ended::Shutdown = ended {
                return;
            }
            opened = self.reopen().await;
        }
    }

    /// Starts probing on the device; a prober that cannot begin tries again.
    fn probe(&self, tunnel: &Tunnel, shutdown: CancellationToken) -> JoinHandle<()> {
        let address = SocketAddr::new(IpAddr::V6(tunnel.probe_address()), self.settings.probe_port);
        let device = self.settings.device.clone();
        let prober = Prober::new(self.settings.probe, self.settings.node.clone());
        let targets = self.targets.clone();
        let paths = self.paths.clone();
        tokio::spawn(async move {
            let Some(socket) = bind(address, &device, &shutdown).await else {
                return;
            };
            let task = ProbeTask {
                socket,
                prober,
                targets,
                paths,
                shutdown,
            };
            task.run().await;
        })
    }

    async fn serve(&mut self, tunnel: &mut Tunnel) -> Ended {
        self.plan.mark_changed();
        let mut retry_at = None;
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return Ended::Shutdown,
                () = tunnel.lost() => return Ended::Lost,
                changed = self.plan.changed() => match changed {
                    Ok(()) => retry_at = self.apply(tunnel).await,
                    Err(_) => return Ended::Shutdown,
                },
                () = wait(retry_at) => retry_at = self.apply(tunnel).await,
                Some(request) = self.requests.recv() => {
                    let status = self.status(tunnel).await;
                    // Who asked may have gone.
                    drop(request.send(status));
                }
            }
        }
    }

    /// Makes device and routes what the plan says; gives the time to try again if not all of it could be made.
    async fn apply(&mut self, tunnel: &mut Tunnel) -> Option<Instant> {
        let plan = self.plan.borrow_and_update().clone()?;
        // Routes first: a packet for a peer that is yet to come must find the device, not the way out in clear.
        let routes = tunnel.set_routes(&plan.routes).await;
        let peers = tunnel.configure(&plan.peers).await;
        let mut retry_at = None;
        match routes {
            Ok(changes) => tracing::debug!(?changes, "routes are as planned"),
            Err(error) => {
                let error = anyhow::Error::new(error);
                tracing::error!(error = format!("{error:#}"), "routes are not as planned");
                retry_at = Some(Instant::now() + RETRY);
            }
        }
        match peers {
            Ok(()) => tracing::debug!(count = plan.peers.len(), "tunnel peers are as planned"),
            Err(error) => {
                let error = anyhow::Error::new(error);
                tracing::error!(error = format!("{error:#}"), "peers are not as planned");
                retry_at = Some(Instant::now() + RETRY);
            }
        }
        retry_at
    }

    /// Without the device no cluster can be reached through it.
    fn mark_lost(&self) {
        let targets = Arc::clone(&self.targets.borrow());
        let lost = PathStatus {
            path: Path::Lost,
            rtt: None,
        };
        self.paths.send_modify(|paths| {
            paths.extend(targets.keys().map(|(cluster, _)| (cluster.clone(), lost)));
        });
    }

    async fn reopen(&mut self) -> Option<Tunnel> {
        loop {
            match self.settings.open().await {
                Ok(tunnel) => return Some(tunnel),
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    tracing::error!(error = format!("{error:#}"), "no tunnel device");
                }
            }
            tokio::select! {
                () = sleep(RETRY) => {}
                () = self.shutdown.cancelled() => return None,
            }
        }
    }

    async fn status(&self, tunnel: &Tunnel) -> status::Tunnel {
        let stats = match tunnel.stats().await {
            Ok(stats) => stats,
            Err(error) => {
                tracing::warn!(%error, "the tunnel's peers cannot be read");
                BTreeMap::new()
            }
        };
        let plan = self.plan.borrow().clone().unwrap_or_default();
        let peers = plan.peers.values().map(|peer| {
            let stats = stats.get(&peer.public_key).cloned().unwrap_or_default();
            status::TunnelPeer {
                cluster: peer.cluster.to_string(),
                node: peer.node.to_string(),
                endpoint: stats.endpoint.or(Some(peer.endpoint)),
                allowed_ips: peer.allowed_ips.iter().map(ToString::to_string).collect(),
                last_handshake_unix_s: stats.last_handshake.and_then(unix_seconds),
                rx_bytes: stats.rx_bytes,
                tx_bytes: stats.tx_bytes,
            }
        });
        status::Tunnel {
            implementation: tunnel.implementation().to_string(),
            reason: tunnel.reason().to_owned(),
            device: tunnel.device().to_owned(),
            public_key: tunnel.public_key().to_string(),
            port: tunnel.port(),
            peers: peers.collect(),
        }
    }
}

async fn bind(
    address: SocketAddr,
    device: &str,
    shutdown: &CancellationToken,
) -> Option<ProbeSocket> {
    loop {
        match ProbeSocket::bind(address, Some(device)) {
            Ok(socket) => return Some(socket),
            Err(error @ (BindError::Socket { .. } | BindError::NoRandomness)) => {
                let error = anyhow::Error::new(error);
                tracing::error!(error = format!("{error:#}"), "paths cannot be probed");
            }
        }
        tokio::select! {
            () = sleep(RETRY) => {}
            () = shutdown.cancelled() => return None,
        }
    }
}

async fn wait(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn unix_seconds(time: SystemTime) -> Option<u64> {
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}
