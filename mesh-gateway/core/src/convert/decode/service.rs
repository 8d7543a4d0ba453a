//! The wire's services and endpoints as the registry's types, if they hold.

use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU16, sync::Arc, time::Duration};

use cluster_registry::{
    endpoint::{Conditions, Endpoint, EndpointPort, Hints},
    mcs::{Export, ImportAddresses, MAX_EXPORTED_BYTES},
    name::{NodeName, PortName, ServiceLabel},
    service::{
        ClusterAffinity, Exposure, IpMode, LoadBalancerIp, MAX_OUTSIDE_ADDRESSES,
        MAX_SOURCE_RANGES, Protocol, Service, ServiceKind, ServicePort, Sharing, SourcePolicy,
        Timestamp,
    },
    traffic::{
        IpFamilies, IpFamily, IpFamilyPolicy, SessionAffinity, TrafficDistribution, TrafficPolicy,
    },
};

use super::{check_count, decode_address, decode_cidr, decode_port, decode_zone, malformed};
use crate::{
    limits::{MAX_APP_PROTOCOL_BYTES, MAX_HINTS, MAX_PORTS},
    reason::Refusal,
    wire,
};

pub(super) fn decode_service(service: wire::Service) -> Result<Service, Refusal> {
    check_count(service.ports.len(), MAX_PORTS)?;
    let ports = service.ports.into_iter().map(decode_service_port);
    Ok(Service {
        kind: decode_kind(service.headless, service.kind)?,
        cluster_ips: decode_one_per_family(&service.cluster_ips)?,
        ip_families: decode_families(&service.ip_families, service.ip_family_policy)?,
        ports: ports.collect::<Result<_, _>>()?,
        sharing: Sharing {
            global: service.global,
            shared: service.shared,
            affinity: decode_affinity(service.affinity)?,
        },
        session_affinity: match service.session_affinity_timeout_s {
            0 => SessionAffinity::None,
            seconds => SessionAffinity::ClientIp {
                timeout: Duration::from_secs(u64::from(seconds)),
            },
        },
        internal_traffic_policy: policy(service.internal_local),
        traffic_distribution: match service.traffic_distribution {
            0 => None,
            1 => Some(TrafficDistribution::PreferSameZone),
            2 => Some(TrafficDistribution::PreferSameNode),
            _ => return Err(Refusal::OutOfRange),
        },
        publish_not_ready: service.publish_not_ready,
        created: Timestamp(service.created_s),
        export: match service.export {
            Some(export) => Some(Box::new(decode_export(export)?)),
            None => None,
        },
        exposure: match service.exposure {
            Some(exposure) => Some(Box::new(decode_exposure(&exposure)?)),
            None => None,
        },
    })
}

pub(super) fn decode_endpoint(endpoint: wire::Endpoint) -> Result<Endpoint, Refusal> {
    let ports = decode_ports(&endpoint.ports)?;
    let node = match endpoint.node.as_str() {
        "" => None,
        name => Some(NodeName::parse(name).map_err(|e| malformed(&e))?),
    };
    // A host name is one label, as a service's name is.
    let hostname = match endpoint.hostname.as_str() {
        "" => None,
        name => Some(ServiceLabel::parse(name).map_err(|e| malformed(&e))?),
    };
    Ok(Endpoint {
        ports: ports.into(),
        conditions: decode_conditions(endpoint.conditions),
        node,
        zone: decode_zone(endpoint.zone)?.map(Arc::from),
        hostname: hostname.map(|name| Arc::from(name.as_str())),
        hints: match endpoint.hints {
            Some(hints) => Some(Arc::new(decode_hints(hints)?)),
            None => None,
        },
    })
}

/// The ports of an endpoint, sorted.
pub(in crate::convert) fn decode_ports(ports: &[wire::Port]) -> Result<Vec<EndpointPort>, Refusal> {
    check_count(ports.len(), MAX_PORTS)?;
    let ports = ports.iter().map(|port| {
        Ok(EndpointPort {
            name: decode_port_name(&port.name)?,
            protocol: decode_protocol(port.protocol)?,
            port: decode_port(port.port)?,
        })
    });
    let mut ports: Vec<EndpointPort> = ports.collect::<Result<_, _>>()?;
    ports.sort();
    Ok(ports)
}

pub(in crate::convert) fn decode_conditions(bits: u32) -> Conditions {
    Conditions {
        ready: bits & 1 != 0,
        serving: bits & 2 != 0,
        terminating: bits & 4 != 0,
    }
}

pub(super) fn decode_import(import: &wire::ImportAddresses) -> Result<ImportAddresses, Refusal> {
    Ok(ImportAddresses {
        ips: decode_one_per_family(&import.ips)?,
    })
}

fn decode_one_per_family(addresses: &[Vec<u8>]) -> Result<Vec<IpAddr>, Refusal> {
    check_count(addresses.len(), 2)?;
    let addresses = decode_addresses(addresses)?;
    if let [first, second] = addresses.as_slice()
        && first.is_ipv4() == second.is_ipv4()
    {
        return Err(Refusal::MalformedAddress);
    }
    Ok(addresses)
}

fn decode_addresses(addresses: &[Vec<u8>]) -> Result<Vec<IpAddr>, Refusal> {
    addresses.iter().map(|a| decode_address(a)).collect()
}

