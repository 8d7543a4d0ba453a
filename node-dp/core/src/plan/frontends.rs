//! Which frontends a service asks for, which endpoints are behind each, and which of its ports get none.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
};

use cluster_registry::{
    name::ClusterName,
    service::{Protocol, Service, ServicePort, SourcePolicy},
    traffic::{SessionAffinity, TrafficDistribution, TrafficPolicy},
    view::{Endpoints, MergedService},
};
use ipnet::IpNet;
use node_dp_common::FrontendKey;

use super::Problem;

/// A frontend that a service asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) frontend: FrontendKey,
    pub(super) port: &'a ServicePort,
    pub(super) reach: Reach,
    /// Which of their endpoints it may use.
    pub(super) policy: TrafficPolicy,
    /// Whether it is an address of the load balancer, which keeps to the service's source ranges.
    pub(super) is_balanced: bool,
}

/// Whose endpoints are behind a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Those of the service of this cluster, merged by annotation.
    Service,
    /// Those of the clusters that export the service and its port.
    Import,
    /// Those of the service, for clients from outside the cluster.
    Outside,
}

impl Reach {
    /// Whether clients come from outside the cluster.
    pub(super) fn is_outside(self) -> bool {
        match self {
            Self::Outside => true,
            Self::Service | Self::Import => false,
        }
    }
}

impl<'w> Wanted<'w> {
    /// The endpoints that may be behind the frontend, by cluster.
    pub(super) fn endpoints<'a>(
        &self,
        service: &'a MergedService,
    ) -> Box<dyn Iterator<Item = (&'a ClusterName, &'a Endpoints)> + 'a>
    where
        'w: 'a,
    {
        match self.reach {
            Reach::Service | Reach::Outside => Box::new(service.endpoints.iter()),
            Reach::Import => Box::new(service.import_endpoints_of(self.port)),
        }
    }
}

impl Wanted<'_> {
    /// For how many seconds after its last connection a client keeps its backend; `None` where it does not.
    pub(super) fn affinity_timeout(&self, service: &MergedService) -> Option<NonZeroU32> {
        let own = service.local.as_ref().map(|local| local.session_affinity);
        let imported = service.import.as_ref();
        let imported = imported.map(|import| import.session_affinity);
        let affinity = match self.reach {
            Reach::Service | Reach::Outside => own,
            Reach::Import => imported,
        };
        match affinity.unwrap_or_default() {
            SessionAffinity::None => None,
            SessionAffinity::ClientIp { timeout } => {
                NonZeroU32::new(u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX))
            }
        }
    }

    /// Which endpoints are preferred for being near.
    pub(super) fn distribution(&self, service: &MergedService) -> Option<TrafficDistribution> {
        let (own, import) = (service.local.as_ref(), service.import.as_ref());
        match self.reach {
            Reach::Service | Reach::Outside => own.and_then(|own| own.traffic_distribution),
            Reach::Import => import.and_then(|import| import.traffic_distribution),
        }
    }

    /// Who may, or may not, use the frontend; empty for everybody.
    pub(super) fn source_ranges<'a>(
        &self,
        service: &'a MergedService,
    ) -> (SourcePolicy, &'a [IpNet]) {
        let exposure = service
            .local
            .as_ref()
            .and_then(|service| service.exposure.as_deref());
        match exposure {
            Some(exposure) if self.is_balanced => (exposure.source_policy, &exposure.source_ranges),
            Some(_) | None => (SourcePolicy::Allow, &[]),
        }
    }
}

/// The frontends that a service asks for, each once; with those for clients from outside, if the node serves them.
pub(super) fn frontends(
    service: &MergedService,
    serves_outside: bool,
) -> impl Iterator<Item = Wanted<'_>> {
    let local = service.local.as_deref();
    let local = local.filter(|service| service.has_frontends());
    let own = local.into_iter().flat_map(|service| {
        let internal = service.internal_traffic_policy;
        let ips = service.cluster_ips.iter().copied();
        let own = at(ips, &service.ports, (Reach::Service, internal));
        // As with kube-proxy, the internal policy is of the cluster IPs alone.
        let policy = TrafficPolicy::Cluster;
        own.chain(at(
            outside_addresses(service),
            &service.ports,
            (Reach::Service, policy),
        ))
        .chain(at_own_node(service))
    });
    let import = service.addressed_import().into_iter().flat_map(|import| {
        let ips = service.clusterset_ips.iter().copied();
        let policy = import.internal_traffic_policy;
        at(ips, &import.ports, (Reach::Import, policy))
    });
    let outside = local.filter(|_| serves_outside).into_iter();
    let outside = outside.flat_map(outside_of);
    let mut asked = BTreeSet::new();
    own.chain(import)
        .chain(outside)
        .filter(move |wanted| asked.insert(wanted.frontend))
}

