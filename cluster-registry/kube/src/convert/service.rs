//! A Service gives its addresses, its ports and everything that steers its traffic.
//!
//! What says how it is reached from outside is in [`super::exposure`], and what makes it global in [`super::sharing`].

use std::{net::IpAddr, num::NonZeroU16, sync::Arc, time::Duration};

use cluster_registry::{
    service::{
        DEFAULT_AFFINITY_TIMEOUT, MAX_PORTS, Service as RegistryService, ServiceKind, ServicePort,
        Sharing, Timestamp,
    },
    traffic::{
        IpFamilies, IpFamily, IpFamilyPolicy, SessionAffinity, TrafficDistribution, TrafficPolicy,
    },
};
use k8s_openapi::{
    api::core::v1::{Service, ServicePort as GivenPort, ServiceSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    Convert, Flaw, HEADLESS_LABEL, KeyError, NotOurs, SERVICE_PROXY_NAME_LABEL, address, exposure,
    has_label, port, service_key, sharing,
};
use crate::object::{Object, ObjectKey};

/// What a headless service has in place of a cluster IP.
const HEADLESS: &str = "None";

/// The longest timeout of session affinity that Kubernetes takes: a day.
const MAX_AFFINITY_TIMEOUT_SECONDS: i32 = 86_400;

impl Convert for Service {
    fn key(&self) -> Result<ObjectKey, KeyError> {
        Ok(ObjectKey::Service(service_key(&self.metadata)?))
    }

    fn convert(&self, flaws: &mut Vec<Flaw>) -> Result<Object, NotOurs> {
        if has_label(&self.metadata, SERVICE_PROXY_NAME_LABEL) {
            return Err(NotOurs::OtherProxy);
        }
        let none = ServiceSpec::default();
        let spec = self.spec.as_ref().unwrap_or(&none);
        let ips = given_cluster_ips(spec);
        let kind = kind(&self.metadata, spec, &ips, flaws);
        let sharing = sharing::of_service(self.metadata.annotations.as_ref(), flaws);
        let created = created(&self.metadata);
        if kind == ServiceKind::ExternalName {
            return Ok(Object::Service(RegistryService {
                kind,
                created,
                ..RegistryService::default()
            }));
        }
        let cluster_ips = cluster_ips(kind, &ips, flaws);
        let ip_families = families(spec, &cluster_ips, flaws);
        Ok(Object::Service(RegistryService {
            kind,
            ip_families,
            ports: ports(kind, spec, flaws),
            sharing,
            session_affinity: session_affinity(spec, flaws),
            internal_traffic_policy: policy(
                "internalTrafficPolicy",
                spec.internal_traffic_policy.as_deref(),
                flaws,
            ),
            traffic_distribution: traffic_distribution(spec, flaws),
            publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
            exposure: exposure::of_service(self, kind, ip_families, flaws).map(Box::new),
            created,
            cluster_ips,
            export: None,
        }))
    }
}

/// Reads a timestamp; an object without one, or from before 1970, counts as the oldest.
fn created(meta: &ObjectMeta) -> Timestamp {
    let created = meta.creation_timestamp.as_ref();
    let seconds = created.map_or(0, |time| time.0.as_second());
    Timestamp(u64::try_from(seconds).unwrap_or(0))
}

fn kind(meta: &ObjectMeta, spec: &ServiceSpec, ips: &[&str], flaws: &mut Vec<Flaw>) -> ServiceKind {
    let kind = match spec.type_.as_deref() {
        Some("ExternalName") => return ServiceKind::ExternalName,
        Some("NodePort") => ServiceKind::NodePort,
        Some("LoadBalancer") => ServiceKind::LoadBalancer,
        None | Some("" | "ClusterIP") => ServiceKind::ClusterIp,
        Some(other) => {
            flaws.push(Flaw::Value {
                field: "type",
                value: other.to_owned(),
                expected: "ClusterIP, NodePort, LoadBalancer or ExternalName",
                taken: "ClusterIP",
            });
            ServiceKind::ClusterIp
        }
    };
    if ips.contains(&HEADLESS) || has_label(meta, HEADLESS_LABEL) {
        ServiceKind::Headless
    } else {
        kind
    }
}

/// The plural field repeats the singular one where both are there.
fn given_cluster_ips(spec: &ServiceSpec) -> Vec<&str> {
    let many = spec.cluster_ips.as_deref().unwrap_or_default();
    let one = spec.cluster_ip.as_slice();
    let given = if many.is_empty() { one } else { many };
    let texts = given.iter().map(String::as_str);
    texts.filter(|text| !text.is_empty()).collect()
}

fn cluster_ips(kind: ServiceKind, texts: &[&str], flaws: &mut Vec<Flaw>) -> Vec<IpAddr> {
    let mut taken: Vec<IpAddr> = Vec::new();
    if kind == ServiceKind::Headless {
        return taken;
    }
    for text in texts {
        match address::address(text) {
            Ok(new) if taken.iter().any(|old| old.is_ipv4() == new.is_ipv4()) => {
                flaws.push(Flaw::SecondClusterIp((*text).to_owned()));
            }
            Ok(new) => taken.push(new),
            Err(fault) => flaws.push(Flaw::Address {
                role: "cluster IP",
                text: (*text).to_owned(),
                fault,
            }),
        }
    }
    if taken.is_empty() {
        flaws.push(Flaw::NoClusterIp);
    }
    taken
}

/// The families that the object names, else those of its cluster IPs.
fn families(spec: &ServiceSpec, cluster_ips: &[IpAddr], flaws: &mut Vec<Flaw>) -> IpFamilies {
    let policy = match spec.ip_family_policy.as_deref() {
        Some("PreferDualStack") => IpFamilyPolicy::PreferDualStack,
        Some("RequireDualStack") => IpFamilyPolicy::RequireDualStack,
        None | Some("" | "SingleStack") => IpFamilyPolicy::SingleStack,
        Some(other) => {
            flaws.push(Flaw::Value {
                field: "ipFamilyPolicy",
                value: other.to_owned(),
                expected: "SingleStack, PreferDualStack or RequireDualStack",
                taken: "SingleStack",
            });
            IpFamilyPolicy::SingleStack
        }
    };
    let mut named = Vec::new();
    for text in spec.ip_families.iter().flatten() {
        match text.as_str() {
            "IPv4" => named.push(IpFamily::V4),
            "IPv6" => named.push(IpFamily::V6),
            other => flaws.push(Flaw::Value {
                field: "ipFamilies",
                value: other.to_owned(),
                expected: "IPv4 or IPv6",
                taken: "",
            }),
        }
    }
    if named.is_empty() {
        named.extend(cluster_ips.iter().map(|ip| IpFamily::of(*ip)));
    }
    IpFamilies::new(named, policy)
}

fn session_affinity(spec: &ServiceSpec, flaws: &mut Vec<Flaw>) -> SessionAffinity {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return SessionAffinity::None,
        Some("ClientIP") => {}
        Some(other) => {
            flaws.push(Flaw::Value {
                field: "sessionAffinity",
                value: other.to_owned(),
                expected: "None or ClientIP",
                taken: "None",
            });
            return SessionAffinity::None;
        }
    }
    let config = spec.session_affinity_config.as_ref();
    let config = config.and_then(|config| config.client_ip.as_ref());
    let timeout = match config.and_then(|config| config.timeout_seconds) {
        None => DEFAULT_AFFINITY_TIMEOUT,
        Some(seconds @ 1..=MAX_AFFINITY_TIMEOUT_SECONDS) => {
            Duration::from_secs(u64::from(seconds.unsigned_abs()))
        }
        Some(other) => {
            flaws.push(Flaw::Value {
                field: "sessionAffinityConfig.clientIP.timeoutSeconds",
                value: other.to_string(),
                expected: "between 1 and 86400",
                taken: "10800",
            });
            DEFAULT_AFFINITY_TIMEOUT
        }
    };
    SessionAffinity::ClientIp { timeout }
}

