//! What an agent says of itself.

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use serde::{Deserialize, Serialize};

use super::Replica;

/// Everything that an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentStatus {
    /// Its cluster.
    pub cluster: String,
    /// Its node.
    pub node: String,
    /// Its program's version.
    pub version: String,
    /// When it started, in seconds since 1970.
    pub started_at_unix_s: u64,
    /// Whether it may serve.
    pub ready: bool,
    /// Its session with its cluster's gateway.
    pub gateway: GatewayLink,
    /// The kernel, and what was chosen for it.
    pub kernel: Kernel,
    /// Its end of the tunnels.
    pub tunnel: Tunnel,
    /// The clusters, with the verdict on each.
    pub clusters: Vec<ClusterVerdict>,
    /// How full the kernel's maps are.
    pub maps: DatapathMaps,
    /// How many connections and packets were not served, by reason.
    pub drops: BTreeMap<String, u64>,
    /// The last thing that went wrong, if anything has.
    pub last_error: Option<String>,
}

/// An agent's sessions with the gateways of its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayLink {
    /// Where the gateway is that is read, or the last one was, or was last looked for.
    pub address: Option<SocketAddr>,
    /// Whether a session is up.
    pub connected: bool,
    /// The newest round trip to the gateway that is read, in microseconds.
    pub rtt_us: Option<u64>,
    /// The sessions that are up, one for each of the gateways.
    pub replicas: Vec<Replica>,
}

/// The kernel, and what was chosen for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kernel {
    /// Its release, as `uname -r` says it.
    pub release: String,
    /// What was chosen, by feature.
    pub features: BTreeMap<String, Feature>,
}

/// What was chosen for one feature.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Feature {
    /// The choice.
    pub chosen: String,
    /// Why.
    pub reason: String,
}

/// A node's end of the tunnels to other clusters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tunnel {
    /// `kernel`, `userspace` or `off`.
    pub implementation: String,
    /// Why that one.
    pub reason: String,
    /// The network device.
    pub device: String,
    /// Its public key, in hexadecimal.
    pub public_key: String,
    /// The UDP port that it listens on.
    pub port: u16,
    /// The nodes at the other ends.
    pub peers: Vec<TunnelPeer>,
    /// The clusters at the other ends.
    pub clusters: Vec<TunnelCluster>,
}

/// All tunnels to the nodes of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TunnelCluster {
    /// Its name.
    pub cluster: String,
    /// How many nodes there are tunnels to.
    pub peers: usize,
    /// The shortest of the latest round trips of probes, in microseconds.
    pub rtt_us: Option<u64>,
    /// How many of a thousand probes are lost, of the latest 64 to each probed node.
    pub loss_per_mille: Option<u16>,
    /// When keys were last agreed on with any of its nodes, in seconds since 1970.
    pub last_handshake_unix_s: Option<u64>,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
}

/// A node at the other end of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TunnelPeer {
    /// Its cluster.
    pub cluster: String,
    /// Its name.
    pub node: String,
    /// Where it is reached.
    pub endpoint: Option<SocketAddr>,
    /// The ranges that go through the tunnel, in CIDR notation.
    pub allowed_ips: Vec<String>,
    /// When keys were last agreed on, in seconds since 1970.
    pub last_handshake_unix_s: Option<u64>,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
}

/// The state in which the kernel keeps a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterState {
    /// It gets new connections.
    Up,
    /// A part of the new connections goes elsewhere.
    Draining,
    /// It gets none.
    #[default]
    Down,
    /// It gets none, for a rehearsal.
    Drill,
}

impl fmt::Display for ClusterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
            Self::Drill => "drill",
        })
    }
}

/// What probes through the tunnels say of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathState {
    /// Probes are answered.
    Good,
    /// Probes are lost.
    Lost,
    /// There is nobody to probe, or no answer yet.
    #[default]
    Unknown,
}

impl fmt::Display for PathState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "good",
            Self::Lost => "lost",
            Self::Unknown => "unknown",
        })
    }
}

/// A cluster, and why it gets traffic or not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterVerdict {
    /// Its name.
    pub cluster: String,
    /// Its index in the kernel's maps.
    pub index: u16,
    /// What the kernel does with it.
    pub state: ClusterState,
    /// Why.
    pub reason: String,
    /// Whether the gateways' session lives: `connected` or `lost`.
    pub control: String,
    /// What the probes say.
    pub path: PathState,
    /// The newest round trip of a probe, in microseconds.
    pub rtt_us: Option<u64>,
    /// Since when it is in that state, in milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// How full the kernel's maps are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DatapathMaps {
    /// Frontends.
    pub services: u64,
    /// Backends.
    pub backends: u64,
}
