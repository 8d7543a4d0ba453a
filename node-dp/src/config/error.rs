//! Why flags make no configuration.

use std::io;

use certs::identity::ParseIdError;
use cluster_registry::link::ParseAddressError;
use node_dp_core::tunnel::inside::ParseInsideError;

use crate::datapath::SetSizeError;

/// Why flags make no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A flag that is needed is not there.
    #[error("--{0} is needed")]
    Missing(&'static str),
    /// The trust domain is not one.
    #[error("--trust-domain")]
    TrustDomain(#[from] ParseIdError),
    /// A gateway's address is none.
    #[error("--gateway {0}: write ADDRESS:PORT or NAME:PORT")]
    Gateway(String, #[source] ParseAddressError),
    /// A map's size is none.
    #[error("--map-sizes {0}: write MAP=ENTRIES")]
    MapSize(String),
    /// A map's size cannot be set so.
    #[error("--map-sizes {0}")]
    SetMapSize(String, #[source] SetSizeError),
    /// The tunnel mode is not one.
    #[error("--tunnel {0}: write auto, kernel, userspace or off")]
    Tunnel(String),
    /// What is encrypted within the cluster is not said.
    #[error("--encrypt-within-cluster")]
    WithinCluster(#[from] ParseInsideError),
    /// Nothing can be encrypted within the cluster.
    #[error("--encrypt-within-cluster nodes needs tunnels, which --tunnel off turns off")]
    NoTunnel,
    /// The lifetime is too short for keys to be announced.
    #[error(
        "--tunnel-key-lifetime must be at least a minute, as a key is announced before it is used, or 0s"
    )]
    TunnelKeyLifetime,
    /// The interval is zero.
    #[error("--probe-interval must be longer than nothing")]
    ProbeInterval,
    /// The mounts could not be read.
    #[error("cannot read /proc/mounts to find the cgroup2 mount")]
    Mounts(#[source] io::Error),
    /// No cgroup v2 hierarchy is mounted.
    #[error("no cgroup2 is mounted: mount one, or name one with --cgroup")]
    NoCgroup2,
}