fn decode_kind(headless: bool, kind: u32) -> Result<ServiceKind, Refusal> {
    match (headless, kind) {
        (true, 0) => Ok(ServiceKind::Headless),
        (false, 0) => Ok(ServiceKind::ClusterIp),
        (false, 1) => Ok(ServiceKind::NodePort),
        (false, 2) => Ok(ServiceKind::LoadBalancer),
        (false, 3) => Ok(ServiceKind::ExternalName),
        (true | false, _) => Err(Refusal::OutOfRange),
    }
}

fn decode_families(families: &[u32], policy: u32) -> Result<IpFamilies, Refusal> {
    check_count(families.len(), 2)?;
    let families = families.iter().map(|family| match family {
        4 => Ok(IpFamily::V4),
        6 => Ok(IpFamily::V6),
        _ => Err(Refusal::OutOfRange),
    });
    let families: Vec<IpFamily> = families.collect::<Result<_, _>>()?;
    let policy = match policy {
        0 => IpFamilyPolicy::SingleStack,
        1 => IpFamilyPolicy::PreferDualStack,
        2 => IpFamilyPolicy::RequireDualStack,
        _ => return Err(Refusal::OutOfRange),
    };
    Ok(IpFamilies::new(families, policy))
}

fn decode_export(export: wire::Export) -> Result<Export, Refusal> {
    let bytes = |texts: &BTreeMap<String, String>| -> usize {
        texts.iter().map(|(k, v)| k.len() + v.len()).sum()
    };
    if bytes(&export.labels) + bytes(&export.annotations) > MAX_EXPORTED_BYTES {
        return Err(Refusal::TooMany);
    }
    Ok(Export {
        created: Timestamp(export.created_s),
        labels: export.labels,
        annotations: export.annotations,
    })
}

fn decode_exposure(exposure: &wire::Exposure) -> Result<Exposure, Refusal> {
    check_count(exposure.external_ips.len(), MAX_OUTSIDE_ADDRESSES)?;
    check_count(exposure.load_balancer.len(), MAX_OUTSIDE_ADDRESSES)?;
    check_count(exposure.source_ranges.len(), MAX_SOURCE_RANGES)?;
    let balanced = exposure.load_balancer.iter().map(|address| {
        Ok(LoadBalancerIp {
            ip: decode_address(&address.ip)?,
            mode: if address.proxy {
                IpMode::Proxy
            } else {
                IpMode::Vip
            },
        })
    });
    let ranges = exposure.source_ranges.iter().map(decode_cidr);
    Ok(Exposure {
        external_ips: decode_addresses(&exposure.external_ips)?,
        load_balancer: balanced.collect::<Result<_, _>>()?,
        requested_ip: match exposure.requested_ip.as_slice() {
            [] => None,
            bytes => Some(decode_address(bytes)?),
        },
        source_ranges: ranges.collect::<Result<_, _>>()?,
        source_policy: if exposure.denies_sources {
            SourcePolicy::Deny
        } else {
            SourcePolicy::Allow
        },
        omits_node_ports: exposure.omits_node_ports,
        health_check_node_port: decode_optional_port(exposure.health_check_node_port)?,
        traffic_policy: policy(exposure.external_local),
    })
}

fn decode_hints(hints: wire::Hints) -> Result<Hints, Refusal> {
    check_count(hints.zones.len(), MAX_HINTS)?;
    check_count(hints.nodes.len(), MAX_HINTS)?;
    let zones = hints.zones.into_iter().map(|zone| {
        let zone = decode_zone(zone)?.ok_or(Refusal::MalformedName)?;
        Ok(Arc::from(zone))
    });
    let nodes = hints.nodes.iter();
    Ok(Hints {
        zones: zones.collect::<Result<_, _>>()?,
        nodes: nodes
            .map(|name| NodeName::parse(name).map_err(|e| malformed(&e)))
            .collect::<Result<_, _>>()?,
    })
}

fn decode_service_port(port: wire::Port) -> Result<ServicePort, Refusal> {
    if port.app_protocol.len() > MAX_APP_PROTOCOL_BYTES {
        return Err(Refusal::MalformedName);
    }
    Ok(ServicePort {
        name: decode_port_name(&port.name)?,
        protocol: decode_protocol(port.protocol)?,
        port: decode_port(port.port)?,
        node_port: decode_optional_port(port.node_port)?,
        app_protocol: Some(port.app_protocol)
            .filter(|text| !text.is_empty())
            .map(Arc::from),
    })
}

fn decode_optional_port(port: u32) -> Result<Option<NonZeroU16>, Refusal> {
    match u16::try_from(port) {
        Ok(port) => Ok(NonZeroU16::new(port)),
        Err(_) => Err(Refusal::OutOfRange),
    }
}

fn decode_affinity(affinity: u32) -> Result<ClusterAffinity, Refusal> {
    match affinity {
        0 => Ok(ClusterAffinity::None),
        1 => Ok(ClusterAffinity::Local),
        2 => Ok(ClusterAffinity::Remote),
        _ => Err(Refusal::OutOfRange),
    }
}

fn decode_protocol(protocol: u32) -> Result<Protocol, Refusal> {
    match protocol {
        0 | 6 => Ok(Protocol::Tcp),
        17 => Ok(Protocol::Udp),
        132 => Ok(Protocol::Sctp),
        _ => Err(Refusal::OutOfRange),
    }
}

fn decode_port_name(name: &str) -> Result<Option<PortName>, Refusal> {
    if name.is_empty() {
        return Ok(None);
    }
    PortName::parse(name).map(Some).map_err(|e| malformed(&e))
}

fn policy(is_local: bool) -> TrafficPolicy {
    if is_local {
        TrafficPolicy::Local
    } else {
        TrafficPolicy::Cluster
    }
}