/// The ports of a service that sockets do not translate.
pub(super) fn unsupported(service: &MergedService) -> impl Iterator<Item = Problem> {
    let local = service.local.as_deref();
    let local = local.filter(|local| local.has_frontends());
    let own = local.into_iter().flat_map(|local| &local.ports);
    let import = service.addressed_import().into_iter();
    let imported = import
        .filter(move |_| local.is_none())
        .flat_map(|import| &import.ports);
    own.chain(imported)
        .filter(|port| !is_supported(port.protocol))
        .map(|port| Problem::UnsupportedProtocol {
            protocol: port.protocol,
            port: port.port,
        })
}

fn at<'a>(
    ips: impl Iterator<Item = IpAddr> + Clone + 'a,
    ports: &'a [ServicePort],
    (reach, policy): (Reach, TrafficPolicy),
) -> impl Iterator<Item = Wanted<'a>> {
    let ports = ports.iter().filter(|port| is_supported(port.protocol));
    ports.flat_map(move |port| {
        ips.clone().map(move |ip| Wanted {
            frontend: FrontendKey::new(ip, port.port, port.protocol.number()),
            port,
            reach,
            policy,
            is_balanced: false,
        })
    })
}

/// Where clients on this cluster's nodes dial a service, besides its cluster IPs.
///
/// A load balancer that ends connections, or that lets in only some, keeps its place: sockets would pass by it.
fn outside_addresses(service: &Service) -> impl Iterator<Item = IpAddr> + Clone {
    let exposure = service.exposure.as_deref();
    let is_open = exposure.is_none_or(|exposure| exposure.source_ranges.is_empty());
    let outside = service.outside_ips();
    let outside = outside.filter(move |(_, is_balanced)| is_open || !is_balanced);
    let outside = outside.map(|(ip, _)| ip);
    outside.filter(|ip| !service.cluster_ips.contains(ip))
}

/// The node ports as sockets on the node see them at its own addresses: like kube-proxy, whatever the external policy.
fn at_own_node(service: &Service) -> impl Iterator<Item = Wanted<'_>> {
    let ports = service.ports.iter();
    let ports = ports.filter(|port| is_supported(port.protocol));
    ports.flat_map(move |port| {
        let node_port = port.node_port.into_iter();
        node_port.flat_map(move |node_port| {
            any_addresses(service).map(move |any| {
                let dialled = FrontendKey::new(any, node_port.get(), port.protocol.number());
                Wanted {
                    frontend: dialled.at_own_node(),
                    port,
                    reach: Reach::Service,
                    policy: TrafficPolicy::Cluster,
                    is_balanced: false,
                }
            })
        })
    })
}

/// The unspecified addresses of the families that a service has.
fn any_addresses(service: &Service) -> impl Iterator<Item = IpAddr> + Clone + '_ {
    let any = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    any.into_iter().filter(|ip| service.has_family_of(*ip))
}

/// Where clients from outside reach a service: at its node ports, its external IPs, and its load balancer's addresses.
fn outside_of(service: &Service) -> impl Iterator<Item = Wanted<'_>> {
    let exposure = service.exposure.as_deref();
    let policy = exposure.map(|exposure| exposure.traffic_policy);
    let policy = policy.unwrap_or_default();
    let outside: Vec<(IpAddr, bool)> = service.outside_ips().collect();
    let ports = service.ports.iter();
    let ports = ports.filter(|port| is_supported(port.protocol));
    ports.flat_map(move |port| {
        let number = port.protocol.number();
        let node_port = port.node_port.into_iter().flat_map(move |node_port| {
            any_addresses(service).map(move |ip| (ip, node_port.get(), false))
        });
        let at_addresses = outside.clone().into_iter();
        let at_addresses = at_addresses.map(|(ip, is_balanced)| (ip, port.port, is_balanced));
        at_addresses
            .chain(node_port)
            .map(move |(ip, at, is_balanced)| Wanted {
                frontend: FrontendKey::new(ip, at, number).from_outside(),
                port,
                reach: Reach::Outside,
                policy,
                is_balanced,
            })
    })
}

fn is_supported(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Tcp | Protocol::Udp => true,
        Protocol::Sctp => false,
    }
}
