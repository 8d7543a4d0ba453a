//! The flags of the gateway, each of which an environment variable can give too.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use cluster_registry::link::LinkSpec;
use ipnet::IpNet;
use isthmus_daemon::{duration, telemetry::LogFormat};
use mesh_link::settings::DEFAULT_DETECT_MULTIPLIER;

use crate::config::link;

/// The gateway of a cluster in an Isthmus clusterset.
#[derive(Debug, Parser)]
#[command(name = "isthmus-gateway", version, max_term_width = 100)]
pub(crate) struct Args {
    /// The cluster that this gateway speaks for
    #[arg(long, env = "ISTHMUS_CLUSTER")]
    pub(crate) cluster: String,
    /// The trust domain of the clusterset
    #[arg(long, env = "ISTHMUS_TRUST_DOMAIN", default_value = "cluster.local")]
    pub(crate) trust_domain: String,
    /// The directory with ca.pem, cert.pem and key.pem
    #[arg(long, env = "ISTHMUS_CREDENTIALS", value_name = "DIR")]
    pub(crate) credentials: PathBuf,
    /// Where peers and this cluster's nodes reach the gateway (UDP)
    #[arg(long, env = "ISTHMUS_LISTEN", default_value = "[::]:4700")]
    pub(crate) listen: SocketAddr,
    /// Read this cluster's objects from the manifests in a directory
    #[arg(
        long,
        env = "ISTHMUS_MANIFESTS",
        value_name = "DIR",
        conflicts_with = "kubernetes",
        required_unless_present = "kubernetes"
    )]
    pub(crate) manifests: Option<PathBuf>,
    /// Read this cluster's objects from the Kubernetes API server
    #[arg(long, env = "ISTHMUS_KUBERNETES")]
    pub(crate) kubernetes: bool,
    /// Tells this replica of the gateway from the others, of which one writes to the API server; by default host and process
    #[arg(long, env = "ISTHMUS_REPLICA", value_name = "NAME")]
    pub(crate) replica: Option<String>,
    /// A range that imported services get their addresses from, one of each family at most in use; repeatable
    #[arg(
        long,
        env = "ISTHMUS_CLUSTERSET_CIDR",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub(crate) clusterset_cidr: Vec<IpNet>,
    /// Where the gateway keeps its state, so that it serves at once when it starts anew; without it, none is kept
    #[arg(long, env = "ISTHMUS_STATE_DIR", value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// A linked cluster, as name=west,address=gw.west.example:4700, and with commas more of address=.., dial=auto or always or
    /// never, what is taken: namespaces=a+b, cidrs=10.2.0.0/16+fd00:2::/48, max-services=N, max-endpoints=N, max-nodes=N,
    /// max-updates=N (a second), trust-timestamps=true, and what is told: exports=a+b; repeatable, and separated by ; in the environment
    #[arg(
        long = "link",
        env = "ISTHMUS_LINK",
        value_name = "LINK",
        value_delimiter = ';',
        value_parser = link::parse
    )]
    pub(crate) links: Vec<LinkSpec>,
    /// Where questions for clusterset.local are answered (UDP and TCP); repeatable
    #[arg(
        long,
        env = "ISTHMUS_DNS_LISTEN",
        default_value = "[::]:5353",
        value_delimiter = ','
    )]
    pub(crate) dns_listen: Vec<SocketAddr>,
    /// Where health, metrics and status are served (HTTP)
    #[arg(long, env = "ISTHMUS_ADMIN_LISTEN", default_value = "127.0.0.1:9470")]
    pub(crate) admin_listen: SocketAddr,
    /// The time between two heartbeats
    #[arg(long, env = "ISTHMUS_HEARTBEAT_INTERVAL", default_value = "100ms", value_parser = duration::parse)]
    pub(crate) heartbeat_interval: Duration,
    /// After how many silent intervals a peer is lost
    #[arg(long, env = "ISTHMUS_DETECT_MULTIPLIER", default_value_t = DEFAULT_DETECT_MULTIPLIER)]
    pub(crate) detect_multiplier: u32,
    /// How long a lost peer's services are kept
    #[arg(long, env = "ISTHMUS_HOLD_TIME", default_value = "15m", value_parser = duration::parse)]
    pub(crate) hold_time: Duration,
    /// How long a shutdown may take
    #[arg(long, env = "ISTHMUS_SHUTDOWN_DEADLINE", default_value = "5s", value_parser = duration::parse)]
    pub(crate) shutdown_deadline: Duration,
    /// Where traces go (OTLP over gRPC), as http://host:4317
    #[arg(long, env = "ISTHMUS_OTLP_ENDPOINT", value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
    /// How log lines look: text or json
    #[arg(long, env = "ISTHMUS_LOG_FORMAT", default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Print the resulting settings and end
    #[arg(long)]
    pub(crate) print_config: bool,
}
