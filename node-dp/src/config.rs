//! The agent's flags, and what they come to once checked.

mod error;
mod parse;
mod shown;

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use certs::identity::TrustDomain;
use clap::Parser;
use cluster_registry::{
    link::PeerAddress,
    name::{ClusterName, NodeName},
};
use ipnet::IpNet;
use isthmus_daemon::{duration, telemetry::LogFormat};
use node_dp_core::{probe::ProbeConfig, tunnel::inside::Inside};

use crate::{
    datapath::{FastPath, MapSizes},
    tunnel,
};

pub use error::ConfigError;
use parse::{parse_gateway, parse_lifetime, parse_sizes, parse_tunnel};

/// The agent of one node: sends the traffic of services where it belongs.
#[derive(Debug, Parser)]
#[command(name = "isthmus-agent", version)]
pub struct Args {
    /// The cluster that the node belongs to.
    #[arg(long, env = "ISTHMUS_CLUSTER", required_unless_present = "uninstall")]
    pub cluster: Option<ClusterName>,
    /// The node's name, as Kubernetes and its certificate know it.
    #[arg(long, env = "ISTHMUS_NODE", required_unless_present = "uninstall")]
    pub node: Option<NodeName>,
    /// The trust domain of the clusterset.
    #[arg(long, env = "ISTHMUS_TRUST_DOMAIN", default_value = "cluster.local")]
    pub trust_domain: String,
    /// The directory with ca.pem, cert.pem and key.pem.
    #[arg(
        long,
        env = "ISTHMUS_CREDENTIALS",
        value_name = "DIR",
        required_unless_present = "uninstall"
    )]
    pub credentials: Option<PathBuf>,
    /// Where a gateway of the own cluster listens, as ADDRESS:PORT or NAME:PORT; several, and all that a name has, are dialled.
    #[arg(
        long,
        env = "ISTHMUS_GATEWAY",
        value_name = "ADDR",
        value_delimiter = ',',
        required_unless_present = "uninstall"
    )]
    pub gateway: Vec<String>,
    /// Where the node's key is kept.
    #[arg(
        long,
        env = "ISTHMUS_STATE_DIR",
        value_name = "DIR",
        default_value = "/var/lib/isthmus"
    )]
    pub state_dir: PathBuf,
    /// Where maps and programs are pinned; a bpffs is mounted there if there is none.
    #[arg(
        long,
        env = "ISTHMUS_BPFFS",
        value_name = "DIR",
        default_value = "/sys/fs/bpf/isthmus"
    )]
    pub bpffs: PathBuf,
    /// How many entries maps can hold, such as services=131072,backends=1048576; see docs/kube-proxy.md for their names.
    #[arg(
        long,
        env = "ISTHMUS_MAP_SIZES",
        value_name = "MAP=ENTRIES",
        value_delimiter = ','
    )]
    pub map_sizes: Vec<String>,
    /// The cgroup v2 directory whose processes see the services [default: where cgroup2 is mounted].
    #[arg(long, env = "ISTHMUS_CGROUP", value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// The devices at which packets from outside are translated: node ports, external IPs, load balancers; several are
    /// separated by commas. An address of the first one stands for clients whose backend is on another node.
    #[arg(
        long,
        env = "ISTHMUS_DEVICE",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub device: Vec<String>,
    /// Whether XDP forwards packets of flows under way at those devices: off, auto (by the driver where it can, else by the
    /// kernel in its place), native or generic.
    #[arg(long, env = "ISTHMUS_XDP", default_value_t = FastPath::Off)]
    pub xdp: FastPath,
    /// The node's address within its pods' prefix, which stands for outside clients of other clusters' backends; one per
    /// family.
    #[arg(
        long,
        env = "ISTHMUS_TUNNEL_ADDRESS",
        value_name = "IP",
        value_delimiter = ','
    )]
    pub tunnel_address: Vec<IpAddr>,
    /// Which WireGuard carries traffic between clusters: auto, kernel, userspace, or off for none.
    #[arg(long, env = "ISTHMUS_TUNNEL", default_value = "auto")]
    pub tunnel: String,
    /// What goes through tunnels within the cluster too: off, or nodes for all that pods send to pods of other nodes.
    #[arg(
        long,
        env = "ISTHMUS_ENCRYPT_WITHIN_CLUSTER",
        value_name = "WHAT",
        default_value = "off"
    )]
    pub encrypt_within_cluster: String,
    /// Ranges of other clusters' pods that lead into the tunnel or nowhere, even before the agent has heard of them; several
    /// are separated by commas.
    #[arg(
        long,
        env = "ISTHMUS_TUNNEL_ONLY",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub tunnel_only: Vec<IpNet>,
    /// The name of the tunnel device.
    #[arg(
        long,
        env = "ISTHMUS_TUNNEL_DEVICE",
        value_name = "NAME",
        default_value = "isthmus0"
    )]
    pub tunnel_device: String,
    /// The largest MTU inside the tunnel; it is less where the path to another node asks for that.
    #[arg(long, env = "ISTHMUS_TUNNEL_MTU", default_value_t = tunnel::MAX_MTU)]
    pub tunnel_mtu: u16,
    /// How long a tunnel key is used before another takes its place, such as 24h; 0s for as long as nobody asks for another.
    #[arg(
        long,
        env = "ISTHMUS_TUNNEL_KEY_LIFETIME",
        value_name = "DURATION",
        value_parser = duration::parse,
        default_value = "24h"
    )]
    pub tunnel_key_lifetime: Duration,
    /// The UDP port of the tunnels.
    #[arg(
        long,
        env = "ISTHMUS_WIREGUARD_PORT",
        value_name = "PORT",
        default_value_t = 51_872
    )]
    pub wireguard_port: u16,
    /// The UDP port of path probes, inside the tunnels.
    #[arg(
        long,
        env = "ISTHMUS_PROBE_PORT",
        value_name = "PORT",
        default_value_t = 4701
    )]
    pub probe_port: u16,
    /// The time between two probes of a node.
    #[arg(
        long,
        env = "ISTHMUS_PROBE_INTERVAL",
        value_name = "DURATION",
        default_value = "100ms",
        value_parser = duration::parse
    )]
    pub probe_interval: Duration,
    /// So many probes in a row lose a path, or bring it back.
    #[arg(
        long,
        env = "ISTHMUS_PROBE_MULTIPLIER",
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub probe_multiplier: u32,
    /// Where health, metrics and status are served.
    #[arg(
        long,
        env = "ISTHMUS_ADMIN_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:9471"
    )]
    pub admin_listen: SocketAddr,
    /// Where `/healthz` is served as kube-proxy does, for load balancers, as in `[::]:10256` [default: nowhere].
    #[arg(long, env = "ISTHMUS_HEALTHZ_LISTEN", value_name = "ADDR")]
    pub healthz_listen: Option<SocketAddr>,
    /// Where traces go (OTLP over gRPC).
    #[arg(long, env = "ISTHMUS_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// How log lines look: text or json.
    #[arg(long, env = "ISTHMUS_LOG_FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// How long the end may take.
    #[arg(
        long,
        env = "ISTHMUS_SHUTDOWN_DEADLINE",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = duration::parse
    )]
    pub shutdown_deadline: Duration,
    /// Prints the configuration and ends.
    #[arg(long)]
    pub print_config: bool,
    /// Removes programs, maps, routes and the tunnel device from the node, and ends.
    #[arg(long)]
    pub uninstall: bool,
}

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster that the node belongs to.
    pub cluster: ClusterName,
    /// The node.
    pub node: NodeName,
    /// The trust domain of the clusterset.
    pub trust_domain: TrustDomain,
    /// The directory with the credentials.
    pub credentials: PathBuf,
    /// Where gateways listen.
    pub gateways: Vec<PeerAddress>,
    /// Where the node's key is kept.
    pub state_dir: PathBuf,
    /// Where maps and programs are pinned.
    pub bpffs: PathBuf,
    /// How many entries maps can hold.
    pub map_sizes: MapSizes,
    /// The cgroup whose processes see the services.
    pub cgroup: PathBuf,
    /// The devices at which packets are translated.
    pub devices: Vec<String>,
    /// Whether XDP forwards packets at them.
    pub xdp: FastPath,
    /// The addresses that stand for outside clients of other clusters' backends.
    pub tunnel_addresses: BTreeSet<IpAddr>,
    /// Which tunnels; `None` for none.
    pub tunnel: Option<tunnel::Mode>,
    /// What goes through tunnels within the cluster.
    pub encrypt_within_cluster: Inside,
    /// Ranges that lead into the tunnel or nowhere.
    pub tunnel_only: BTreeSet<IpNet>,
    /// The name of the tunnel device.
    pub tunnel_device: String,
    /// The MTU inside the tunnel.
    pub tunnel_mtu: u16,
    /// How long a key of the tunnel is used; `None` for ever.
    pub tunnel_key_lifetime: Option<Duration>,
    /// The UDP port of the tunnels.
    pub wireguard_port: u16,
    /// The UDP port of path probes.
    pub probe_port: u16,
    /// How paths are probed.
    pub probe: ProbeConfig,
    /// Where health, metrics and status are served.
    pub admin_listen: SocketAddr,
    /// Where load balancers are told whether the node serves.
    pub healthz_listen: Option<SocketAddr>,
    /// Where traces go.
    pub otlp_endpoint: Option<String>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// How long the end may take.
    pub shutdown_deadline: Duration,
}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    fn try_from(args: Args) -> Result<Self, Self::Error> {
        let gateways: Result<Vec<PeerAddress>, ConfigError> = args
            .gateway
            .iter()
            .map(|text| parse_gateway(text))
            .collect();
        if args.gateway.is_empty() {
            return Err(ConfigError::Missing("gateway"));
        }
        if args.probe_interval.is_zero() {
            return Err(ConfigError::ProbeInterval);
        }
        let tunnel = parse_tunnel(&args.tunnel)?;
        let encrypt_within_cluster = args.encrypt_within_cluster.parse()?;
        if tunnel.is_none() && encrypt_within_cluster != Inside::Off {
            return Err(ConfigError::NoTunnel);
        }
        let cgroup = match args.cgroup {
            Some(cgroup) => cgroup,
            None => cgroup2_mount()?,
        };
        Ok(Self {
            cluster: args.cluster.ok_or(ConfigError::Missing("cluster"))?,
            node: args.node.ok_or(ConfigError::Missing("node"))?,
            trust_domain: TrustDomain::parse(&args.trust_domain)?,
            credentials: args
                .credentials
                .ok_or(ConfigError::Missing("credentials"))?,
            gateways: gateways?,
            state_dir: args.state_dir,
            bpffs: args.bpffs,
            map_sizes: parse_sizes(&args.map_sizes)?,
            cgroup,
            devices: args.device,
            xdp: args.xdp,
            tunnel_addresses: args.tunnel_address.into_iter().collect(),
            tunnel,
            encrypt_within_cluster,
            tunnel_only: args.tunnel_only.iter().map(IpNet::trunc).collect(),
            tunnel_device: args.tunnel_device,
            tunnel_mtu: args.tunnel_mtu,
            tunnel_key_lifetime: parse_lifetime(args.tunnel_key_lifetime)?,
            wireguard_port: args.wireguard_port,
            probe_port: args.probe_port,
            probe: ProbeConfig {
                interval: args.probe_interval,
                multiplier: args.probe_multiplier,
            },
            admin_listen: args.admin_listen,
            healthz_listen: args.healthz_listen,
            otlp_endpoint: args.otlp_endpoint,
            log_format: args.log_format,
            shutdown_deadline: args.shutdown_deadline,
        })
    }
}

impl Config {
    /// The devices at which packets from outside are translated: those that are named, and the tunnel's, where such packets
    /// leave for other clusters.
    pub(crate) fn served_devices(&self) -> Vec<String> {
        let mut devices = self.devices.clone();
        if !devices.is_empty() && self.tunnel.is_some() && !devices.contains(&self.tunnel_device) {
            devices.push(self.tunnel_device.clone());
        }
        devices
    }
}

fn cgroup2_mount() -> Result<PathBuf, ConfigError> {
    let mounts = fs::read_to_string("/proc/mounts").map_err(ConfigError::Mounts)?;
    find_cgroup2(&mounts).ok_or(ConfigError::NoCgroup2)
}

/// The first cgroup v2 mount; hybrid hierarchies have it elsewhere than at /sys/fs/cgroup.
fn find_cgroup2(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    })
}

#[cfg(test)]
mod tests;
