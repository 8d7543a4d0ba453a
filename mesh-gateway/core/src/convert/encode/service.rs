//! Services and endpoints as they go onto the wire.

use std::net::IpAddr;

use cluster_registry::{
    endpoint::{Conditions, Endpoint, Hints},
    mcs::Export,
    name::PortName,
    service::{
        ClusterAffinity, Exposure, IpMode, Protocol, Service, ServiceKind, ServicePort,
        SourcePolicy,
    },
    traffic::{IpFamily, IpFamilyPolicy, SessionAffinity, TrafficDistribution, TrafficPolicy},
};

use super::{encode_address, encode_cidr};
use crate::wire;

pub(super) fn encode_service(service: &Service) -> wire::Service {
    wire::Service {
        cluster_ips: encode_addresses(&service.cluster_ips),
        headless: service.is_headless(),
        ports: service.ports.iter().map(encode_service_port).collect(),
        global: service.sharing.global,
        shared: service.sharing.shared,
        affinity: match service.sharing.affinity {
            ClusterAffinity::None => 0,
            ClusterAffinity::Local => 1,
            ClusterAffinity::Remote => 2,
        },
        kind: match service.kind {
            ServiceKind::ClusterIp | ServiceKind::Headless => 0,
            ServiceKind::NodePort => 1,
            ServiceKind::LoadBalancer => 2,
            ServiceKind::ExternalName => 3,
        },
        session_affinity_timeout_s: match service.session_affinity {
            SessionAffinity::None => 0,
            SessionAffinity::ClientIp { timeout } => {
                u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX)
            }
        },
        internal_local: is_local(service.internal_traffic_policy),
        traffic_distribution: match service.traffic_distribution {
            None => 0,
            Some(TrafficDistribution::PreferSameZone) => 1,
            Some(TrafficDistribution::PreferSameNode) => 2,
        },
        publish_not_ready: service.publish_not_ready,
        ip_families: service.ip_families.iter().map(encode_family).collect(),
        ip_family_policy: match service.ip_families.policy() {
            IpFamilyPolicy::SingleStack => 0,
            IpFamilyPolicy::PreferDualStack => 1,
            IpFamilyPolicy::RequireDualStack => 2,
        },
        created_s: service.created.0,
        export: service.export.as_deref().map(encode_export),
        exposure: service.exposure.as_deref().map(encode_exposure),
    }
}

pub(super) fn encode_endpoint(endpoint: &Endpoint) -> wire::Endpoint {
    let ports = endpoint.ports.iter();
    let node = endpoint.node.as_ref().map(|node| node.as_str());
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    wire::Endpoint {
        ports: ports
            .map(|p| encode_port(p.name.as_ref(), p.protocol, p.port))
            .collect(),
        conditions: encode_conditions(endpoint.conditions),
        node: text(node),
        zone: text(endpoint.zone.as_deref()),
        hostname: text(endpoint.hostname.as_deref()),
        hints: endpoint.hints.as_deref().map(encode_hints),
    }
}

fn encode_export(export: &Export) -> wire::Export {
    wire::Export {
        created_s: export.created.0,
        labels: export.labels.clone(),
        annotations: export.annotations.clone(),
    }
}

fn encode_exposure(exposure: &Exposure) -> wire::Exposure {
    let balanced = exposure.load_balancer.iter();
    wire::Exposure {
        external_ips: encode_addresses(&exposure.external_ips),
        load_balancer: balanced
            .map(|address| wire::LoadBalancerIp {
                ip: encode_address(address.ip),
                proxy: match address.mode {
                    IpMode::Vip => false,
                    IpMode::Proxy => true,
                },
            })
            .collect(),
        requested_ip: exposure
            .requested_ip
            .map(encode_address)
            .unwrap_or_default(),
        source_ranges: exposure
            .source_ranges
            .iter()
            .map(|range| encode_cidr(*range))
            .collect(),
        denies_sources: match exposure.source_policy {
            SourcePolicy::Allow => false,
            SourcePolicy::Deny => true,
        },
        omits_node_ports: exposure.omits_node_ports,
        health_check_node_port: exposure
            .health_check_node_port
            .map_or(0, |port| u32::from(port.get())),
        external_local: is_local(exposure.traffic_policy),
    }
}

pub(in crate::convert) fn encode_hints(hints: &Hints) -> wire::Hints {
    wire::Hints {
        zones: hints.zones.iter().map(|zone| (**zone).to_owned()).collect(),
        nodes: hints.nodes.iter().map(|n| n.as_str().to_owned()).collect(),
    }
}

pub(in crate::convert) fn encode_conditions(conditions: Conditions) -> u32 {
    u32::from(conditions.ready)
        | u32::from(conditions.serving) << 1
        | u32::from(conditions.terminating) << 2
}

fn encode_service_port(port: &ServicePort) -> wire::Port {
    wire::Port {
        node_port: port.node_port.map_or(0, |port| u32::from(port.get())),
        app_protocol: port.app_protocol.as_deref().unwrap_or_default().to_owned(),
        ..encode_port(port.name.as_ref(), port.protocol, port.port)
    }
}

fn encode_port(name: Option<&PortName>, protocol: Protocol, port: u16) -> wire::Port {
    wire::Port {
        name: name.map(|n| n.as_str().to_owned()).unwrap_or_default(),
        // The most frequent protocol takes no bytes.
        protocol: match protocol {
            Protocol::Tcp => 0,
            Protocol::Udp | Protocol::Sctp => u32::from(protocol.number()),
        },
        port: u32::from(port),
        ..wire::Port::default()
    }
}

fn encode_addresses(addresses: &[IpAddr]) -> Vec<Vec<u8>> {
    addresses.iter().map(|a| encode_address(*a)).collect()
}

fn encode_family(family: IpFamily) -> u32 {
    match family {
        IpFamily::V4 => 4,
        IpFamily::V6 => 6,
    }
}

fn is_local(policy: TrafficPolicy) -> bool {
    match policy {
        TrafficPolicy::Cluster => false,
        TrafficPolicy::Local => true,
    }
}
