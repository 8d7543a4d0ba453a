//! A service as its cluster defines it: the addresses and ports that clients dial, and whether other clusters share it.

use std::{fmt, net::IpAddr};

use crate::name::PortName;

/// A transport protocol that a service port can speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, Kubernetes' default.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The protocol number in an IP header (IANA).
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePort {
    /// The port's name; `None` when the service has one unnamed port.
    pub name: Option<PortName>,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port that clients dial.
    pub port: u16,
}

/// Which cluster's backends a global service prefers while they are able to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ClusterAffinity {
    /// All backends alike.
    #[default]
    None,
    /// Backends of the client's own cluster; the others' when it has none.
    Local,
    /// Backends of other clusters; the own ones when they have none.
    Remote,
}

/// How a service takes part in the clusterset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sharing {
    /// Whether the service merges with those of the same name in other clusters.
    pub global: bool,
    /// Whether other clusters see this cluster's backends; only meaningful with `global`.
    pub shared: bool,
    /// Which backends this cluster's clients prefer.
    pub affinity: ClusterAffinity,
}

impl Sharing {
    /// Whether other clusters may know of the service and its backends.
    pub fn is_exported(&self) -> bool {
        self.global && self.shared
    }
}

/// A service of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Service {
    /// The cluster IPs, at most one per family; empty for a headless service.
    pub cluster_ips: Vec<IpAddr>,
    /// Whether clients are meant to see the endpoints' own addresses (`clusterIP: None`).
    pub headless: bool,
    /// The ports, in the object's order.
    pub ports: Vec<ServicePort>,
    /// How other clusters take part.
    pub sharing: Sharing,
}
