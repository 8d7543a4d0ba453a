//! A Node gives the addresses that tunnels reach it at (`InternalIP`) and the ranges of its pods (`spec.podCIDRs`).

use cluster_registry::{name::NodeName, node::Node as RegistryNode};
use k8s_openapi::api::core::v1::{Node, NodeSpec};

use super::{Convert, Flaw, KeyError, NotOurs, address, name, value_of};
use crate::object::{Object, ObjectKey};

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

impl Convert for Node {
    fn key(&self) -> Result<ObjectKey, KeyError> {
        Ok(ObjectKey::Node(NodeName::parse(name(&self.metadata)?)?))
    }

    fn convert(&self, flaws: &mut Vec<Flaw>) -> Result<Object, NotOurs> {
        let mut node = RegistryNode {
            zone: zone(value_of(self.metadata.labels.as_ref(), ZONE_LABEL), flaws),
            ..RegistryNode::default()
        };
        let status = self.status.as_ref();
        let addresses = status.and_then(|status| status.addresses.as_ref());
        for given in addresses.into_iter().flatten() {
            if given.type_ != "InternalIP" {
                continue;
            }
            match address::address(&given.address) {
                Ok(address) => node.addresses.push(address),
                Err(fault) => flaws.push(Flaw::Address {
                    role: "InternalIP",
                    text: given.address.clone(),
                    fault,
                }),
            }
        }
        if node.addresses.is_empty() {
            flaws.push(Flaw::NoInternalIp);
        }
        for text in self.spec.iter().flat_map(pod_ranges) {
            match address::range(text) {
                Ok(range) if node.pod_cidrs.contains(&range) => {}
                Ok(range) => node.pod_cidrs.push(range),
                Err(fault) => flaws.push(Flaw::Address {
                    role: "pod CIDR",
                    text: text.clone(),
                    fault,
                }),
            }
        }
        Ok(Object::Node(node))
    }
}

/// The plural field repeats the singular one where both are there.
fn pod_ranges(spec: &NodeSpec) -> &[String] {
    match (&spec.pod_cidrs, &spec.pod_cidr) {
        (Some(many), _) if !many.is_empty() => many,
        (_, Some(one)) if !one.is_empty() => std::slice::from_ref(one),
        (Some(_) | None, Some(_) | None) => &[],
    }
}

/// Reads a zone, which is a label's value: at most 63 bytes of a few characters.
pub(super) fn zone(text: Option<&str>, flaws: &mut Vec<Flaw>) -> Option<String> {
    let text = text.filter(|text| !text.is_empty())?;
    let is_label = text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if is_label {
        return Some(text.to_owned());
    }
    flaws.push(Flaw::Label {
        role: "zone",
        text: text.to_owned(),
    });
    None
}
