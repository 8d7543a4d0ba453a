//! A ClusterLink is a link to the cluster that it is named after.
//!
//! What limits the peer is never widened by a mistake: a link of whose limits a part cannot be read, so that less would
//! limit it, does not count at all.

use std::{collections::BTreeMap, num::NonZeroU32};

use cluster_registry::{
    import::{Grants, Namespaces},
    link::{Dial, Limits, LinkSpec},
    name::{ClusterName, Namespace},
};
use serde_json::Value;

use super::{Convert, Flaw, KeyError, NotOurs, address, name};
use crate::{
    api::{ClusterLink, ClusterLinkSpec, LinkDial, LinkGrants, LinkLimits},
    object::{Object, ObjectKey},
};

impl Convert for ClusterLink {
    fn key(&self) -> Result<ObjectKey, KeyError> {
        Ok(ObjectKey::Link(ClusterName::parse(name(&self.metadata)?)?))
    }

    fn convert(&self, flaws: &mut Vec<Flaw>) -> Result<Object, NotOurs> {
        if self.metadata.deletion_timestamp.is_some() {
            return Err(NotOurs::BeingDeleted);
        }
        // The key was checked before; an object without one is never converted into a link.
        let cluster = name(&self.metadata).ok().map(ClusterName::parse);
        let Some(Ok(cluster)) = cluster else {
            return Err(NotOurs::BadLink);
        };
        let mut link = LinkSpec::new(cluster);
        let spec = &self.spec;
        let is_understood = check_unknown(spec, flaws);
        link.dial = match spec.dial {
            LinkDial::Auto => Dial::Auto,
            LinkDial::Always => Dial::Always,
            LinkDial::Never => Dial::Never,
        };
        for text in &spec.addresses {
            match text.parse() {
                Ok(address) => link.addresses.push(address),
                Err(fault) => flaws.push(Flaw::PeerAddress {
                    text: text.clone(),
                    fault,
                }),
            }
        }
        if link.dial == Dial::Always && link.addresses.is_empty() {
            flaws.push(Flaw::NothingToDial);
        }
        let granted = match &spec.grants {
            Some(given) => read_grants(given, flaws),
            None => Ok(Grants::default()),
        };
        let export_to = spec.export_to.as_ref();
        link.export_to = namespaces(export_to.and_then(|e| e.namespaces.as_deref()), flaws);
        link.limits = limits(spec.limits.as_ref(), flaws);
        link.trust_timestamps = spec.trust_timestamps;
        link.grants = granted?;
        if !is_understood {
            return Err(NotOurs::BadLink);
        }
        Ok(Object::Link(Box::new(link)))
    }
}

/// Whether every field is known: one that is not could be a misspelt limit.
fn check_unknown(spec: &ClusterLinkSpec, flaws: &mut Vec<Flaw>) -> bool {
    let before = flaws.len();
    let mut check = |path: &str, unknown: &BTreeMap<String, Value>| {
        flaws.extend(unknown.keys().map(|field| Flaw::UnknownField {
            field: format!("{path}.{field}"),
        }));
    };
    check("spec", &spec.unknown);
    if let Some(grants) = &spec.grants {
        check("spec.grants", &grants.unknown);
    }
    if let Some(export_to) = &spec.export_to {
        check("spec.exportTo", &export_to.unknown);
    }
    if let Some(limits) = &spec.limits {
        check("spec.limits", &limits.unknown);
    }
    flaws.len() == before
}

fn read_grants(given: &LinkGrants, flaws: &mut Vec<Flaw>) -> Result<Grants, NotOurs> {
    let mut grants = Grants {
        namespaces: namespaces(given.namespaces.as_deref(), flaws),
        cidrs: Vec::new(),
    };
    let Some(texts) = &given.cidrs else {
        return Ok(grants);
    };
    for text in texts {
        match address::range(text) {
            Ok(range) => grants.cidrs.push(range),
            Err(fault) => flaws.push(Flaw::Address {
                role: "range",
                text: text.clone(),
                fault,
            }),
        }
    }
    if grants.cidrs.is_empty() {
        // Empty would mean no limit.
        flaws.push(Flaw::NoGrantedRange);
        return Err(NotOurs::BadLink);
    }
    Ok(grants)
}

fn namespaces(given: Option<&[String]>, flaws: &mut Vec<Flaw>) -> Namespaces {
    let Some(texts) = given else {
        return Namespaces::All;
    };
    let parsed = texts
        .iter()
        .filter_map(|text| match Namespace::parse(text) {
            Ok(name) => Some(name),
            Err(fault) => {
                flaws.push(Flaw::LinkNamespace {
                    name: text.clone(),
                    fault,
                });
                None
            }
        });
    Namespaces::Only(parsed.collect())
}

