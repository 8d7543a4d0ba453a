//! Answers questions below `clusterset.local` from the view, after the DNS schema of the Multi-Cluster Services API.
//!
//! A service is there if it is imported, or if it is global by annotation. An imported one answers the import's own
//! addresses; one that is global answers this cluster's cluster IPs; a headless one of either kind answers the ready
//! endpoints of all its clusters, also of those whose control session is lost. `cluster.local` is another zone, which
//! nothing here touches, and addresses are not resolved to names.

mod headless;

use std::net::IpAddr;

use crate::{
    mcs::ImportKind,
    name::{Namespace, ServiceName},
    service::{Protocol, ServicePort},
    view::{EndpointsByCluster, MergedService, View},
};

/// The version of the DNS schema of the Multi-Cluster Services API that is followed.
pub const SCHEMA_VERSION: &str = "1.0.0";

/// The type of record that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Where a service's ports are.
    Srv,
    /// Text.
    Txt,
    /// One that no name here has.
    Other,
}

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These addresses, all of the family that was asked for, and at least one.
    Addresses(Vec<IpAddr>),
    /// These places, each once, and at least one.
    Places(Vec<Place>),
    /// This text.
    Text(&'static str),
    /// The name exists, but has no record of the type.
    NoData,
    /// The name does not exist.
    NxDomain,
}

/// Where a port of a service is served (an SRV record; all have the same priority and weight).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The name to resolve, without `clusterset.local` at its end.
    pub target: String,
    /// The port.
    pub port: u16,
}

/// Answers a question for a name below `clusterset.local`, given as its lower-case labels without that ending.
pub fn lookup(view: &View, labels: &[&str], kind: RecordKind) -> Answer {
    match labels {
        [] | ["svc"] => Answer::NoData,
        ["dns-version"] => match kind {
            RecordKind::Txt => Answer::Text(SCHEMA_VERSION),
            RecordKind::A | RecordKind::Aaaa | RecordKind::Srv | RecordKind::Other => {
                Answer::NoData
            }
        },
        [namespace, "svc"] => namespace_answer(view, namespace),
        [below @ .., service, namespace, "svc"] => {
            let Ok(name) = ServiceName::parse(namespace, service) else {
                return Answer::NxDomain;
            };
            let service = view.services.get(&name);
            match service.and_then(|service| Named::find(&name, service)) {
                Some(named) => named.answer(below, kind),
                None => Answer::NxDomain,
            }
        }
        _ => Answer::NxDomain,
    }
}

/// A namespace's own name has no records, but must exist while a name below it does (RFC 8020).
fn namespace_answer(view: &View, namespace: &str) -> Answer {
    let Ok(namespace) = Namespace::parse(namespace) else {
        return Answer::NxDomain;
    };
    let first = ServiceName::first_of(namespace.clone());
    let mut inside = view
        .services
        .iter_from(&first)
        .take_while(|(name, _)| name.namespace == namespace);
    if inside.any(|(name, service)| Named::find(name, service).is_some()) {
        Answer::NoData
    } else {
        Answer::NxDomain
    }
}

/// A service whose name exists.
#[derive(Debug)]
struct Named<'a> {
    name: &'a ServiceName,
    service: &'a MergedService,
    ports: &'a [ServicePort],
    dialled: Dialled<'a>,
}

