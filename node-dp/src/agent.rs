//! The agent: opens what it needs, starts its tasks, and ends them in order.
//!
//! | task | owns | ends |
//! |---|---|---|
//! | dialer | the session with the gateway | on shutdown |
//! | announce | what this node announces | on shutdown |
//! | departures | clients' sockets whose backend is gone | on shutdown, or with reconcile |
//! | health | servers that tell load balancers of the node's endpoints | on shutdown |
//! | upkeep | table of flows, the node's addresses in the maps | on shutdown |
//! | reconcile | replica, planner, maps | on shutdown, or with the dialer |
//! | device | tunnel device, routes, prober | on shutdown |
//! | admin | health, metrics, status | on shutdown |

mod spawn;

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use certs::{credentials::Credentials, identity::SpiffeId};
use cluster_registry::node;
use isthmus_daemon::{
    readiness::Readiness,
    shutdown,
    telemetry::{self, TelemetryConfig},
};
use mesh_link::{
    dial::Dialer,
    event::Report,
    listen::Subscribes,
    resume::Resume,
    settings::{
        DEFAULT_DETECT_MULTIPLIER, DEFAULT_HEARTBEAT_INTERVAL, DEFAULT_MAX_BACKOFF, Settings,
        start_instance,
    },
};
use node_dp_core::{
    probe_address::probe_address,
    tunnel::{Tunnels, inside::Inside},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    announce::Announce,
    config::Config,
    datapath::{Datapath, DatapathConfig, Feature},
    device::{Device, DeviceSettings, Guard, Keys, StatusRequest},
    metrics::Metrics,
    reconcile::{Inputs, Outputs, Reconcile, Snapshot, TunnelSide},
    status::StatusSource,
    tunnel::{self, Implementation, Tunnel},
};

/// How many reports of the session may wait: beyond, the gateway is not read, and it conflates.
const REPORT_DEPTH: usize = 64;

/// How many questions for the status may wait.
const REQUEST_DEPTH: usize = 8;

/// Runs the agent until a signal ends it.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal().context("listening for signals")?;
    let telemetry = telemetry::init(&TelemetryConfig {
        service_name: "isthmus-agent",
        cluster: config.cluster.clone(),
        otlp_endpoint: config.otlp_endpoint.clone(),
        log_format: config.log_format,
    })
    .context("starting telemetry")?;
    let deadline = config.shutdown_deadline;
    let readiness = Readiness::new();
    let tasks = start(config, &readiness, &shutdown).await?;

    shutdown.cancelled().await;
    readiness.drain();
    tasks.close();
    if tokio::time::timeout(deadline, tasks.wait()).await.is_err() {
        tracing::warn!(?deadline, "not all tasks have ended in time");
    }
    tracing::info!("ended; what is pinned goes on serving");
    telemetry.flush().await;
    Ok(())
}

/// Removes everything that an agent leaves on a node.
pub async fn uninstall(bpffs: &Path, device: &str) -> anyhow::Result<()> {
    Datapath::detach_all(bpffs).context("removing programs and maps")?;
    tunnel::uninstall(device)
        .await
        .context("removing the tunnel")?;
    Ok(())
}

/// What is opened before any task starts, so that whatever is missing ends the start.
struct Opened {
    credentials: Credentials,
    public_key: node::PublicKey,
    listener: TcpListener,
    healthz: Option<TcpListener>,
    datapath: Datapath,
    tunnel: Option<(DeviceSettings, Tunnel)>,
    guard: Guard,
}

impl Opened {
    async fn open(config: &Config) -> anyhow::Result<Self> {
        let guard = stand_guard(config).await?;
        let credentials = load_credentials(config)?;
        let key =
            tunnel::load_or_create_key(&config.state_dir).context("loading the node's key")?;
        let listener = listen(config.admin_listen).await?;
        let healthz = match config.healthz_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let (datapath, adoption) = Datapath::open(DatapathConfig {
            bpffs: config.bpffs.clone(),
            devices: config.served_devices(),
            fast_path: config.xdp,
            sizes: config.map_sizes,
            ..DatapathConfig::new(config.cgroup.clone())
        })
        .context("opening the datapath")?;
        tracing::info!(?adoption, "the datapath is open");
        Ok(Self {
            credentials,
            public_key: key.public_key(),
            listener,
            healthz,
            datapath,
            tunnel: open_tunnel(config, &key).await?,
            guard,
        })
    }

