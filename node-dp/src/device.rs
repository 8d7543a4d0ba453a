//! Keeps the tunnel device, its peers and the routes as the plan says, and the prober on it.
//!
//! It is a task of its own so that slow netlink never holds up a write to the maps.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use cluster_registry::name::NodeName;
use ipnet::IpNet;
use node_dp_core::{
    probe::{ProbeConfig, Prober},
    tunnel::TunnelPlan,
    verdict::Path,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

mod counts;
mod guard;
mod keys;
mod status;

use crate::{
    metrics::TunnelMetrics,
    probe::{BindError, PathStatus, Paths, ProbeSocket, ProbeTask, Targets},
    tunnel::{self, Mode, OpenError, PrivateKey, Tunnel, TunnelConfig},
};

pub(crate) use guard::Guard;
pub(crate) use keys::Keys;

/// How long after a failure to try again.
const RETRY: Duration = Duration::from_secs(1);

/// How often peers that have announced another key are looked at; until one is seen to use it, what it sends is not
/// taken, and TCP sends that again after 200 ms at the soonest.
const FOLLOW: Duration = Duration::from_millis(100);

/// Sockets for probes that wait: one for each change of the key, which take seconds.
const SOCKETS: usize = 1;

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
    /// Ranges that lead into the tunnel or nowhere.
    pub(crate) only: BTreeSet<IpNet>,
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
            only: self.only.clone(),
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
pub(crate) type StatusRequest = oneshot::Sender<isthmus_daemon::status::Tunnel>;

/// The task; ends on shutdown. It is not cancel safe: the embedded device would go without a word.
pub(crate) struct Device {
    /// How to open it.
    pub(crate) settings: DeviceSettings,
    /// What it shall carry; `None` until that is known, and what an adopted device carries stays.
    pub(crate) plan: watch::Receiver<Option<Arc<TunnelPlan>>>,
    /// The plan that the routes follow.
    pub(crate) routed: watch::Sender<Option<Arc<TunnelPlan>>>,
    /// What is known of the ranges to refuse when the node starts again.
    pub(crate) guard: Guard,
    /// Whom to probe.
    pub(crate) targets: watch::Receiver<Arc<Targets>>,
    /// What the probes say.
    pub(crate) paths: watch::Sender<Paths>,
    /// Who asks for the status.
    pub(crate) requests: mpsc::Receiver<StatusRequest>,
    /// When the key gives way to another.
    pub(crate) keys: Keys,
    /// Who wants another key now.
    pub(crate) rotations: mpsc::Receiver<()>,
    /// What is told of the tunnels.
    pub(crate) metrics: TunnelMetrics,
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
            let (sockets_tx, sockets) = mpsc::channel(SOCKETS);
            let prober = self.probe(&tunnel, sockets, probing.clone());
            let ended = self.serve(&mut tunnel, sockets_tx).await;
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
    fn probe(
        &self,
        tunnel: &Tunnel,
        sockets: mpsc::Receiver<ProbeSocket>,
        shutdown: CancellationToken,
    ) -> JoinHandle<()> {
        let address = self.probe_address(tunnel);
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
                former: None,
                sockets,
                prober,
                targets,
                paths,
                shutdown,
            };
            task.run().await;
        })
    }

    fn probe_address(&self, tunnel: &Tunnel) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(tunnel.probe_address()), self.settings.probe_port)
    }

    async fn serve(&mut self, tunnel: &mut Tunnel, sockets: mpsc::Sender<ProbeSocket>) -> Ended {
        self.plan.mark_changed();
        let mut retry_at = None;
        let mut follow = interval(FOLLOW);
        follow.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut count = interval(counts::INTERVAL);
        count.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let key_due = self.keys.poll_timeout().map(Instant::from_std);
            tokio::select! {
                () = self.shutdown.cancelled() => return Ended::Shutdown,
                () = tunnel.lost() => return Ended::Lost,
                changed = self.plan.changed() => match changed {
                    Ok(()) => retry_at = self.apply(tunnel).await,
                    Err(_) => return Ended::Shutdown,
                },
                () = wait(retry_at) => retry_at = self.apply(tunnel).await,
                _ = follow.tick(), if tunnel.awaits_keys() => {
                    if let Err(error) = tunnel.follow_keys().await {
                        tracing::warn!(%error, "it cannot be seen which keys peers use");
                    }
                }
                _ = count.tick() => self.count(tunnel).await,
                Some(()) = self.rotations.recv() => self.keys.handle_request(),
                () = wait(key_due) => match self.keys.step(tunnel, &mut self.settings).await {
                    Ok(false) => {}
                    Ok(true) => self.move_prober(tunnel, &sockets).await,
                    // With the new key, which is the node's from now on.
                    Err(()) => return Ended::Lost,
                },
                Some(request) = self.requests.recv() => {
                    let plan = self.plan.borrow().clone().unwrap_or_default();
                    let paths = self.paths.borrow().clone();
                    let status = status::of(tunnel, &plan, &paths).await;
                    // Who asked may have gone.
                    drop(request.send(status));
                }
            }
        }
    }

    /// Lets the prober go on from the probe address of the device's new key.
    async fn move_prober(&self, tunnel: &Tunnel, sockets: &mpsc::Sender<ProbeSocket>) {
        let address = self.probe_address(tunnel);
        let device = &self.settings.device;
        if let Some(socket) = bind(address, device, &self.shutdown).await {
            // A prober that has ended needs none.
            drop(sockets.send(socket).await);
        }
    }

    /// Makes device and routes what the plan says; gives the time to try again if not all of it could be made.
    async fn apply(&mut self, tunnel: &mut Tunnel) -> Option<Instant> {
        let plan = self.plan.borrow_and_update().clone()?;
        // Routes first: a packet for a peer that is yet to come must find the device, not the way out in clear.
        let routes = tunnel.set_routes(&plan.routes, &plan.inside).await;
        if routes.is_ok() {
            self.note_routed(&plan);
        }
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

    /// The routes of a plan stand.
    fn note_routed(&mut self, plan: &Arc<TunnelPlan>) {
        self.routed.send_replace(Some(Arc::clone(plan)));
        self.guard.keep(plan);
    }

    /// Refuses what is for the ranges of a plan that comes while there is no device.
    async fn refuse(&mut self) {
        let Some(plan) = self.plan.borrow_and_update().clone() else {
            return;
        };
        match tunnel::guard(&plan.routes, &plan.inside).await {
            Ok(()) => self.note_routed(&plan),
            Err(error) => {
                let error = anyhow::Error::new(error);
                tracing::error!(error = format!("{error:#}"), "routes are not as planned");
            }
        }
    }

    /// Without the device no cluster can be reached through it.
    fn mark_lost(&self) {
        let targets = Arc::clone(&self.targets.borrow());
        let lost = PathStatus {
            path: Path::Lost,
            rtt: None,
            loss_per_mille: None,
        };
        self.paths.send_modify(|paths| {
            paths.extend(targets.keys().map(|(cluster, _)| (cluster.clone(), lost)));
        });
    }

    async fn reopen(&mut self) -> Option<Tunnel> {
        loop {
            self.refuse().await;
            match self.settings.open().await {
                Ok(tunnel) => return Some(tunnel),
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    tracing::error!(error = format!("{error:#}"), "no tunnel device");
                }
            }
            tokio::select! {
                () = sleep(RETRY) => {}
                Ok(()) = self.plan.changed() => {}
                () = self.shutdown.cancelled() => return None,
            }
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