pub(super) fn policy(
    field: &'static str,
    text: Option<&str>,
    flaws: &mut Vec<Flaw>,
) -> TrafficPolicy {
    match text {
        None | Some("" | "Cluster") => TrafficPolicy::Cluster,
        Some("Local") => TrafficPolicy::Local,
        Some(other) => {
            flaws.push(Flaw::Value {
                field,
                value: other.to_owned(),
                expected: "Cluster or Local",
                taken: "Cluster",
            });
            TrafficPolicy::Cluster
        }
    }
}

fn traffic_distribution(spec: &ServiceSpec, flaws: &mut Vec<Flaw>) -> Option<TrafficDistribution> {
    match spec.traffic_distribution.as_deref()? {
        "" => None,
        "PreferClose" | "PreferSameZone" => Some(TrafficDistribution::PreferSameZone),
        "PreferSameNode" => Some(TrafficDistribution::PreferSameNode),
        other => {
            flaws.push(Flaw::Value {
                field: "trafficDistribution",
                value: other.to_owned(),
                expected: "PreferSameZone, PreferSameNode or PreferClose",
                taken: "",
            });
            None
        }
    }
}

fn ports(kind: ServiceKind, spec: &ServiceSpec, flaws: &mut Vec<Flaw>) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::new();
    for given in spec.ports.iter().flatten() {
        if ports.len() == MAX_PORTS {
            flaws.push(Flaw::TooMany {
                what: "ports",
                most: MAX_PORTS,
            });
            break;
        }
        match service_port(kind, given, &ports, flaws) {
            Ok(port) => ports.push(port),
            Err(flaw) => flaws.push(flaw),
        }
    }
    ports
}

