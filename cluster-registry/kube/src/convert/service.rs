//! A Service gives its cluster IPs and ports and, by annotations, how it takes part in the clusterset.
//!
//! Of the types NodePort and LoadBalancer the cluster IP counts; an ExternalName is none of ours.

use std::net::IpAddr;

use cluster_registry::service::{Service as RegistryService, ServiceKind, ServicePort};
use k8s_openapi::api::core::v1::{Service, ServicePort as GivenPort, ServiceSpec};

use super::{
    Convert, Flaw, KeyError, NotOurs, SERVICE_PROXY_NAME_LABEL, address, has_label, port,
    service_key, sharing,
};
use crate::object::{Object, ObjectKey};

/// What a headless service has in place of a cluster IP.
const HEADLESS: &str = "None";

impl Convert for Service {
    fn key(&self) -> Result<ObjectKey, KeyError> {
        Ok(ObjectKey::Service(service_key(&self.metadata)?))
    }

    fn convert(&self, flaws: &mut Vec<Flaw>) -> Result<Object, NotOurs> {
        if has_label(&self.metadata, SERVICE_PROXY_NAME_LABEL) {
            return Err(NotOurs::OtherProxy);
        }
        let mut service = RegistryService {
            sharing: sharing::of_service(self.metadata.annotations.as_ref(), flaws),
            ..RegistryService::default()
        };
        let given = self.spec.as_ref();
        if given.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
            return Err(NotOurs::ExternalName);
        }
        let ips = given.map(cluster_ips).unwrap_or_default();
        if ips.contains(&HEADLESS) {
            service.kind = ServiceKind::Headless;
        } else {
            service.cluster_ips = addresses(&ips, flaws);
            if service.cluster_ips.is_empty() {
                flaws.push(Flaw::NoClusterIp);
            }
        }
        for given in given
            .and_then(|spec| spec.ports.as_ref())
            .into_iter()
            .flatten()
        {
            match service_port(given, &service.ports) {
                Ok(port) => service.ports.push(port),
                Err(flaw) => flaws.push(flaw),
            }
        }
        Ok(Object::Service(service))
    }
}

/// The plural field repeats the singular one where both are there.
fn cluster_ips(spec: &ServiceSpec) -> Vec<&str> {
    let many = spec.cluster_ips.as_deref().unwrap_or_default();
    let one = spec.cluster_ip.as_slice();
    let given = if many.is_empty() { one } else { many };
    let texts = given.iter().map(String::as_str);
    texts.filter(|text| !text.is_empty()).collect()
}

fn addresses(texts: &[&str], flaws: &mut Vec<Flaw>) -> Vec<IpAddr> {
    let mut taken: Vec<IpAddr> = Vec::new();
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
    taken
}

fn service_port(given: &GivenPort, taken: &[ServicePort]) -> Result<ServicePort, Flaw> {
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
    Ok(ServicePort::new(name, protocol, number))
}
