//! The names of endpoints: a headless service's addresses, each endpoint's own name, and where its ports are.
//!
//! An endpoint's name is its host name or, without one, its address with hyphens for dots and colons.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use super::Place;
use crate::{
    endpoint::Endpoint,
    name::{ClusterName, ServiceName},
    service::ServicePort,
    view::{Endpoints, EndpointsByCluster},
};

/// The most addresses of one answer: of IPv6 ones they take 28 KiB, and no answer may take more than 64.
const MAX_ADDRESSES: usize = 1_000;

/// The most places of one answer, whose targets may take 253 bytes each.
const MAX_PLACES: usize = 200;

/// The longest name (RFC 1035, section 2.3.4), and what stands behind a target.
const MAX_NAME_BYTES: usize = 253;
const ZONE: &str = ".clusterset.local";

/// A ready endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready<'a> {
    cluster: &'a ClusterName,
    address: IpAddr,
    endpoint: &'a Endpoint,
}

/// The ready endpoints of all clusters.
pub(super) fn ready(endpoints: &EndpointsByCluster) -> impl Iterator<Item = Ready<'_>> {
    let all = endpoints.iter().flat_map(|(cluster, endpoints)| {
        let endpoints = endpoints.iter();
        endpoints.map(move |(address, endpoint)| (cluster, *address, endpoint))
    });
    all.filter(|(_, _, endpoint)| endpoint.conditions.ready)
        .map(|(cluster, address, endpoint)| Ready {
            cluster,
            address,
            endpoint,
        })
}

/// The ready addresses that are asked for, each once.
///
/// If there are too many, those with the first names count, so that a host's addresses of both families are in or out.
pub(super) fn addresses(
    endpoints: &EndpointsByCluster,
    is_asked: impl Fn(IpAddr) -> bool,
) -> Vec<IpAddr> {
    let mut asked: Vec<Ready<'_>> = ready(endpoints).filter(|r| is_asked(r.address)).collect();
    if asked.len() > MAX_ADDRESSES {
        asked.sort_by_key(|ready| (ready.endpoint.hostname.as_deref(), ready.address));
        asked.truncate(MAX_ADDRESSES);
    }
    let mut addresses: Vec<IpAddr> = asked.iter().map(|ready| ready.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The ready addresses of the endpoint of a name.
pub(super) fn addresses_of(endpoints: &Endpoints, name: &str) -> Vec<IpAddr> {
    let is_nameless = |endpoint: &Arc<Endpoint>| endpoint.hostname.is_none();
    if let Some(address) = address_of(name)
        && endpoints.get(&address).is_some_and(is_nameless)
    {
        let endpoint = endpoints.get(&address);
        let ready = endpoint.filter(|endpoint| endpoint.conditions.ready);
        return ready.map(|_| address).into_iter().collect();
    }
    let named = endpoints.iter().filter(|(_, endpoint)| {
        endpoint.conditions.ready && endpoint.hostname.as_deref() == Some(name)
    });
    named.map(|(address, _)| *address).collect()
}

/// Where the endpoints serve some ports of their service, which may be others in each cluster.
pub(super) fn places<'a>(
    service: &ServiceName,
    endpoints: &EndpointsByCluster,
    ports_of: impl Fn(&ClusterName) -> Vec<&'a ServicePort>,
) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let mut ports: Option<(&ClusterName, Vec<&ServicePort>)> = None;
    for ready in ready(endpoints) {
        if ports.as_ref().is_none_or(|(of, _)| *of != ready.cluster) {
            ports = Some((ready.cluster, ports_of(ready.cluster)));
        }
        let ports = ports.iter().flat_map(|(_, ports)| ports);
        let target = format!(
            "{}.{}.{}.{}.svc",
            name_of(&ready),
            ready.cluster,
            service.name,
            service.namespace
        );
        if target.len() + ZONE.len() > MAX_NAME_BYTES {
            // Nobody could ask for it.
            continue;
        }
        let numbers = ports.filter_map(|port| {
            let mut own = ready.endpoint.ports.iter();
            own.find(|own| own.name == port.name && own.protocol == port.protocol)
        });
        places.extend(numbers.map(|own| Place {
            target: target.clone(),
            port: own.port,
        }));
    }
    places.sort();
    places.dedup();
    places.truncate(MAX_PLACES);
    places
}

fn name_of(ready: &Ready<'_>) -> String {
    match &ready.endpoint.hostname {
        Some(hostname) => hostname.to_string(),
        None => ready.address.to_string().replace(['.', ':'], "-"),
    }
}

/// The address that a name is made of.
fn address_of(name: &str) -> Option<IpAddr> {
    let v4 = name.replace('-', ".").parse::<Ipv4Addr>();
    let v6 = || name.replace('-', ":").parse::<Ipv6Addr>();
    v4.map(IpAddr::V4).or_else(|_| v6().map(IpAddr::V6)).ok()
}
