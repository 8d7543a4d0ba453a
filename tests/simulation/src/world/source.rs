//! How a cluster's gateways hear of what it has: the same in the same order, each in its own time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cluster_registry::{
    node::Tunnel,
    resource::{Resource, ResourceId},
};

use super::World;
use crate::scenery::cluster_name;

/// What a gateway hears of its cluster at one time.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) at: Duration,
    /// What has changed, and what it is now.
    changed: Vec<(ResourceId, Option<Resource>)>,
    /// All objects, where the source says everything anew.
    everything: Option<BTreeMap<ResourceId, Resource>>,
}

impl World {
    /// A gateway will hear of changes in its cluster, after all that is on its way already.
    pub(super) fn send_word(&mut self, number: usize, changed: &[ResourceId], is_resync: bool) {
        let offer = &self.offers[self.cluster_of(number)];
        let now_is = |id: &ResourceId| {
            let place = match id {
                ResourceId::Tunnel(_) => &offer.agents,
                ResourceId::Cluster
                | ResourceId::Node(_)
                | ResourceId::Service(_)
                | ResourceId::Endpoint(..)
                | ResourceId::Namespace(_)
                | ResourceId::Import(_) => &offer.objects,
            };
            (id.clone(), place.get(id).cloned())
        };
        let word = Word {
            at: self.now,
            changed: changed.iter().map(now_is).collect(),
            everything: is_resync.then(|| offer.objects.clone()),
        };
        if self.plan.replicas == 1 || self.plan.lag.is_zero() {
            self.learn(number, word);
            return;
        }
        // Most are told of most at once.
        let lag = match self.rng.u8(0..3) {
            0 => self.plan.lag.mul_f64(self.rng.f64()),
            _ => Duration::ZERO,
        };
        let earlier = self.words[number].back().map(|word| word.at);
        let at = earlier.unwrap_or_default().max(self.now + lag);
        self.words[number].push_back(Word { at, ..word });
    }

    /// A gateway hears what has reached it.
    pub(super) fn hear(&mut self, number: usize) {
        while let Some(word) = self.words[number].pop_front_if(|word| word.at <= self.now) {
            self.learn(number, word);
        }
    }

    /// The agents of a gateway's cluster have told it what they have now, so that older word of it does not count.
    pub(super) fn forget_old_tunnels(&mut self, number: usize) {
        for word in &mut self.words[number] {
            let is_older = |id: &ResourceId| matches!(id, ResourceId::Tunnel(_));
            word.changed.retain(|(id, _)| !is_older(id));
        }
    }

    fn learn(&mut self, number: usize, word: Word) {
        let registry = &mut self.gateways[number].registry;
        let (objects, tunnels) = (&mut self.objects[number], &mut self.tunnels[number]);
        let is_resync = word.everything.is_some();
        if let Some(everything) = word.everything {
            registry.apply_local_snapshot(everything.clone().into_iter().collect());
            *objects = everything;
        }
        for (id, value) in word.changed {
            let place = match &id {
                ResourceId::Tunnel(node) => {
                    let tunnel = value.as_ref().and_then(tunnel_of);
                    registry.apply_tunnel(node, tunnel, None);
                    &mut *tunnels
                }
                ResourceId::Cluster
                | ResourceId::Node(_)
                | ResourceId::Service(_)
                | ResourceId::Endpoint(..)
                | ResourceId::Namespace(_)
                | ResourceId::Import(_) => {
                    if !is_resync {
                        registry.apply_local(&id, value.clone(), None);
                    }
                    &mut *objects
                }
            };
            match value {
                Some(value) => place.insert(id, value),
                None => place.remove(&id),
            };
        }
        self.note_exports(number);
        self.publish(number);
        // This cluster's own claims go before those of others.
        for peer in 0..self.plan.clusters {
            self.note_granted(number, &cluster_name(peer));
        }
    }
}

fn tunnel_of(value: &Resource) -> Option<Arc<Tunnel>> {
    match value {
        Resource::Tunnel(tunnel) => Some(Arc::clone(tunnel)),
        Resource::Cluster(_)
        | Resource::Node(_)
        | Resource::Service(_)
        | Resource::Endpoint(_)
        | Resource::Namespace(_)
        | Resource::Import(_) => None,
    }
}
