//! What the server gives a Service: its type's defaults, and its cluster IPs from the service ranges.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::{Value, json};

use super::Api;
use crate::{kind::Kind, meta, refusal::Cause};

/// The cluster IPs of a server.
#[derive(Debug)]
pub(super) struct Addresses {
    /// The ranges, at most one per family, the preferred first.
    ranges: Vec<(IpAddr, u8)>,
    taken: BTreeSet<IpAddr>,
}

impl Addresses {
    pub(super) fn new(ranges: &[(IpAddr, u8)]) -> Self {
        Self {
            ranges: ranges.to_vec(),
            taken: BTreeSet::new(),
        }
    }

    /// Notes a service's addresses as taken.
    pub(super) fn take(&mut self, kind: &Kind, object: &Value) {
        if is_service(kind) {
            self.taken.extend(addresses(object));
        }
    }

    pub(super) fn release(&mut self, kind: &Kind, object: &Value) {
        if is_service(kind) {
            for address in addresses(object) {
                self.taken.remove(&address);
            }
        }
    }

    /// A free address of a family; `None` when there is no range of it or it is full.
    fn free(&self, is_v4: bool) -> Option<IpAddr> {
        let (first, length) = self
            .ranges
            .iter()
            .find(|(first, _)| first.is_ipv4() == is_v4)?;
        let bits = if is_v4 { 32_u8 } else { 128 };
        let size = 1_u128 << bits.saturating_sub(*length).min(24);
        // The network's own and, as the API server's, the first address are not given out.
        (2..size.saturating_sub(1))
            .map(|offset| plus(*first, offset))
            .find(|address| !self.taken.contains(address))
    }
}

fn plus(first: IpAddr, offset: u128) -> IpAddr {
    match first {
        IpAddr::V4(first) => {
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            IpAddr::V4(first.to_bits().wrapping_add(offset).into())
        }
        IpAddr::V6(first) => IpAddr::V6(first.to_bits().wrapping_add(offset).into()),
    }
}

impl Api {
    pub(super) fn admit_service(
        &mut self,
        object: &mut Value,
        is_new: bool,
        causes: &mut Vec<Cause>,
    ) {
        let spec = meta::as_map(
            meta::as_map(object)
                .entry("spec")
                .or_insert_with(|| json!({})),
        );
        spec.entry("type").or_insert_with(|| json!("ClusterIP"));
        spec.entry("sessionAffinity")
            .or_insert_with(|| json!("None"));
        if spec["sessionAffinity"] == "ClientIP" && !spec.contains_key("sessionAffinityConfig") {
            let config = json!({"clientIP": {"timeoutSeconds": 10_800}});
            spec.insert("sessionAffinityConfig".to_owned(), config);
        }
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
        for (i, port) in ports.into_iter().flatten().map(meta::as_map).enumerate() {
            port.entry("protocol").or_insert_with(|| json!("TCP"));
            let number = port.get("port").cloned().unwrap_or_default();
            if !number.as_u64().is_some_and(|n| (1..=65_535).contains(&n)) {
                let field = format!("spec.ports[{i}].port");
                causes.push(Cause::invalid(
                    &field,
                    &number,
                    "must be between 1 and 65535, inclusive",
                ));
            }
            port.entry("targetPort").or_insert(number);
        }
        if spec["type"] == "ExternalName" {
            return;
        }
        spec.entry("internalTrafficPolicy")
            .or_insert_with(|| json!("Cluster"));
        if is_new {
            self.assign(object, causes);
        }
    }

    /// Gives a new service its families and cluster IPs.
    fn assign(&mut self, object: &mut Value, causes: &mut Vec<Cause>) {
        let given = object["spec"]["clusterIP"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let policy = object["spec"]["ipFamilyPolicy"]
            .as_str()
            .unwrap_or("SingleStack")
            .to_owned();
        let mut families: Vec<bool> = match object["spec"]["ipFamilies"].as_array() {
            Some(families) if !families.is_empty() => {
                families.iter().map(|family| family == "IPv4").collect()
            }
            Some(_) | None => self
                .addresses
                .ranges
                .iter()
                .map(|(first, _)| first.is_ipv4())
                .collect(),
        };
        if policy == "SingleStack" {
            families.truncate(1);
        }
        let mut ips: Vec<String> = match object["spec"]["clusterIPs"].as_array() {
            Some(ips) if !ips.is_empty() => ips
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            Some(_) | None if given.is_empty() => Vec::new(),
            Some(_) | None => vec![given],
        };
        if ips.first().is_none_or(|ip| ip != "None") {
            self.complete(&mut ips, &mut families, causes);
        }
        let names = families
            .iter()
            .map(|is_v4| if *is_v4 { "IPv4" } else { "IPv6" });
        let spec = &mut object["spec"];
        spec["ipFamilies"] = names.collect();
        spec["ipFamilyPolicy"] = json!(policy);
        spec["clusterIP"] = json!(ips.first());
        spec["clusterIPs"] = json!(ips);
    }

    fn complete(
        &mut self,
        ips: &mut Vec<String>,
        families: &mut Vec<bool>,
        causes: &mut Vec<Cause>,
    ) {
        for (i, text) in ips.iter().enumerate() {
            let field = format!("spec.clusterIPs[{i}]");
            match text.parse::<IpAddr>() {
                Ok(ip) if self.addresses.taken.contains(&ip) => {
                    causes.push(Cause::invalid(
                        &field,
                        &json!(text),
                        "provided IP is already allocated",
                    ));
                }
                Ok(ip) => match families.get_mut(i) {
                    Some(family) => *family = ip.is_ipv4(),
                    None => families.push(ip.is_ipv4()),
                },
                Err(_) => causes.push(Cause::invalid(
                    &field,
                    &json!(text),
                    "must be a valid IP address",
                )),
            }
        }
        for family in families.iter().skip(ips.len()) {
            match self.addresses.free(*family) {
                Some(ip) => ips.push(ip.to_string()),
                None => {
                    let message = "failed to allocate an IP: range is full or not configured";
                    causes.push(Cause::invalid("spec.clusterIPs", &json!([]), message));
                }
            }
        }
    }
}

/// An update that leaves the addresses out keeps them.
pub(super) fn keep_addresses(kind: &Kind, before: &Value, after: &mut Value) {
    if !is_service(kind) || after["spec"]["type"] == "ExternalName" {
        return;
    }
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if after["spec"][field].is_null() && !before["spec"][field].is_null() {
            after["spec"][field] = before["spec"][field].clone();
        }
    }
}

fn is_service(kind: &Kind) -> bool {
    kind.resource.group.is_empty() && kind.kind == "Service"
}

fn addresses(object: &Value) -> Vec<IpAddr> {
    let ips = object["spec"]["clusterIPs"].as_array();
    let texts = ips.into_iter().flatten().filter_map(Value::as_str);
    texts.filter_map(|text| text.parse().ok()).collect()
}
