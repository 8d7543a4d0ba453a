//! A service as its cluster defines it: the addresses and ports that clients dial, and whether other clusters share it.

use std::{fmt, net::IpAddr, num::NonZeroU16, sync::Arc, time::Duration};

use ipnet::IpNet;

use crate::{
    mcs::Export,
    name::PortName,
    traffic::{IpFamilies, SessionAffinity, TrafficDistribution, TrafficPolicy},
};

/// The most ports of a service or an endpoint that count; Kubernetes allows 100 in one EndpointSlice.
pub const MAX_PORTS: usize = 256;

/// The most external IPs, and the most load balancer addresses, of a service that count.
pub const MAX_OUTSIDE_ADDRESSES: usize = 64;

/// The most source ranges of a service that count.
pub const MAX_SOURCE_RANGES: usize = 256;

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
    /// The port that every node of the service's own cluster serves it at.
    pub node_port: Option<NonZeroU16>,
    /// The application's protocol, as a hint for those who read it.
    pub app_protocol: Option<Arc<str>>,
}

impl ServicePort {
    /// A port without the rarer fields.
    pub fn new(name: Option<PortName>, protocol: Protocol, port: u16) -> Self {
        Self {
            name,
            protocol,
            port,
            node_port: None,
            app_protocol: None,
        }
    }
}

/// The type of a service; `clusterIP: None` is a type of its own, as clients see another thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ServiceKind {
    /// Clients dial an address of the cluster.
    #[default]
    ClusterIp,
    /// That, and a port of every node.
    NodePort,
    /// That, and an address of a load balancer before the nodes.
    LoadBalancer,
    /// A name for something elsewhere: neither addresses nor endpoints, and never exported.
    ExternalName,
    /// Clients dial the endpoints' own addresses.
    Headless,
}

/// What stands behind an address of a load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum IpMode {
    /// Packets reach the nodes with the address as their destination, so the nodes may answer it themselves.
    #[default]
    Vip,
    /// The load balancer ends connections, so nodes must not take its place.
    Proxy,
}

/// An address of a service's load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadBalancerIp {
    /// The address.
    pub ip: IpAddr,
    /// What stands behind it.
    pub mode: IpMode,
}

/// Whether source ranges name those who may use a load balancer, or those who may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum SourcePolicy {
    /// They alone may.
    #[default]
    Allow,
    /// Everybody else may.
    Deny,
}

/// How a service is reached from outside its cluster; other clusters are never told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Exposure {
    /// Addresses that somebody routes to the nodes (`externalIPs`).
    pub external_ips: Vec<IpAddr>,
    /// The addresses that its load balancer has (`status.loadBalancer.ingress`).
    pub load_balancer: Vec<LoadBalancerIp>,
    /// The address that was asked of the load balancer (`loadBalancerIP`).
    pub requested_ip: Option<IpAddr>,
    /// Who may, or may not, use the load balancer's addresses; if empty, everybody may.
    pub source_ranges: Vec<IpNet>,
    /// Which of both.
    pub source_policy: SourcePolicy,
    /// Whether its load balancer needs no node ports (`allocateLoadBalancerNodePorts: false`).
    pub omits_node_ports: bool,
    /// Where nodes say whether they have local endpoints, for `externalTrafficPolicy: Local`.
    pub health_check_node_port: Option<NonZeroU16>,
    /// Which endpoints traffic from outside may use.
    pub traffic_policy: TrafficPolicy,
}

/// A point in time: whole seconds since 1970, as Kubernetes stamps objects.
///
/// Zero, the default, is what an object without a timestamp has: it counts as the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

/// How long a client stays with its backend when a service does not say (Kubernetes' default: three hours).
pub const DEFAULT_AFFINITY_TIMEOUT: Duration = Duration::from_secs(10_800);

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
    /// Whether other clusters may merge the service's backends into theirs of the same name.
    pub fn is_exported(&self) -> bool {
        self.global && self.shared
    }
}

/// A service of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Service {
    /// Its type.
    pub kind: ServiceKind,
    /// The cluster IPs, at most one per family; empty for a headless service.
    pub cluster_ips: Vec<IpAddr>,
    /// The families that it has, the primary one first.
    pub ip_families: IpFamilies,
    /// The ports, in the object's order.
    pub ports: Vec<ServicePort>,
    /// How other clusters take part by annotation.
    pub sharing: Sharing,
    /// Whether a client stays with its backend.
    pub session_affinity: SessionAffinity,
    /// Which endpoints traffic from inside the cluster may use.
    pub internal_traffic_policy: TrafficPolicy,
    /// Which endpoints are preferred for being near.
    pub traffic_distribution: Option<TrafficDistribution>,
    /// Whether endpoints count before they are ready; the source has then set their conditions so.
    pub publish_not_ready: bool,
    /// How it is reached from outside; `None` for one that only has cluster IPs.
    pub exposure: Option<Box<Exposure>>,
    /// When the object was made.
    pub created: Timestamp,
    /// Present when the cluster has a valid ServiceExport of the service's name.
    pub export: Option<Box<Export>>,
}

impl Service {
    /// Whether clients are meant to see the endpoints' own addresses (`clusterIP: None`).
    pub fn is_headless(&self) -> bool {
        self.kind == ServiceKind::Headless
    }

    /// Whether the service has addresses of its own that clients dial.
    pub fn has_frontends(&self) -> bool {
        match self.kind {
            ServiceKind::ClusterIp | ServiceKind::NodePort | ServiceKind::LoadBalancer => true,
            ServiceKind::ExternalName | ServiceKind::Headless => false,
        }
    }

    /// Whether other clusters may know of the service and its endpoints, by annotation or by ServiceExport.
    pub fn is_exported(&self) -> bool {
        self.is_shared() || self.mcs_export().is_some()
    }

    /// Whether other clusters may merge the service's endpoints into their own service of the name.
    pub fn is_shared(&self) -> bool {
        self.kind != ServiceKind::ExternalName && self.sharing.is_exported()
    }

    /// The ServiceExport that counts: one of an ExternalName service does not.
    pub fn mcs_export(&self) -> Option<&Export> {
        let export = self.export.as_deref();
        export.filter(|_| self.kind != ServiceKind::ExternalName)
    }

    /// What other clusters are told of it: node ports and outside addresses are its own cluster's business.
    #[must_use]
    pub fn for_peers(&self) -> Self {
        let mut told = self.clone();
        told.exposure = None;
        told.created = Timestamp::default();
        for port in &mut told.ports {
            port.node_port = None;
        }
        told
    }
}
