//! Which frontends a service asks for, and which of its ports get none.

use std::net::IpAddr;

use cluster_registry::{
    service::{Protocol, Service, ServicePort},
    view::MergedService,
};
use node_dp_common::FrontendKey;

use super::Problem;

/// The frontends that a service asks for, each with its port.
pub(super) fn frontends(
    service: Option<&MergedService>,
) -> impl Iterator<Item = (FrontendKey, &ServicePort)> {
    let local = service.and_then(|service| service.local.as_deref());
    local
        .filter(|service| service.has_frontends())
        .into_iter()
        .flat_map(addressed)
}

fn addressed(service: &Service) -> impl Iterator<Item = (FrontendKey, &ServicePort)> {
    let ports = service
        .ports
        .iter()
        .filter(|port| is_supported(port.protocol));
    ports.flat_map(|port| {
        let ips = service.cluster_ips.iter().copied();
        ips.map(move |ip: IpAddr| {
            (
                FrontendKey::new(ip, port.port, port.protocol.number()),
                port,
            )
        })
    })
}

/// The ports of a service that sockets do not translate.
pub(super) fn unsupported(service: &MergedService) -> impl Iterator<Item = Problem> {
    let local = service.local.iter().filter(|local| local.has_frontends());
    let ports = local.flat_map(|local| &local.ports);
    ports
        .filter(|port| !is_supported(port.protocol))
        .map(|port| Problem::UnsupportedProtocol {
            protocol: port.protocol,
            port: port.port,
        })
}

fn is_supported(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Tcp | Protocol::Udp => true,
        Protocol::Sctp => false,
    }
}
