//! The settings of the gateway, checked once: what comes out of here is used as it is.

pub(crate) mod link;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use certs::identity::{ParseIdError, TrustDomain};
use cluster_registry::{
    link::LinkSpec,
    mcs::addresses::{Allocator, PoolError},
    name::{ClusterName, ParseNameError},
};
use isthmus_daemon::telemetry::{LogFormat, TelemetryConfig};
use serde_json::{Value, json};

use crate::args::Args;

/// Shorter heartbeats cost more than they tell: a scheduler's delay would look like a dead peer.
const MIN_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(10);

/// Where this cluster's objects come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SourceKind {
    /// A directory of manifests.
    Manifests(PathBuf),
    /// The Kubernetes API server.
    Kubernetes,
}

impl SourceKind {
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Manifests(_) => "manifests",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// The settings.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) cluster: ClusterName,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) credentials: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) source: SourceKind,
    /// Tells this replica from the others.
    pub(crate) replica: String,
    /// What imports get their addresses from.
    pub(crate) clusterset_pools: Allocator,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) links: Vec<LinkSpec>,
    pub(crate) dns_listen: Vec<SocketAddr>,
    pub(crate) admin_listen: SocketAddr,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) detect_multiplier: u32,
    pub(crate) hold_time: Duration,
    pub(crate) shutdown_deadline: Duration,
    pub(crate) otlp_endpoint: Option<String>,
    pub(crate) log_format: LogFormat,
}

/// Why the flags make no settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("--cluster is not a cluster's name")]
    Cluster(#[source] ParseNameError),
    #[error("--trust-domain is not a trust domain")]
    TrustDomain(#[source] ParseIdError),
    #[error("--link {0} is this cluster itself")]
    LinkToSelf(ClusterName),
    #[error("--link {0} is there twice")]
    LinkTwice(ClusterName),
    #[error("--link {0} has no address to dial: add address=HOST:PORT, or dial=never")]
    NoAddress(ClusterName),
    #[error("--clusterset-cidr cannot be used")]
    Pool(#[source] PoolError),
    #[error("--heartbeat-interval must be {MIN_HEARTBEAT_INTERVAL:?} at least")]
    Heartbeat,
    #[error("--detect-multiplier must be 1 at least")]
    Multiplier,
    #[error("either --manifests or --kubernetes must be given")]
    NoSource,
}

impl Config {
    /// What telemetry needs to know.
    pub(crate) fn telemetry(&self) -> TelemetryConfig {
        TelemetryConfig {
            service_name: "isthmus-gateway",
            cluster: self.cluster.clone(),
            otlp_endpoint: self.otlp_endpoint.clone(),
            log_format: self.log_format,
        }
    }

    /// The settings for people to read; secrets are only ever named by their files.
    pub(crate) fn describe(&self) -> Value {
        let manifests = match &self.source {
            SourceKind::Manifests(dir) => json!(dir),
            SourceKind::Kubernetes => Value::Null,
        };
        json!({
            "cluster": self.cluster.as_str(),
            "trust-domain": self.trust_domain.as_str(),
            "credentials": self.credentials,
            "listen": self.listen,
            "manifests": manifests,
            "kubernetes": self.source == SourceKind::Kubernetes,
            "replica": self.replica,
            "clusterset-cidr": self.clusterset_pools.pools(),
            "state-dir": self.state_dir,
            "links": self.links.iter().map(link::describe).collect::<Vec<_>>(),
            "dns-listen": self.dns_listen,
            "admin-listen": self.admin_listen,
            "heartbeat-interval": format!("{:?}", self.heartbeat_interval),
            "detect-multiplier": self.detect_multiplier,
            "hold-time": format!("{:?}", self.hold_time),
            "shutdown-deadline": format!("{:?}", self.shutdown_deadline),
            "otlp-endpoint": self.otlp_endpoint,
            "log-format": self.log_format,
        })
    }
}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    fn try_from(args: Args) -> Result<Self, Self::Error> {
        let cluster = ClusterName::parse(&args.cluster).map_err(ConfigError::Cluster)?;
        check_links(&cluster, &args.links)?;
        if args.heartbeat_interval < MIN_HEARTBEAT_INTERVAL {
            return Err(ConfigError::Heartbeat);
        }
        if args.detect_multiplier == 0 {
            return Err(ConfigError::Multiplier);
        }
        let source = match (args.manifests, args.kubernetes) {
            (Some(dir), _) => SourceKind::Manifests(dir),
            (None, true) => SourceKind::Kubernetes,
            (None, false) => return Err(ConfigError::NoSource),
        };
        let pools = Allocator::try_new(args.clusterset_cidr).map_err(ConfigError::Pool)?;
        Ok(Self {
            replica: args.replica.unwrap_or_else(default_replica),
            clusterset_pools: pools,
            cluster,
            trust_domain: TrustDomain::parse(&args.trust_domain)
                .map_err(ConfigError::TrustDomain)?,
            credentials: args.credentials,
            listen: args.listen,
            source,
            state_dir: args.state_dir,
            links: args.links,
            dns_listen: args.dns_listen,
            admin_listen: args.admin_listen,
            heartbeat_interval: args.heartbeat_interval,
            detect_multiplier: args.detect_multiplier,
            hold_time: args.hold_time,
            shutdown_deadline: args.shutdown_deadline,
            otlp_endpoint: args.otlp_endpoint,
            log_format: args.log_format,
        })
    }
}

fn check_links(cluster: &ClusterName, links: &[LinkSpec]) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    for link in links {
        if link.cluster == *cluster {
            return Err(ConfigError::LinkToSelf(link.cluster.clone()));
        }
        if !seen.insert(&link.cluster) {
            return Err(ConfigError::LinkTwice(link.cluster.clone()));
        }
        if link.is_dialled_by(cluster) && link.addresses.is_empty() {
            return Err(ConfigError::NoAddress(link.cluster.clone()));
        }
    }
    Ok(())
}

/// A name that no other replica has at the same time.
fn default_replica() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}
