//! What a gateway says of itself.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

/// Everything that a gateway says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayStatus {
    /// Its cluster.
    pub cluster: String,
    /// Its program's version.
    pub version: String,
    /// When it started, in seconds since 1970.
    pub started_at_unix_s: u64,
    /// Whether it may serve.
    pub ready: bool,
    /// Where its cluster's objects come from.
    pub source: Source,
    /// The clusters it is linked to.
    pub peers: Vec<Peer>,
    /// The agents of its own nodes.
    pub nodes: Vec<NodeSession>,
    /// The services its cluster's clients see.
    pub services: Vec<Service>,
    /// How far the store is that peers follow.
    pub exports: StorePosition,
    /// How far the store is that its nodes follow.
    pub feed: StorePosition,
    /// Its DNS server.
    pub dns: Dns,
}

/// Where a cluster's objects come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Source {
    /// `manifests` or `kubernetes`.
    pub kind: String,
    /// Whether the complete state was read once.
    pub synced: bool,
    /// What it cannot use.
    pub problems: Vec<Problem>,
}

/// An object that a source cannot use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The file, or the object's name in Kubernetes.
    pub file: String,
    /// Which document of the file, counted from 1.
    pub document: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// Whether a linked cluster is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// A session is up.
    Connected,
    /// A session was up, and what it said still stands.
    Lost,
    /// No session has been up since the start.
    #[default]
    Never,
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connected => "connected",
            Self::Lost => "lost",
            Self::Never => "never",
        })
    }
}

/// A linked cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Peer {
    /// Its name.
    pub cluster: String,
    /// Who asked for the link: `flag` or `ClusterLink`.
    pub origin: String,
    /// Where its gateways are looked for.
    pub addresses: Vec<String>,
    /// Whether all that it shares was heard.
    pub synced: bool,
    /// When the certificate ends that it last showed, in seconds since 1970.
    pub certificate_expires_unix_s: Option<u64>,
    /// Whether it is connected.
    pub state: PeerState,
    /// Since when it is in that state, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// The address of the session, or of the last one.
    pub address: Option<SocketAddr>,
    /// The newest round trip, in microseconds.
    pub rtt_us: Option<u64>,
    /// Why it is not connected, or why not all that it shares is taken.
    pub reason: Option<String>,
    /// How many resources of its were taken.
    pub accepted: u64,
    /// How many were refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// How many resources of its are held and not shown, as its link or others' claims forbid it.
    pub withheld: u64,
    /// How many services it shares.
    pub services: u64,
    /// How many endpoints it shares.
    pub endpoints: u64,
    /// How many sessions there have been.
    pub sessions: u64,
    /// The sessions that are up, one for each of its gateways.
    pub replicas: Vec<Replica>,
}

/// A session with one of the gateways of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Replica {
    /// The name that the gateway gives itself; missing for one of a version that does not tell.
    pub replica: Option<String>,
    /// The number of its process, in hexadecimal.
    pub instance: Option<String>,
    /// Its address.
    pub address: Option<SocketAddr>,
    /// The newest round trip, in microseconds.
    pub rtt_us: Option<u64>,
    /// Whether it is the one that is read; the others take its place when it ends.
    pub lead: bool,
}

/// An agent's session with its gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSession {
    /// The node.
    pub node: String,
    /// Whether its agent is connected.
    pub connected: bool,
    /// The address of the session, or of the last one.
    pub address: Option<SocketAddr>,
    /// The newest round trip, in microseconds.
    pub rtt_us: Option<u64>,
}

/// A service as the cluster's clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether it merges with those of other clusters.
    pub global: bool,
    /// `none`, `local` or `remote`.
    pub affinity: String,
    /// The addresses that clients dial.
    pub cluster_ips: Vec<IpAddr>,
    /// The ports that clients dial.
    pub ports: Vec<Port>,
    /// Its backends, by cluster.
    pub backends: BTreeMap<String, BackendCount>,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Port {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Its number.
    pub port: u16,
}

/// How many backends a cluster gives a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BackendCount {
    /// How many may get new connections.
    pub ready: u64,
    /// How many there are.
    pub total: u64,
}

/// How far a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StorePosition {
    /// The life of the store.
    pub epoch: u64,
    /// Its newest change.
    pub revision: u64,
}

/// A gateway's DNS server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Where it listens.
    pub listen: Option<SocketAddr>,
    /// How many questions it has answered.
    pub queries: u64,
}
