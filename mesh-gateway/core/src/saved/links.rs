//! A link's configuration as it is saved.

use std::num::NonZeroU32;

use cluster_registry::{
    import::{Grants, Namespaces},
    link::{Dial, Limits, LinkSpec, PeerAddress},
    name::{ClusterName, Namespace},
};
use ipnet::IpNet;

use super::{Link, Names};

pub(super) fn encode(spec: &LinkSpec) -> Link {
    let count = |limit: usize| u64::try_from(limit).unwrap_or(u64::MAX);
    Link {
        cluster: spec.cluster.as_str().to_owned(),
        addresses: spec.addresses.iter().map(PeerAddress::to_string).collect(),
        dial: match spec.dial {
            Dial::Auto => 0,
            Dial::Always => 1,
            Dial::Never => 2,
        },
        namespaces: encode_names(&spec.grants.namespaces),
        cidrs: spec.grants.cidrs.iter().map(IpNet::to_string).collect(),
        export_to: encode_names(&spec.export_to),
        max_services: count(spec.limits.services),
        max_endpoints: count(spec.limits.endpoints),
        max_nodes: count(spec.limits.nodes),
        max_updates: spec.limits.updates_per_second.get(),
        trust_timestamps: spec.trust_timestamps,
        is_object: false,
        position: None,
    }
}

pub(super) fn decode(link: &Link) -> Option<LinkSpec> {
    let count = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    let addresses = link.addresses.iter().map(|text| text.parse().ok());
    let cidrs = link.cidrs.iter().map(|text| text.parse().ok());
    Some(LinkSpec {
        cluster: ClusterName::parse(&link.cluster).ok()?,
        addresses: addresses.collect::<Option<_>>()?,
        dial: match link.dial {
            0 => Dial::Auto,
            1 => Dial::Always,
            2 => Dial::Never,
            _unknown => return None,
        },
        grants: Grants {
            namespaces: decode_names(link.namespaces.as_ref())?,
            cidrs: cidrs.collect::<Option<_>>()?,
        },
        export_to: decode_names(link.export_to.as_ref())?,
        limits: Limits {
            services: count(link.max_services),
            endpoints: count(link.max_endpoints),
            nodes: count(link.max_nodes),
            // A version that did not limit them has said none.
            updates_per_second: NonZeroU32::new(link.max_updates)
                .unwrap_or_else(|| Limits::default().updates_per_second),
        },
        trust_timestamps: link.trust_timestamps,
    })
}

fn encode_names(namespaces: &Namespaces) -> Option<Names> {
    match namespaces {
        Namespaces::All => None,
        Namespaces::Only(names) => {
            let names = names.iter().map(|name| name.as_str().to_owned());
            Some(Names {
                names: names.collect(),
            })
        }
    }
}

fn decode_names(names: Option<&Names>) -> Option<Namespaces> {
    let Some(names) = names else {
        return Some(Namespaces::All);
    };
    let names = names.names.iter().map(|name| Namespace::parse(name).ok());
    Some(Namespaces::Only(names.collect::<Option<_>>()?))
}
