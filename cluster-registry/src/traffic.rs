//! What steers a service's traffic: IP families, session affinity, traffic policies and the preference for near endpoints.

use std::{fmt, net::IpAddr, time::Duration};

/// A version of the Internet Protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpFamily {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for IpFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The families that a service has, the primary one first; a value that cannot name one twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct IpFamilies {
    first: Option<IpFamily>,
    second: Option<IpFamily>,
    policy: IpFamilyPolicy,
}

/// How many families a service asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum IpFamilyPolicy {
    /// One.
    #[default]
    SingleStack,
    /// Both where the cluster has both.
    PreferDualStack,
    /// Both, or none.
    RequireDualStack,
}

impl IpFamilies {
    /// These families in this order; a repeated one counts once.
    pub fn new(families: impl IntoIterator<Item = IpFamily>, policy: IpFamilyPolicy) -> Self {
        let mut families = families.into_iter();
        let first = families.next();
        Self {
            first,
            second: families.find(|family| Some(*family) != first),
            policy,
        }
    }

    /// How many families were asked for.
    pub fn policy(self) -> IpFamilyPolicy {
        self.policy
    }

    /// The families, the primary one first.
    pub fn iter(self) -> impl Iterator<Item = IpFamily> {
        self.first.into_iter().chain(self.second)
    }

    /// Whether the family is one of them.
    pub fn contains(self, family: IpFamily) -> bool {
        self.iter().any(|own| own == family)
    }

    /// Whether none is known.
    pub fn is_empty(self) -> bool {
        self.first.is_none()
    }
}

impl fmt::Display for IpFamilies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.second) {
            (None, _) => f.write_str("none"),
            (Some(first), None) => write!(f, "{first}"),
            (Some(first), Some(second)) => write!(f, "{first},{second}"),
        }
    }
}

/// Whether a client stays with its backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum SessionAffinity {
    /// Each connection may go to another backend.
    #[default]
    None,
    /// Connections from one address go to one backend.
    ClientIp {
        /// How long after its last connection a client is remembered, in whole seconds.
        timeout: Duration,
    },
}

impl fmt::Display for SessionAffinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::ClientIp { .. } => "ClientIP",
        })
    }
}

/// Which endpoints traffic may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum TrafficPolicy {
    /// All.
    #[default]
    Cluster,
    /// Only those on the node that handles the traffic.
    Local,
}

impl fmt::Display for TrafficPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "Cluster",
            Self::Local => "Local",
        })
    }
}

/// Which endpoints are preferred for being near.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrafficDistribution {
    /// Those in the client's zone (also spelt `PreferClose`).
    PreferSameZone,
    /// Those on the client's node.
    PreferSameNode,
}

impl fmt::Display for TrafficDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreferSameZone => "PreferSameZone",
            Self::PreferSameNode => "PreferSameNode",
        })
    }
}