/// What clients of a service dial.
#[derive(Debug)]
enum Dialled<'a> {
    /// The service's own addresses.
    Addresses(&'a [IpAddr]),
    /// Its endpoints, of which at least one is ready.
    Endpoints(&'a EndpointsByCluster),
}

impl<'a> Named<'a> {
    fn find(name: &'a ServiceName, service: &'a MergedService) -> Option<Self> {
        let (ports, dialled) = if let Some(import) = &service.import {
            let dialled = match import.kind {
                ImportKind::ClusterSetIp => Dialled::Addresses(&service.clusterset_ips),
                ImportKind::Headless => Dialled::Endpoints(&service.import_endpoints),
            };
            (import.ports.as_slice(), dialled)
        } else {
            let local = service.local.as_ref()?;
            if !local.sharing.global {
                return None;
            }
            let dialled = if local.is_headless() {
                Dialled::Endpoints(&service.endpoints)
            } else {
                Dialled::Addresses(&local.cluster_ips)
            };
            (local.ports.as_slice(), dialled)
        };
        if let Dialled::Endpoints(endpoints) = dialled
            && headless::ready(endpoints).next().is_none()
        {
            return None;
        }
        Some(Self {
            name,
            service,
            ports,
            dialled,
        })
    }

    /// The answer for the labels before the service's name.
    fn answer(&self, below: &[&str], kind: RecordKind) -> Answer {
        match below {
            [] => match kind {
                RecordKind::A | RecordKind::Aaaa => found(self.addresses(kind)),
                RecordKind::Srv => places(self.places(|_| true)),
                RecordKind::Txt | RecordKind::Other => Answer::NoData,
            },
            [label] if label.starts_with('_') => self.protocol_answer(label),
            [port, protocol] if port.starts_with('_') => self.port_answer(port, protocol, kind),
            // A cluster's id is one label, or two. Alone before the service's name it is reserved, and does not exist.
            [hostname, cluster] => self.pod_answer(hostname, cluster, kind),
            [hostname, first, second] => {
                self.pod_answer(hostname, &format!("{first}.{second}"), kind)
            }
            _ => Answer::NxDomain,
        }
    }

    /// `_tcp` has no records, but exists while a port's name below it does.
    fn protocol_answer(&self, protocol: &str) -> Answer {
        let mut named = self.ports.iter().filter(|port| port.name.is_some());
        if named.any(|port| label_of(port.protocol) == protocol) {
            Answer::NoData
        } else {
            Answer::NxDomain
        }
    }

    fn port_answer(&self, port: &str, protocol: &str, kind: RecordKind) -> Answer {
        let is_asked = |own: &ServicePort| {
            let name = own.name.as_ref().map(|name| name.as_str());
            name.is_some() && name == port.strip_prefix('_') && label_of(own.protocol) == protocol
        };
        if !self.ports.iter().any(is_asked) {
            return Answer::NxDomain;
        }
        match kind {
            RecordKind::Srv => places(self.places(is_asked)),
            RecordKind::A | RecordKind::Aaaa | RecordKind::Txt | RecordKind::Other => {
                Answer::NoData
            }
        }
    }

    fn pod_answer(&self, hostname: &str, cluster: &str, kind: RecordKind) -> Answer {
        let Dialled::Endpoints(endpoints) = self.dialled else {
            return Answer::NxDomain;
        };
        let cluster = endpoints.iter().find(|(name, _)| name.as_str() == cluster);
        let named = cluster.map(|(_, endpoints)| headless::addresses_of(endpoints, hostname));
        match named {
            None => Answer::NxDomain,
            Some(addresses) if addresses.is_empty() => Answer::NxDomain,
            Some(mut addresses) => {
                addresses.retain(|address| is_of(*address, kind));
                found(addresses)
            }
        }
    }

    fn addresses(&self, kind: RecordKind) -> Vec<IpAddr> {
        match self.dialled {
            Dialled::Addresses(ips) => {
                let of_kind = ips.iter().filter(|ip| is_of(**ip, kind));
                of_kind.copied().collect()
            }
            Dialled::Endpoints(endpoints) => headless::addresses(endpoints, |ip| is_of(ip, kind)),
        }
    }

    /// Where the ports that are asked for are served.
    ///
    /// Ports that differ only in their protocol are one place, as the record does not tell the protocol.
    fn places(&self, is_asked: impl Fn(&ServicePort) -> bool) -> Vec<Place> {
        let asked = self.ports.iter().filter(|port| is_asked(port));
        match self.dialled {
            Dialled::Addresses(_) => {
                let target = format!("{}.{}.svc", self.name.name, self.name.namespace);
                let mut places: Vec<Place> = asked
                    .map(|port| Place {
                        target: target.clone(),
                        port: port.port,
                    })
                    .collect();
                places.sort();
                places.dedup();
                places
            }
            Dialled::Endpoints(endpoints) => {
                let asked: Vec<&ServicePort> = asked.collect();
                headless::places(self.name, endpoints, |cluster| {
                    let mut served = asked.clone();
                    // By annotation, each cluster's endpoints serve what they serve.
                    if self.service.import.is_some() {
                        served.retain(|port| self.service.is_exposed_by(cluster, port));
                    }
                    served
                })
            }
        }
    }
}

fn found(addresses: Vec<IpAddr>) -> Answer {
    if addresses.is_empty() {
        Answer::NoData
    } else {
        Answer::Addresses(addresses)
    }
}

fn places(places: Vec<Place>) -> Answer {
    if places.is_empty() {
        Answer::NoData
    } else {
        Answer::Places(places)
    }
}

fn is_of(address: IpAddr, kind: RecordKind) -> bool {
    match kind {
        RecordKind::A => address.is_ipv4(),
        RecordKind::Aaaa => address.is_ipv6(),
        RecordKind::Srv | RecordKind::Txt | RecordKind::Other => false,
    }
}

fn label_of(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "_tcp",
        Protocol::Udp => "_udp",
        Protocol::Sctp => "_sctp",
    }
}

#[cfg(test)]
mod tests;
