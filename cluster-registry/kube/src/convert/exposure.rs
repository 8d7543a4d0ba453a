//! How a service is reached from outside: external IPs, the load balancer's addresses, and who may use them.

use std::net::IpAddr;

use cluster_registry::{
    service::{
        Exposure, IpMode, LoadBalancerIp, MAX_OUTSIDE_ADDRESSES, MAX_SOURCE_RANGES, ServiceKind,
        SourcePolicy,
    },
    traffic::{IpFamilies, IpFamily},
};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service, ServiceSpec};

use super::{AddressFault, Flaw, address, service, sharing::first_of, value_of};

/// What stood for `loadBalancerSourceRanges` before there was the field; it counts where the field is empty.
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// Whether the source ranges are let in, or kept out; Cilium's means the same as ours.
const SOURCE_POLICY: [&str; 2] = [
    "isthmus.io/src-ranges-policy",
    "service.cilium.io/src-ranges-policy",
];

/// What a service says of the world outside; `None` when it says nothing.
pub(super) fn of_service(
    given: &Service,
    kind: ServiceKind,
    families: IpFamilies,
    flaws: &mut Vec<Flaw>,
) -> Option<Exposure> {
    let spec = given.spec.as_ref()?;
    let mut exposure = Exposure {
        external_ips: external_ips(spec, families, flaws),
        ..Exposure::default()
    };
    let is_balanced = kind == ServiceKind::LoadBalancer;
    if is_balanced || kind == ServiceKind::NodePort || !exposure.external_ips.is_empty() {
        let policy = spec.external_traffic_policy.as_deref();
        exposure.traffic_policy = service::policy("externalTrafficPolicy", policy, flaws);
    }
    if is_balanced {
        exposure.load_balancer = balanced(given, families, flaws);
        exposure.requested_ip = requested(spec, flaws);
        exposure.omits_node_ports = spec.allocate_load_balancer_node_ports == Some(false);
        exposure.health_check_node_port =
            service::node_port("healthCheckNodePort", spec.health_check_node_port, flaws);
        exposure.source_policy = source_policy(given, flaws);
        match source_ranges(given, spec, exposure.source_policy, flaws) {
            Some(ranges) => exposure.source_ranges = ranges,
            // An empty list would let everybody in, which is what somebody meant to prevent.
            None => exposure.load_balancer.clear(),
        }
    }
    (exposure != Exposure::default()).then_some(exposure)
}

fn external_ips(spec: &ServiceSpec, families: IpFamilies, flaws: &mut Vec<Flaw>) -> Vec<IpAddr> {
    let mut taken: Vec<IpAddr> = Vec::new();
    for text in spec.external_ips.iter().flatten() {
        if let Some(ip) = outside("external IP", text, families, flaws)
            && has_room(&taken, "external IPs", flaws)
            && !taken.contains(&ip)
        {
            taken.push(ip);
        }
    }
    taken
}

fn balanced(given: &Service, families: IpFamilies, flaws: &mut Vec<Flaw>) -> Vec<LoadBalancerIp> {
    let mut taken: Vec<LoadBalancerIp> = Vec::new();
    let status = given.status.as_ref();
    let status = status.and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|status| status.ingress.as_ref());
    for given in ingress.into_iter().flatten() {
        // An entry with a host name only is the load balancer's own business.
        let Some(text) = given.ip.as_deref().filter(|text| !text.is_empty()) else {
            continue;
        };
        if let Some(ip) = outside("load balancer address", text, families, flaws)
            && has_room(&taken, "load balancer addresses", flaws)
            && !taken.iter().any(|other| other.ip == ip)
        {
            let mode = ip_mode(given, flaws);
            taken.push(LoadBalancerIp { ip, mode });
        }
    }
    taken
}