fn limits(given: Option<&LinkLimits>, flaws: &mut Vec<Flaw>) -> Limits {
    let mut limits = Limits::default();
    let Some(given) = given else {
        return limits;
    };
    let mut set = |limit: &mut usize, name: &'static str, value: Option<i64>| {
        let Some(value) = value else { return };
        match usize::try_from(value) {
            Ok(value) if value > 0 => *limit = value,
            Ok(_) | Err(_) => flaws.push(Flaw::Limit { name, value }),
        }
    };
    set(&mut limits.services, "services", given.services);
    set(&mut limits.endpoints, "endpoints", given.endpoints);
    set(&mut limits.nodes, "nodes", given.nodes);
    if let Some(value) = given.updates_per_second {
        match u32::try_from(value).ok().and_then(NonZeroU32::new) {
            Some(value) => limits.updates_per_second = value,
            None => flaws.push(Flaw::Limit {
                name: "updatesPerSecond",
                value,
            }),
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_link_says_what_its_object_says() {
        let (object, flaws) = converted(
            json!({"addresses": ["gw.west.example:4700", "[2001:db8::1]:4700"],
            "dial": "Always", "grants": {"namespaces": ["shop"], "cidrs": ["10.2.3.4/16"]},
            "exportTo": {"namespaces": []}, "limits": {"services": 5}, "trustTimestamps": true,
            "trustBundleRef": {"name": "west"}}),
        );
        assert_eq!(flaws, [] as [String; 0]);
        let Ok(Object::Link(link)) = object else {
            panic!("{object:?}");
        };
        assert_eq!(link.cluster.as_str(), "west");
        assert_eq!(link.addresses.len(), 2);
        assert_eq!(link.dial, Dial::Always);
        assert_eq!(link.grants.cidrs, ["10.2.0.0/16".parse().unwrap()]);
        assert_eq!(link.export_to, Namespaces::Only([].into()));
        assert_eq!(
            link.limits,
            Limits {
                services: 5,
                ..Limits::default()
            }
        );
        assert!(link.trust_timestamps);
    }

    #[test]
    fn a_link_that_says_nothing_has_the_defaults() {
        let (object, _) = converted(json!({}));
        let expected = LinkSpec::new(ClusterName::parse("west").unwrap());
        assert_eq!(object, Ok(Object::Link(Box::new(expected))));
    }

    #[test]
    fn a_wrong_part_is_left_out_and_told() {
        let (object, flaws) = converted(json!({"addresses": ["gw:70000", "gw.west.example:4700"],
            "grants": {"namespaces": ["Shop", "shop"], "cidrs": ["10.2.0.0/16", "10.3.0.0", "0.0.0.0/0"]},
            "limits": {"nodes": -1}}));
        assert!(
            matches!(&object, Ok(Object::Link(link)) if link.addresses.len() == 1
            && link.grants.cidrs.len() == 1 && link.limits == Limits::default()),
            "{object:?}"
        );
        assert_eq!(flaws.len(), 5, "{flaws:?}");
    }

    #[test]
    fn a_mistake_never_widens_what_a_peer_may_announce() {
        for spec in [
            json!({"grants": {"cidrs": ["10.2.0.0"]}}),
            json!({"grants": {"cidrs": []}}),
            json!({"grants": {"cidr": ["10.2.0.0/16"]}}),
            json!({"grant": {"cidrs": ["10.2.0.0/16"]}}),
            json!({"exportTo": {"namespace": ["shop"]}}),
        ] {
            let (object, flaws) = converted(spec.clone());
            assert_eq!(object, Err(NotOurs::BadLink), "{spec}");
            assert_eq!(
                flaws.last().map(|f| f.contains("the link does not count")),
                Some(true),
                "{flaws:?}"
            );
        }
    }

    #[test]
    fn a_name_that_is_no_clusters_does_not_count() {
        for name in ["West", "gw.west.example", &"w".repeat(64)] {
            let given: ClusterLink =
                serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            assert!(given.key().is_err(), "{name}");
        }
    }

    fn converted(spec: Value) -> (Result<Object, NotOurs>, Vec<String>) {
        let given = json!({"metadata": {"name": "west"}, "spec": spec});
        let given: ClusterLink = serde_json::from_value(given).unwrap();
        let mut flaws = Vec::new();
        let object = given.convert(&mut flaws);
        (object, flaws.iter().map(ToString::to_string).collect())
    }
}
