//! How links come, change and go.

use std::collections::BTreeMap;

use cluster_registry::{
    import::{Grants, Namespaces},
    link::LinkSpec,
    name::{ClusterName, Namespace},
};

use super::World;
use crate::{
    plan::Extent,
    scenery::{NAMESPACES, cluster_name, cluster_range, most_of_range},
};

impl World {
    pub(super) fn link(&mut self, own: usize, spec: LinkSpec) {
        self.offers[own]
            .links
            .insert(spec.cluster.clone(), spec.clone());
        for gateway in self.gateways_of(own) {
            if self.gateways[gateway].is_running {
                self.link_gateway(gateway, spec.clone());
            }
        }
    }

    /// Gives a gateway one of its cluster's links.
    pub(super) fn link_gateway(&mut self, gateway: usize, spec: LinkSpec) {
        let peer = self.offers.iter().position(|o| o.cluster == spec.cluster);
        let peers = peer.map(|peer| self.gateways_of(peer));
        let (seed, now) = (self.rng.u64(..), self.clock(gateway));
        self.gateways[gateway].add_link(spec, peers.into_iter().flatten(), seed, now);
        self.note_scopes(gateway);
    }

    pub(super) fn unlink(&mut self, own: usize, peer: usize) {
        let name = cluster_name(peer);
        self.offers[own].links.remove(&name);
        for gateway in self.gateways_of(own) {
            if !self.gateways[gateway].is_running {
                continue;
            }
            self.gateways[gateway].remove_link(&name);
            self.readings[gateway].remove(&name);
            self.obey(gateway);
        }
    }

    pub(super) fn change_link(
        &mut self,
        own: usize,
        peer: usize,
        change: impl FnOnce(&mut LinkSpec),
    ) {
        let Some(spec) = self.offers[own].links.get_mut(&cluster_name(peer)) else {
            return;
        };
        change(spec);
        let spec = spec.clone();
        for gateway in self.gateways_of(own) {
            if !self.gateways[gateway].is_running {
                continue;
            }
            let (seed, now) = (self.rng.u64(..), self.clock(gateway));
            self.gateways[gateway].change_link(spec.clone(), seed, now);
            self.note_granted(gateway, &cluster_name(peer));
            self.note_scopes(gateway);
            self.obey(gateway);
        }
    }

    /// What a link no longer grants is withdrawn, and what was withheld is shown, without a word of the peer.
    pub(super) fn note_granted(&mut self, own: usize, name: &ClusterName) {
        let publisher = self.offers.iter().position(|o| o.cluster == *name);
        let (Some(publisher), Some(reading)) = (publisher, self.readings[own].get_mut(name)) else {
            return;
        };
        let history = &self.histories[publisher];
        let registry = &self.gateways[own].registry;
        let shown = registry.feed().iter_of(name);
        let shown: BTreeMap<_, _> = shown.map(|(key, value)| (key.id, value)).collect();
        reading.retain(|id| shown.contains_key(id));
        for (id, value) in shown {
            if reading.knows(history, &id).is_none() {
                // What is shown may not be as it was said; then nothing is known of what was.
                drop(reading.note(history, &id, Some(&value)));
            }
        }
    }

    fn note_scopes(&mut self, own: usize) {
        for peer in self.gateways[own].peers.values() {
            let (reader, shown) = (peer.spec.cluster.clone(), peer.spec.export_to.clone());
            self.scopes.entry(peer.feed).or_insert((own, reader, shown));
        }
    }
}

pub(super) fn namespaces_of(extent: Extent) -> Namespaces {
    match extent {
        Extent::All => Namespaces::All,
        Extent::OneNamespace | Extent::MostRanges => {
            let names = NAMESPACES[..1].iter().map(|name| Namespace::parse(name));
            Namespaces::Only(names.filter_map(Result::ok).collect())
        }
    }
}

pub(super) fn grants_of(peer: usize, extent: Extent) -> Grants {
    match extent {
        Extent::All => Grants::default(),
        Extent::OneNamespace => Grants {
            namespaces: namespaces_of(extent),
            cidrs: vec![cluster_range(peer)],
        },
        Extent::MostRanges => Grants {
            namespaces: Namespaces::All,
            cidrs: most_of_range(peer),
        },
    }
}
