//! A link: the wish to have a peer, with where it is, who dials, what it may announce and what it is told.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    num::{NonZeroU16, NonZeroU32},
    str::FromStr,
    time::SystemTime,
};

use crate::{
    import::{Grants, Namespaces},
    name::{ClusterName, HostName, ParseNameError},
};

/// Whether this side dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Dial {
    /// The side whose name sorts first dials.
    #[default]
    Auto,
    /// This side dials, whatever the names.
    Always,
    /// This side waits to be dialled.
    Never,
}

/// Where a peer's gateway is found: a host name, resolved anew each time it is dialled, or an IP address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An address as it is.
    Ip(IpAddr),
    /// A name that is resolved.
    Name(HostName),
}

/// Where a peer's gateway listens (UDP).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddress {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: NonZeroU16,
}

/// Why a text is not where a peer is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddressError {
    /// There is no port behind the host.
    #[error("it has no port: write HOST:PORT, and an IPv6 address in brackets")]
    NoPort,
    /// The port is not a number from 1 to 65535.
    #[error("its port '{0}' is not a number from 1 to 65535")]
    Port(String),
    /// The host looks like an IPv4 address and is none.
    #[error("'{0}' is not an IPv4 address")]
    NotAnAddress(String),
    /// The host is neither an address nor a name.
    #[error("its host is not a name")]
    Host(#[source] ParseNameError),
}

impl FromStr for PeerAddress {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Self::try_from(address);
        }
        let (host, port) = text.rsplit_once(':').ok_or(ParseAddressError::NoPort)?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(ParseAddressError::NoPort);
        }
        let port = port
            .parse()
            .map_err(|_not_a_port| ParseAddressError::Port(port.to_owned()))?;
        Ok(Self {
            host: Host::Name(parse_host(host)?),
            port,
        })
    }
}

fn parse_host(text: &str) -> Result<HostName, ParseAddressError> {
    // No top-level domain is a number, so that a name that ends in one is a mistyped address.
    let last = text.rsplit('.').next().unwrap_or_default();
    if !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseAddressError::NotAnAddress(text.to_owned()));
    }
    HostName::parse(&text.to_ascii_lowercase()).map_err(ParseAddressError::Host)
}

impl TryFrom<SocketAddr> for PeerAddress {
    type Error = ParseAddressError;

    /// Fails for port 0, at which nobody listens.
    fn try_from(address: SocketAddr) -> Result<Self, Self::Error> {
        let port = NonZeroU16::new(address.port())
            .ok_or_else(|| ParseAddressError::Port("0".to_owned()))?;
        Ok(Self {
            host: Host::Ip(address.ip()),
            port,
        })
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V4(address)) => write!(f, "{address}:{}", self.port),
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// How much is taken from one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limits {
    /// Services.
    pub services: usize,
    /// Endpoints.
    pub endpoints: usize,
    /// Nodes, and as many tunnel ends.
    pub nodes: usize,
    /// Updates a second, in the long run.
    pub updates_per_second: NonZeroU32,
}

const DEFAULT_UPDATES_PER_SECOND: NonZeroU32 = NonZeroU32::new(30_000).expect("it is not zero");

impl Limits {
    /// How many resources a peer may share in all.
    pub fn resources(&self) -> usize {
        let nodes = self.nodes.saturating_mul(2);
        self.services
            .saturating_add(self.endpoints)
            .saturating_add(nodes)
    }
}

impl Default for Limits {
    /// Above what Kubernetes supports in one cluster: 10,000 services, 150,000 pods and 5,000 nodes.
    ///
    /// All pods of such a cluster could be replaced in ten seconds.
    fn default() -> Self {
        Self {
            services: 20_000,
            endpoints: 200_000,
            nodes: 10_000,
            updates_per_second: DEFAULT_UPDATES_PER_SECOND,
        }
    }
}

/// A link as it is configured, by a flag or by a ClusterLink object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSpec {
    /// The cluster that it leads to.
    pub cluster: ClusterName,
    /// Where its gateways are; tried in turn.
    pub addresses: Vec<PeerAddress>,
    /// Whether this side dials.
    pub dial: Dial,
    /// What the peer may announce.
    pub grants: Grants,
    /// The namespaces whose services the peer is told of.
    pub export_to: Namespaces,
    /// How much is taken from the peer.
    pub limits: Limits,
    /// Whether the peer's word counts for when its objects were created.
    pub trust_timestamps: bool,
}

impl LinkSpec {
    /// A link to a cluster that says nothing else.
    pub fn new(cluster: ClusterName) -> Self {
        Self {
            cluster,
            addresses: Vec::new(),
            dial: Dial::default(),
            grants: Grants::default(),
            export_to: Namespaces::default(),
            limits: Limits::default(),
            trust_timestamps: false,
        }
    }

    /// Whether the cluster that has this link dials.
    pub fn is_dialled_by(&self, own: &ClusterName) -> bool {
        match self.dial {
            Dial::Auto => *own < self.cluster,
            Dial::Always => true,
            Dial::Never => false,
        }
    }
}

/// How a link does, as its owner shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStatus {
    /// Whether a session is up.
    pub connected: bool,
    /// Since when that is so.
    pub since: SystemTime,
    /// Why no session is up, if it is known.
    pub reason: Option<String>,
    /// Whether what is held of the peer is all that it has said.
    pub synced: bool,
    /// Whether the gateway has just started and may not conclude anything yet from knowing nothing of the peer.
    pub awaited: bool,
    /// Updates taken since the link was made.
    pub accepted: u64,
    /// Updates refused since the link was made, by the refusal's label.
    pub refused: BTreeMap<&'static str, u64>,
    /// When the certificate ends that the peer last showed.
    pub certificate_expires: Option<SystemTime>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_at_an_address_or_at_a_name() {
        for (text, shown) in [
            ("192.0.2.2:4700", "192.0.2.2:4700"),
            ("[2001:db8::2]:4700", "[2001:db8::2]:4700"),
            ("GW.West.example:4700", "gw.west.example:4700"),
            ("gateway:1", "gateway:1"),
        ] {
            let address: PeerAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
        }
    }

    #[test]
    fn a_malformed_address_says_what_is_wrong() {
        for (text, says) in [
            ("192.0.2.2", "it has no port"),
            ("2001:db8::2:4700", "it has no port"),
            ("gw.example:", "its port ''"),
            ("gw.example:0", "its port '0'"),
            ("192.0.2.2:0", "its port '0'"),
            ("gw.example:65536", "its port '65536'"),
            ("192.0.2.300:4700", "'192.0.2.300' is not an IPv4 address"),
            ("gw_west:4700", "its host is not a name"),
            (":4700", "its host is not a name"),
            ("[gw]:4700", "its host is not a name"),
        ] {
            let error = text.parse::<PeerAddress>().unwrap_err().to_string();
            assert!(error.starts_with(says), "{text}: {error}");
        }
    }

    #[test]
    fn the_cluster_whose_name_sorts_first_dials() {
        let link = LinkSpec::new(ClusterName::parse("west").unwrap());
        let name = |text| ClusterName::parse(text).unwrap();

        assert!(link.is_dialled_by(&name("east")));
        assert!(!link.is_dialled_by(&name("zurich")));
    }
}