    /// What this node tells others of its tunnel end.
    fn announced(&self, config: &Config) -> Option<node::Tunnel> {
        self.tunnel.as_ref().map(|_| node::Tunnel {
            public_key: self.public_key,
            port: config.wireguard_port,
            probe_port: config.probe_port,
            probe_address: IpAddr::V6(probe_address(&self.public_key)),
            next_public_key: None,
            within_cluster: config.encrypt_within_cluster == Inside::Nodes,
        })
    }

    fn tunnel_side(&self, config: &Config) -> Option<TunnelSide> {
        self.tunnel.as_ref().map(|(_, tunnel)| TunnelSide {
            tunnels: Tunnels::new(config.cluster.clone(), config.node.clone(), self.public_key)
                .encrypting(config.encrypt_within_cluster),
            dies_with_agent: tunnel.implementation() == Implementation::Userspace,
        })
    }
}

async fn start(
    config: Config,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> anyhow::Result<TaskTracker> {
    let mut opened = Opened::open(&config).await?;
    let side = opened.tunnel_side(&config);
    let features = opened.datapath.features().to_vec();
    let (tasks, metrics) = (TaskTracker::new(), Metrics::default());

    let (plan_tx, plan) = watch::channel(None);
    let (routed_tx, routed) = watch::channel(None);
    let (targets_tx, targets) = watch::channel(Arc::default());
    let (paths_tx, paths) = watch::channel(crate::probe::Paths::new());
    let (reports_tx, reports) = mpsc::channel(REPORT_DEPTH);
    let (status_tx, requests) = mpsc::channel(REQUEST_DEPTH);
    let (device_tx, device_requests) = mpsc::channel(REQUEST_DEPTH);
    let (rotate_tx, rotations) = mpsc::channel(REQUEST_DEPTH);
    let (announced_tx, announced) = watch::channel(opened.announced(&config));
    let inputs = Inputs {
        reports,
        paths,
        routed,
        requests,
        shutdown: shutdown.clone(),
    };
    let outputs = Outputs {
        checks: spawn::health(&tasks, opened.healthz.take(), readiness, shutdown),
        plan: plan_tx,
        targets: targets_tx,
        gone: spawn::departures(&tasks, &mut opened.datapath, &metrics, shutdown),
    };
    spawn::upkeep(&tasks, &config, opened.datapath.take_upkeep(), shutdown);
    let maps = (opened.datapath, side);
    let reconcile = reconcile(&config, maps, (inputs, outputs), readiness, &metrics)?;
    tasks.spawn(reconcile.run());
    if let Some((settings, tunnel)) = opened.tunnel {
        let device = Device {
            keys: Keys::new(&settings.key, &config, announced_tx),
            rotations,
            settings,
            plan,
            routed: routed_tx,
            guard: opened.guard,
            metrics: metrics.tunnel.clone(),
            targets,
            paths: paths_tx,
            requests: device_requests,
            shutdown: shutdown.clone(),
        };
        tasks.spawn(device.run(tunnel));
    }
    let channels = (status_tx, config.tunnel.map(|_| device_tx));
    let status = status_source(&config, readiness, features, channels);
    let admin = (opened.listener, rotate_tx);
    spawn::admin(&tasks, admin, status, &metrics, shutdown);
    let session = (opened.credentials, announced, reports_tx);
    spawn_session(&tasks, &config, session, shutdown)?;
    Ok(tasks)
}

fn reconcile(
    config: &Config,
    (datapath, side): (Datapath, Option<TunnelSide>),
    ends: (Inputs, Outputs),
    readiness: &Readiness,
    metrics: &Metrics,
) -> anyhow::Result<Reconcile<Datapath>> {
    let reconcile = Reconcile::open(
        (config.cluster.clone(), config.node.clone()),
        datapath,
        side,
        ends,
        readiness.guard("gateway"),
        metrics.clone(),
    )
    .context("reading the maps")?;
    Ok(reconcile.serving_outside(!config.devices.is_empty()))
}

fn status_source(
    config: &Config,
    readiness: &Readiness,
    features: Vec<Feature>,
    (reconcile, device): StatusChannels,
) -> StatusSource {
    StatusSource {
        cluster: config.cluster.clone(),
        node: config.node.clone(),
        started_at: SystemTime::now(),
        readiness: readiness.clone(),
        features,
        reconcile,
        device,
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}"))
}

fn load_credentials(config: &Config) -> anyhow::Result<Credentials> {
    let credentials = Credentials::load(&config.credentials).context("loading the credentials")?;
    let expected = SpiffeId::node(
        config.trust_domain.clone(),
        config.cluster.clone(),
        config.node.clone(),
    );
    ensure!(
        *credentials.id() == expected,
        "the certificate is of {}, not of {expected}",
        credentials.id(),
    );
    Ok(credentials)
}

/// Before anything else: whatever takes its time afterwards, what was refused is refused.
async fn stand_guard(config: &Config) -> anyhow::Result<Guard> {
    let guard = Guard::load(&config.state_dir);
    if config.tunnel.is_some() {
        let stands = guard.stand(&config.tunnel_only).await;
        stands.context("refusing what only tunnels may carry")?;
    }
    Ok(guard)
}

async fn open_tunnel(
    config: &Config,
    key: &tunnel::PrivateKey,
) -> anyhow::Result<Option<(DeviceSettings, Tunnel)>> {
    let Some(mode) = config.tunnel else {
        return Ok(None);
    };
    let settings = DeviceSettings {
        mode,
        device: config.tunnel_device.clone(),
        port: config.wireguard_port,
        mtu: config.tunnel_mtu,
        key: key.clone(),
        only: config.tunnel_only.clone(),
        probe_port: config.probe_port,
        probe: config.probe,
        node: config.node.clone(),
    };
    let tunnel = settings.open().await.context("opening the tunnel")?;
    Ok(Some((settings, tunnel)))
}

/// Ways to the tasks that the status asks.
type StatusChannels = (
    mpsc::Sender<oneshot::Sender<Snapshot>>,
    Option<mpsc::Sender<StatusRequest>>,
);

/// What a session is made with: who the node is, what it announces, and who hears of the session.
type Session = (
    Credentials,
    watch::Receiver<Option<node::Tunnel>>,
    mpsc::Sender<Report>,
);

fn spawn_session(
    tasks: &TaskTracker,
    config: &Config,
    (credentials, announced, events): Session,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let instance = start_instance(config.node.as_str()).context("naming the agent by its node")?;
    let (feed, announce) = Announce::new(
        config.cluster.clone(),
        config.node.clone(),
        announced,
        shutdown.clone(),
    );
    tasks.spawn(announce.run());
    let settings = Settings {
        cluster: config.cluster.clone(),
        instance,
        is_node: true,
        credentials: Arc::new(credentials),
        heartbeat_interval: DEFAULT_HEARTBEAT_INTERVAL,
        detect_multiplier: DEFAULT_DETECT_MULTIPLIER,
    };
    let expected = SpiffeId::gateway(config.trust_domain.clone(), config.cluster.clone());
    let dialer = Dialer {
        settings,
        expected,
        addresses: config.gateways.clone(),
        feed,
        resume: Resume::default(),
        subscribes: Subscribes::Later,
        compares: false,
        events,
        max_backoff: DEFAULT_MAX_BACKOFF,
        seed: seed(),
    };
    tasks.spawn(dialer.run(shutdown.clone()));
    Ok(())
}

/// Another one in each process, so that agents do not dial in step.
fn seed() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::from(since.subsec_nanos()) ^ (u64::from(std::process::id()) << 32)
}