fn ip_mode(given: &LoadBalancerIngress, flaws: &mut Vec<Flaw>) -> IpMode {
    match given.ip_mode.as_deref() {
        None | Some("" | "VIP") => IpMode::Vip,
        Some("Proxy") => IpMode::Proxy,
        Some(other) => {
            // To take the load balancer's place is the mode that can go wrong.
            flaws.push(Flaw::Value {
                field: "ipMode",
                value: other.to_owned(),
                expected: "VIP or Proxy",
                taken: "Proxy",
            });
            IpMode::Proxy
        }
    }
}

fn requested(spec: &ServiceSpec, flaws: &mut Vec<Flaw>) -> Option<IpAddr> {
    let text = spec.load_balancer_ip.as_deref();
    let text = text.filter(|text| !text.is_empty())?;
    // What is asked for need not be of a family that the service has yet.
    outside("loadBalancerIP", text, IpFamilies::default(), flaws)
}

fn source_policy(given: &Service, flaws: &mut Vec<Flaw>) -> SourcePolicy {
    let annotations = given.metadata.annotations.as_ref();
    let Some((annotation, value)) = first_of(annotations, &SOURCE_POLICY) else {
        return SourcePolicy::Allow;
    };
    match value.trim().to_ascii_lowercase().as_str() {
        "allow" | "" => SourcePolicy::Allow,
        "deny" => SourcePolicy::Deny,
        _ => {
            flaws.push(Flaw::Annotation {
                annotation,
                value: value.to_owned(),
                expected: "\"allow\" or \"deny\"",
                taken: "allow",
            });
            SourcePolicy::Allow
        }
    }
}

/// The ranges that the policy is about, none for everybody; `None` when what is wrong with those that are given would let in
/// somebody who is to be kept out.
fn source_ranges(
    given: &Service,
    spec: &ServiceSpec,
    policy: SourcePolicy,
    flaws: &mut Vec<Flaw>,
) -> Option<Vec<IpNet>> {
    let field = spec.load_balancer_source_ranges.iter().flatten();
    let mut texts: Vec<&str> = field.map(|text| text.trim()).collect();
    if texts.is_empty() {
        let annotation = value_of(given.metadata.annotations.as_ref(), SOURCE_RANGES);
        texts = annotation.unwrap_or_default().split(',').collect();
        texts = texts.iter().map(|text| text.trim()).collect();
        texts.retain(|text| !text.is_empty());
    }
    let mut ranges: Vec<IpNet> = Vec::new();
    let before = flaws.len();
    for text in &texts {
        let Ok(range) = text.parse::<IpNet>() else {
            flaws.push(Flaw::Address {
                role: "source range",
                text: (*text).to_owned(),
                fault: AddressFault::NotARange,
            });
            continue;
        };
        if ranges.len() == MAX_SOURCE_RANGES {
            flaws.push(Flaw::TooMany {
                what: "source ranges",
                most: MAX_SOURCE_RANGES,
            });
            break;
        }
        ranges.push(range.trunc());
    }
    let lost = match policy {
        SourcePolicy::Allow if ranges.is_empty() && !texts.is_empty() => Flaw::NoSourceRange,
        SourcePolicy::Deny if flaws.len() > before => Flaw::LostSourceRange,
        SourcePolicy::Allow | SourcePolicy::Deny => return Some(ranges),
    };
    flaws.push(lost);
    None
}

fn has_room<T>(taken: &[T], what: &'static str, flaws: &mut Vec<Flaw>) -> bool {
    if taken.len() < MAX_OUTSIDE_ADDRESSES {
        return true;
    }
    flaws.push(Flaw::TooMany {
        what,
        most: MAX_OUTSIDE_ADDRESSES,
    });
    false
}

/// Reads an address that must be of a family that the service has, as it has endpoints in no other.
fn outside(
    role: &'static str,
    text: &str,
    families: IpFamilies,
    flaws: &mut Vec<Flaw>,
) -> Option<IpAddr> {
    let fault = match address::address(text) {
        Ok(ip) if families.is_empty() || families.contains(IpFamily::of(ip)) => return Some(ip),
        Ok(_) => AddressFault::LackedFamily,
        Err(fault) => fault,
    };
    flaws.push(Flaw::Address {
        role,
        text: text.to_owned(),
        fault,
    });
    None
}
