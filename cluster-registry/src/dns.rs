//! Answers questions below `clusterset.local` from the view: addresses of global services, and the schema's version.
//!
//! Only global services exist here. One with a cluster IP answers this cluster's own cluster IPs; a headless one
//! answers the ready endpoints of all clusters, also of those whose control session is lost. A cluster's name before a
//! service's is reserved by the Multi-Cluster Services API and never exists.

use std::net::IpAddr;

use crate::{
    name::ServiceName,
    view::{MergedService, View},
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
    /// This text.
    Text(&'static str),
    /// The name exists, but has no record of the type.
    NoData,
    /// The name does not exist.
    NxDomain,
}

/// Answers a question for a name below `clusterset.local`, given as its lower-case labels without that ending.
pub fn lookup(view: &View, labels: &[&str], kind: RecordKind) -> Answer {
    match labels {
        [] | ["svc"] => Answer::NoData,
        ["dns-version"] => match kind {
            RecordKind::Txt => Answer::Text(SCHEMA_VERSION),
            RecordKind::A | RecordKind::Aaaa | RecordKind::Other => Answer::NoData,
        },
        [namespace, "svc"] => namespace_answer(view, namespace),
        [service, namespace, "svc"] => service_answer(view, service, namespace, kind),
        _ => Answer::NxDomain,
    }
}

/// A namespace's own name has no records, but must exist while a name below it does (RFC 8020).
fn namespace_answer(view: &View, namespace: &str) -> Answer {
    let mut named = view
        .services
        .iter()
        .filter(|(name, _)| name.namespace.as_str() == namespace);
    if named.any(|(_, service)| addresses(service).is_some()) {
        Answer::NoData
    } else {
        Answer::NxDomain
    }
}

fn service_answer(view: &View, service: &str, namespace: &str, kind: RecordKind) -> Answer {
    let found = ServiceName::parse(namespace, service)
        .ok()
        .and_then(|name| view.services.get(&name))
        .and_then(|service| addresses(service));
    let Some(mut addresses) = found else {
        return Answer::NxDomain;
    };
    addresses.retain(|address| match kind {
        RecordKind::A => address.is_ipv4(),
        RecordKind::Aaaa => address.is_ipv6(),
        RecordKind::Txt | RecordKind::Other => false,
    });
    if addresses.is_empty() {
        Answer::NoData
    } else {
        Answer::Addresses(addresses)
    }
}

/// The addresses of a service, of both families; `None` when its name does not exist.
fn addresses(service: &MergedService) -> Option<Vec<IpAddr>> {
    let local = service.local.as_ref()?;
    if !local.sharing.global {
        return None;
    }
    if !local.is_headless() {
        return Some(local.cluster_ips.clone());
    }
    let mut ready: Vec<IpAddr> = service
        .endpoints
        .values()
        .flatten()
        .filter(|(_, endpoint)| endpoint.conditions.ready)
        .map(|(address, _)| *address)
        .collect();
    ready.sort_unstable();
    ready.dedup();
    (!ready.is_empty()).then_some(ready)
}

#[cfg(test)]
mod tests;
