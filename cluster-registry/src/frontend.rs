//! The frontends that a service asks for in its own cluster, whichever node serves them.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use crate::{
    service::{IpMode, Protocol, Service, ServicePort, Timestamp},
    traffic::IpFamily,
    view::MergedService,
};

/// What clients dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
    /// The transport protocol.
    pub protocol: Protocol,
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ip, port, protocol } = self;
        match ip {
            IpAddr::V4(ip) => write!(f, "{ip}:{port}/{protocol}"),
            IpAddr::V6(ip) => write!(f, "[{ip}]:{port}/{protocol}"),
        }
    }
}

impl MergedService {
    /// Its frontends: at its cluster IPs, external IPs and load balancer's addresses, and at its import's.
    pub fn frontends(&self) -> BTreeSet<Frontend> {
        let local = self.local.as_deref();
        let local = local.filter(|local| local.has_frontends());
        let own = local.into_iter().flat_map(|local| {
            let outside = local.outside_ips().map(|(ip, _)| ip);
            at(
                local.cluster_ips.iter().copied().chain(outside),
                &local.ports,
            )
        });
        let import = self.addressed_import().into_iter();
        let import =
            import.flat_map(|import| at(self.clusterset_ips.iter().copied(), &import.ports));
        own.chain(import).collect()
    }

    /// When the service that asks for frontends was made: of two that ask for one, the older has it.
    pub fn age(&self) -> Timestamp {
        let import = self.import.as_ref().map(|import| import.oldest.created);
        let local = self.local.as_ref().map(|service| service.created);
        local.or(import).unwrap_or_default()
    }
}

impl Service {
    /// The addresses at which clients from outside the cluster dial it, and whether each is its load balancer's.
    ///
    /// Only those of its families count, and none where the load balancer ends connections itself.
    pub fn outside_ips(&self) -> impl Iterator<Item = (IpAddr, bool)> + Clone {
        let exposure = self.exposure.as_deref();
        let balanced = exposure
            .into_iter()
            .flat_map(|exposure| &exposure.load_balancer)
            .filter(|address| address.mode == IpMode::Vip)
            .map(|address| (address.ip, true));
        let external = exposure.into_iter().flat_map(|e| &e.external_ips);
        balanced
            .chain(external.map(|ip| (*ip, false)))
            .filter(|(ip, _)| self.has_family_of(*ip))
    }

    /// Whether it is of the family of an address; one that does not say has the families of its cluster IPs.
    pub fn has_family_of(&self, ip: IpAddr) -> bool {
        if self.ip_families.is_empty() {
            let mut own = self.cluster_ips.iter();
            return own.any(|own| own.is_ipv4() == ip.is_ipv4());
        }
        self.ip_families.contains(IpFamily::of(ip))
    }
}

fn at(ips: impl Iterator<Item = IpAddr>, ports: &[ServicePort]) -> impl Iterator<Item = Frontend> {
    ips.flat_map(|ip| {
        ports.iter().map(move |port| Frontend {
            ip,
            port: port.port,
            protocol: port.protocol,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        service::{Exposure, LoadBalancerIp, ServiceKind},
        testing::ip,
        traffic::{IpFamilies, IpFamilyPolicy},
    };

    fn frontends(service: Service) -> Vec<String> {
        let merged = MergedService {
            local: Some(service.into()),
            ..MergedService::default()
        };
        merged.frontends().iter().map(ToString::to_string).collect()
    }

    fn exposed() -> Service {
        let balanced = |text, mode| LoadBalancerIp { ip: ip(text), mode };
        Service {
            cluster_ips: vec![ip("10.96.0.1")],
            ip_families: IpFamilies::new([IpFamily::V4], IpFamilyPolicy::SingleStack),
            ports: vec![ServicePort::new(None, Protocol::Udp, 53)],
            exposure: Some(Box::new(Exposure {
                external_ips: vec![ip("192.0.2.1"), ip("2001:db8::1")],
                load_balancer: vec![
                    balanced("192.0.2.2", IpMode::Vip),
                    balanced("192.0.2.3", IpMode::Proxy),
                ],
                ..Exposure::default()
            })),
            ..Service::default()
        }
    }

    #[test]
    fn a_service_asks_for_its_ports_at_all_addresses_of_its_families() {
        assert_eq!(
            frontends(exposed()),
            ["10.96.0.1:53/UDP", "192.0.2.1:53/UDP", "192.0.2.2:53/UDP"]
        );
    }

    #[test]
    fn a_service_without_families_has_those_of_its_cluster_ips() {
        let service = Service {
            cluster_ips: vec![ip("fd00::1")],
            ip_families: IpFamilies::default(),
            ..exposed()
        };
        assert_eq!(
            frontends(service),
            ["[2001:db8::1]:53/UDP", "[fd00::1]:53/UDP"]
        );
    }

    #[test]
    fn a_headless_service_asks_for_none() {
        let service = Service {
            kind: ServiceKind::Headless,
            ..exposed()
        };
        assert_eq!(frontends(service), [""; 0]);
    }
}
