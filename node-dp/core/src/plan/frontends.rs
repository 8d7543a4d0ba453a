//! Which frontends a service asks for, which endpoints are behind each, and which of its ports get none.

use std::{collections::BTreeSet, net::IpAddr};

use cluster_registry::{
    name::ClusterName,
    service::{IpMode, Protocol, Service, ServicePort, Timestamp},
    traffic::IpFamily,
    view::{Endpoints, MergedService},
};
use node_dp_common::FrontendKey;

use super::Problem;

/// A frontend that a service asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) frontend: FrontendKey,
    pub(super) port: &'a ServicePort,
    pub(super) reach: Reach,
}

/// Whose endpoints are behind a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Those of the service of this cluster, merged by annotation.
    Service,
    /// Those of the clusters that export the service and its port.
    Import,
}

impl Wanted<'_> {
    /// The endpoints that may be behind the frontend, by cluster.
    pub(super) fn endpoints<'a>(
        &'a self,
        service: &'a MergedService,
    ) -> Box<dyn Iterator<Item = (&'a ClusterName, &'a Endpoints)> + 'a> {
        match self.reach {
            Reach::Service => Box::new(service.endpoints.iter()),
            Reach::Import => Box::new(service.import_endpoints_of(self.port)),
        }
    }
}

/// The frontends that a service asks for; each once.
pub(super) fn frontends(service: &MergedService) -> impl Iterator<Item = Wanted<'_>> {
    let local = service.local.as_deref();
    let local = local.filter(|service| service.has_frontends());
    let own = local.into_iter().flat_map(|service| {
        let ips = addresses(service);
        at(ips, &service.ports, Reach::Service)
    });
    let import = service.addressed_import().into_iter().flat_map(|import| {
        let ips = service.clusterset_ips.iter().copied();
        at(ips, &import.ports, Reach::Import)
    });
    let mut asked = BTreeSet::new();
    own.chain(import)
        .filter(move |wanted| asked.insert(wanted.frontend))
}

/// When the service that asks for frontends was made: of two that ask for one, the older has it.
pub(super) fn age(service: &MergedService) -> Timestamp {
    let import = service.import.as_ref().map(|import| import.oldest.created);
    let local = service.local.as_ref().map(|service| service.created);
    local.or(import).unwrap_or_default()
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
    reach: Reach,
) -> impl Iterator<Item = Wanted<'a>> {
    let ports = ports.iter().filter(|port| is_supported(port.protocol));
    ports.flat_map(move |port| {
        ips.clone().map(move |ip| Wanted {
            frontend: FrontendKey::new(ip, port.port, port.protocol.number()),
            port,
            reach,
        })
    })
}

/// Where clients on this cluster's nodes dial a service.
///
/// A load balancer that ends connections, or that lets in only some, keeps its place: sockets would pass by it.
fn addresses(service: &Service) -> impl Iterator<Item = IpAddr> + Clone {
    let exposure = service.exposure.as_deref();
    let external = exposure.into_iter().flat_map(|e| &e.external_ips).copied();
    let balanced = exposure
        .into_iter()
        .filter(|exposure| exposure.source_ranges.is_empty())
        .flat_map(|exposure| &exposure.load_balancer)
        .filter(|address| address.mode == IpMode::Vip)
        .map(|address| address.ip);
    let outside = external
        .chain(balanced)
        .filter(|ip| !service.cluster_ips.contains(ip));
    let families = service.ip_families;
    let outside =
        outside.filter(move |ip| families.is_empty() || families.contains(IpFamily::of(*ip)));
    service.cluster_ips.iter().copied().chain(outside)
}

fn is_supported(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Tcp | Protocol::Udp => true,
        Protocol::Sctp => false,
    }
}
