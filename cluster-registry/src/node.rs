//! A node: where its pods' addresses are, and how the tunnel to it is reached.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

/// A node as its cluster's source describes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Node {
    /// The addresses at which other nodes reach it (`InternalIP`), in the object's order.
    pub addresses: Vec<IpAddr>,
    /// The ranges of its pods' addresses.
    pub pod_cidrs: Vec<IpNet>,
    /// The topology zone, if known.
    pub zone: Option<String>,
}

/// A WireGuard public key (Curve25519).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// The tunnel end of a node, announced by its own agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tunnel {
    /// The key that its peers encrypt to.
    pub public_key: PublicKey,
    /// The UDP port that it listens on, at the node's addresses.
    pub port: u16,
    /// The UDP port at which the agent answers path probes that arrive through the tunnel.
    pub probe_port: u16,
    /// The address, inside the node's pod CIDRs or of its own, that probes are sent to.
    pub probe_address: IpAddr,
    /// The key that will take the other's place, from when the node will use it: its peers take its handshakes already.
    pub next_public_key: Option<PublicKey>,
    /// Whether the other nodes of its own cluster shall reach its pods through the tunnel as well.
    pub within_cluster: bool,
}