fn service_port(
    kind: ServiceKind,
    given: &GivenPort,
    taken: &[ServicePort],
    flaws: &mut Vec<Flaw>,
) -> Result<ServicePort, Flaw> {
    let (number, name, protocol) =
        port::port(given.port, given.name.as_deref(), given.protocol.as_deref())?;
    let mut others = taken.iter().filter(|other| other.protocol == protocol);
    if others.clone().any(|other| other.port == number) {
        return Err(Flaw::PortTwice { number, protocol });
    }
    if others.any(|other| other.name == name) {
        return Err(Flaw::PortNameTwice {
            name: name.map(|name| name.to_string()).unwrap_or_default(),
            protocol,
        });
    }
    let app_protocol = port::app_protocol(given.app_protocol.as_deref(), flaws);
    let node_port = match kind {
        ServiceKind::NodePort | ServiceKind::LoadBalancer => {
            node_port("nodePort", given.node_port, flaws)
        }
        ServiceKind::ClusterIp | ServiceKind::ExternalName | ServiceKind::Headless => None,
    };
    Ok(ServicePort {
        node_port,
        app_protocol: app_protocol.map(Arc::from),
        ..ServicePort::new(name, protocol, number)
    })
}

/// Reads a port of the nodes; 0 is what an API server writes for none.
pub(super) fn node_port(
    field: &'static str,
    given: Option<i32>,
    flaws: &mut Vec<Flaw>,
) -> Option<NonZeroU16> {
    let given = given?;
    match u16::try_from(given) {
        Ok(port) => NonZeroU16::new(port),
        Err(_) => {
            flaws.push(Flaw::Value {
                field,
                value: given.to_string(),
                expected: "between 1 and 65535",
                taken: "",
            });
            None
        }
    }
}

/// What a namespace's opt-out leaves of a service.
pub(crate) fn keep_at_home(service: &mut RegistryService) {
    service.sharing = Sharing::default();
    service.export = None;
}
