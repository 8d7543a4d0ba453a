//! An EndpointSlice gives some endpoints of the service that its label names.
//!
//! Of an endpoint's addresses the first counts, as for kube-proxy. A condition that is not set is good: `ready` and
//! `serving` are then true, `terminating` is false.

use std::{net::IpAddr, sync::Arc};

use cluster_registry::{
    endpoint::{Conditions, Endpoint, EndpointPort, Hints, MAX_HINTS},
    name::{NodeName, PortName, ServiceName},
    view::Endpoints,
};
use k8s_openapi::api::discovery::v1::{
    Endpoint as GivenEndpoint, EndpointConditions as GivenConditions, EndpointHints as GivenHints,
    EndpointPort as GivenPort, EndpointSlice,
};

use super::{
    AddressFault, Convert, Flaw, KeyError, NotOurs, SERVICE_NAME_LABEL, SERVICE_PROXY_NAME_LABEL,
    SOURCE_CLUSTER_LABEL, address, has_label, namespace, node, port, slice_key, value_of,
};
use crate::object::{Object, ObjectKey, Slice};

impl Convert for EndpointSlice {
    fn key(&self) -> Result<ObjectKey, KeyError> {
        Ok(ObjectKey::Slice(slice_key(&self.metadata)?))
    }

    fn convert(&self, flaws: &mut Vec<Flaw>) -> Result<Object, NotOurs> {
        if has_label(&self.metadata, SERVICE_PROXY_NAME_LABEL) {
            return Err(NotOurs::OtherProxy);
        }
        if has_label(&self.metadata, SOURCE_CLUSTER_LABEL) {
            return Err(NotOurs::OtherCluster);
        }
        let is_v4 = match self.address_type.as_str() {
            "IPv4" => true,
            "IPv6" => false,
            _ => return Err(NotOurs::NotAddresses),
        };
        let service = service(self).ok_or(NotOurs::NoService)?;
        let mut slice = Slice {
            service,
            endpoint_by_address: Endpoints::new(),
        };
        let ports = ports(self.ports.as_deref().unwrap_or_default(), flaws);
        for given in &self.endpoints {
            match endpoint_address(given, is_v4) {
                Ok(address) => {
                    let endpoint = endpoint(given, &ports, flaws);
                    let known = slice.endpoint_by_address.get(&address);
                    // An address that is there twice counts in its better condition.
                    if known.is_none_or(|old| old.conditions.rank() < endpoint.conditions.rank()) {
                        let endpoint = Arc::new(endpoint);
                        slice.endpoint_by_address.insert(address, endpoint);
                    }
                }
                Err(flaw) => flaws.push(flaw),
            }
        }
        Ok(Object::Slice(slice))
    }
}

fn service(slice: &EndpointSlice) -> Option<ServiceName> {
    let label = value_of(slice.metadata.labels.as_ref(), SERVICE_NAME_LABEL)?;
    let namespace = namespace(&slice.metadata).ok()?;
    ServiceName::parse(namespace.as_str(), label).ok()
}

fn ports(given: &[GivenPort], flaws: &mut Vec<Flaw>) -> Arc<[EndpointPort]> {
    let mut ports = Vec::new();
    for given in given {
        // A port without a number stands for all ports, which no service port can be joined with.
        let Some(number) = given.port else { continue };
        match port::port(number, given.name.as_deref(), given.protocol.as_deref()) {
            Ok((port, name, protocol)) => ports.push(EndpointPort {
                name,
                protocol,
                port,
            }),
            Err(flaw) => flaws.push(flaw),
        }
    }
    ports.sort();
    ports.dedup();
    ports.into()
}

fn endpoint_address(given: &GivenEndpoint, is_v4: bool) -> Result<IpAddr, Flaw> {
    let text = given.addresses.first().ok_or(Flaw::NoAddress)?;
    let fault = match address::address(text) {
        Ok(address) if address.is_ipv4() == is_v4 => return Ok(address),
        Ok(_) => AddressFault::OtherFamily,
        Err(fault) => fault,
    };
    Err(Flaw::Address {
        role: "endpoint address",
        text: text.clone(),
        fault,
    })
}

fn endpoint(given: &GivenEndpoint, ports: &Arc<[EndpointPort]>, flaws: &mut Vec<Flaw>) -> Endpoint {
    Endpoint {
        ports: Arc::clone(ports),
        conditions: conditions(given.conditions.as_ref()),
        node: endpoint_node(given.node_name.as_deref(), flaws),
        zone: node::zone(given.zone.as_deref(), flaws).map(Arc::from),
        hostname: hostname(given.hostname.as_deref(), flaws).map(Arc::from),
        hints: hints(given.hints.as_ref(), flaws).map(Arc::new),
    }
}

/// Reads the hints; one that is no name is left out, and no hint at all is none.
fn hints(given: Option<&GivenHints>, flaws: &mut Vec<Flaw>) -> Option<Hints> {
    let given = given?;
    let mut hints = Hints::default();
    for zone in given.for_zones.iter().flatten().take(MAX_HINTS) {
        let zone = node::zone(Some(&zone.name), flaws);
        hints.zones.extend(zone.map(Arc::from));
    }
    for node in given.for_nodes.iter().flatten().take(MAX_HINTS) {
        hints.nodes.extend(endpoint_node(Some(&node.name), flaws));
    }
    (hints != Hints::default()).then_some(hints)
}

fn conditions(given: Option<&GivenConditions>) -> Conditions {
    let Some(given) = given else {
        return Conditions::READY;
    };
    Conditions {
        ready: given.ready.unwrap_or(true),
        serving: given.serving.unwrap_or(true),
        terminating: given.terminating.unwrap_or(false),
    }
}

fn endpoint_node(text: Option<&str>, flaws: &mut Vec<Flaw>) -> Option<NodeName> {
    let text = text.filter(|text| !text.is_empty())?;
    match NodeName::parse(text) {
        Ok(name) => Some(name),
        Err(fault) => {
            flaws.push(Flaw::EndpointNode {
                name: text.to_owned(),
                fault,
            });
            None
        }
    }
}

/// Reads a host name, which is a DNS label as a port's name is.
fn hostname(text: Option<&str>, flaws: &mut Vec<Flaw>) -> Option<String> {
    let text = text.filter(|text| !text.is_empty())?;
    if PortName::parse(text).is_ok() {
        return Some(text.to_owned());
    }
    flaws.push(Flaw::Label {
        role: "hostname",
        text: text.to_owned(),
    });
    None
}
