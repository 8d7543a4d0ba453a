//! How gateways end and start anew, and what they remember of their earlier lives.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use cluster_registry::{
    import::Grants,
    link::Limits,
    name::ClusterName,
    resource::{Key, Resource, ResourceId},
    store::Cursor,
};
use mesh_gateway_core::{reason::GoodbyeReason, resume::Resume};

use super::World;
use crate::{
    gateway::{Gateway, Peer},
    plan::Memory,
    scenery::cluster_name,
};

/// What a gateway remembers of a peer over a restart.
#[derive(Debug)]
pub(super) struct Remembered {
    resources: Vec<(Key, Resource)>,
    progress: Option<Cursor>,
    grants: Grants,
    limits: Limits,
}

/// What a gateway remembers over a restart.
pub(super) type Remains = BTreeMap<ClusterName, Remembered>;

impl World {
    pub(super) fn stop(
        &mut self,
        gateway: usize,
        is_graceful: bool,
        memory: Memory,
        down: Duration,
    ) {
        if !self.gateways[gateway].is_running {
            return;
        }
        if is_graceful {
            self.shut_sessions(gateway, GoodbyeReason::ShuttingDown, |_| true);
        }
        let stopped = &mut self.gateways[gateway];
        stopped.is_running = false;
        let remains = match memory {
            Memory::Nothing => Remains::new(),
            Memory::Imports => remains_of(stopped),
        };
        for connection in self.connections.values_mut() {
            for end in connection
                .ends
                .iter_mut()
                .filter(|end| end.gateway == gateway)
            {
                end.end();
            }
        }
        self.tunnels[gateway].clear();
        self.words[gateway].clear();
        self.lost_since.retain(|(reader, _), _| *reader != gateway);
        self.announces.remove(&gateway);
        self.starts.insert(gateway, (self.now + down, remains));
    }

    /// A gateway begins another life.
    pub(super) fn start(&mut self, number: usize, mut remains: Remains) {
        let life = self.number();
        let old = &self.gateways[number];
        let place = (old.cluster.clone(), old.replica);
        let mut gateway = Gateway::new(place, life, old.clock, self.plan.hold_time);
        let offer = &self.offers[self.cluster_of(number)];
        let objects = offer.objects.clone();
        gateway
            .registry
            .apply_local_snapshot(objects.clone().into_iter().collect());
        let links: Vec<_> = offer.links.values().cloned().collect();
        self.gateways[number] = gateway;
        self.objects[number] = objects;
        for spec in links {
            self.link_gateway(number, spec);
        }
        let now = self.clock(number);
        for peer in 0..self.plan.clusters {
            let name = cluster_name(peer);
            match remains.remove(&name) {
                Some(remembered) => remember(&mut self.gateways[number], &name, remembered, now),
                None => drop(self.readings[number].remove(&name)),
            }
            self.note_granted(number, &name);
        }
        let announced = self.now + Duration::from_millis(self.rng.u64(0..500));
        self.announces.insert(number, announced);
        self.note_exports(number);
        self.publish(number);
    }

    /// The agents of a cluster announce their tunnel ends to its gateway.
    pub(super) fn announce(&mut self, number: usize) {
        let agents = self.offers[self.cluster_of(number)].agents.clone();
        for (id, value) in &agents {
            if let (ResourceId::Tunnel(node), Resource::Tunnel(tunnel)) = (id, value) {
                let registry = &mut self.gateways[number].registry;
                registry.apply_tunnel(node, Some(Arc::clone(tunnel)), None);
            }
        }
        self.tunnels[number] = agents;
        self.forget_old_tunnels(number);
        self.note_exports(number);
        self.publish(number);
    }
}

fn remains_of(gateway: &Gateway) -> Remains {
    let remember = |(name, peer): (&ClusterName, &Peer)| {
        let known = gateway.registry.feed().iter_of(name);
        let remembered = Remembered {
            resources: known
                .filter(|(key, _)| key.id != ResourceId::Cluster)
                .collect(),
            progress: peer
                .holding
                .progress()
                .filter(|_| gateway.knows_all_of(name)),
            grants: peer.spec.grants.clone(),
            limits: peer.spec.limits,
        };
        (name.clone(), remembered)
    };
    gateway.peers.iter().map(remember).collect()
}

/// Gives a gateway back what it knew of a peer; its links may have changed meanwhile, and what they refuse is left out.
fn remember(gateway: &mut Gateway, name: &ClusterName, remembered: Remembered, now: Instant) {
    let Some(peer) = gateway.peers.get_mut(name) else {
        return;
    };
    peer.holding.lose(now);
    // Under other grants or limits, other things would have been taken.
    let spec = &peer.spec;
    let is_as_it_was = remembered.grants == spec.grants && remembered.limits == spec.limits;
    let mut is_whole = true;
    for (key, value) in remembered.resources {
        is_whole &= gateway.registry.restore(key, value).is_ok();
    }
    if let Some(cursor) = remembered.progress.filter(|_| is_as_it_was && is_whole)
        && let Some(peer) = gateway.peers.get_mut(name)
    {
        peer.resume = Resume::from(cursor);
        peer.holding.restore(cursor);
    }
}
