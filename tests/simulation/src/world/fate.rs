//! What happens to the world by its plan: changes, cuts, restarts, pauses, and links that come and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use cluster_registry::{
    import::{Grants, Namespaces},
    link::LinkSpec,
    name::{ClusterName, Namespace},
    resource::{Key, Resource, ResourceId},
    store::Cursor,
};
use mesh_gateway_core::{reason::GoodbyeReason, resume::Resume};

use super::World;
use crate::{
    connection::Notice,
    gateway::{Gateway, Peer},
    plan::{Change, Extent, Happening, Memory},
    scenery::{self, NAMESPACES, PODS, cluster_name, cluster_range, most_of_range},
};

/// What a gateway remembers of a peer over a restart.
#[derive(Debug)]
pub(super) struct Remembered {
    resources: Vec<(Key, Resource)>,
    progress: Option<Cursor>,
    grants: Grants,
}

/// What a gateway remembers over a restart.
pub(super) type Remains = BTreeMap<ClusterName, Remembered>;

impl World {
    pub(super) fn apply(&mut self, happening: Happening) {
        self.tell(|| format!("{happening:?}"));
        match happening {
            Happening::Change(cluster, change) => self.change(cluster, change),
            Happening::CutOneWay(from, to) => drop(self.blocked.insert((from, to))),
            Happening::Cut(one, other) => self.blocked.extend([(one, other), (other, one)]),
            Happening::Heal(one, other) => {
                self.blocked
                    .retain(|way| *way != (one, other) && *way != (other, one));
            }
            Happening::Isolate(cluster) => {
                for other in 0..self.gateways.len() {
                    self.blocked.extend([(cluster, other), (other, cluster)]);
                }
            }
            Happening::HealAll => self.blocked.clear(),
            Happening::Reset(one, other) => self.reset(one, other),
            Happening::Restart {
                gateway,
                is_graceful,
                memory,
                down,
            } => {
                self.stop(gateway, is_graceful, memory, down);
            }
            Happening::Pause(gateway, time) => self.gateways[gateway].busy_until = self.now + time,
            Happening::Jump(gateway, time) => self.gateways[gateway].clock.jump(time),
            Happening::Regrant(own, peer, extent) => self.change_link(own, peer, |link| {
                link.grants = grants_of(peer, extent);
            }),
            Happening::Reexport(own, peer, extent) => self.change_link(own, peer, |link| {
                link.export_to = namespaces_of(extent);
            }),
            Happening::Unlink(own, peer) => self.unlink(own, peer),
            Happening::Relink(own, peer) => {
                if !self.offers[own].links.contains_key(&cluster_name(peer)) {
                    self.link(own, LinkSpec::new(cluster_name(peer)));
                }
            }
        }
    }

    /// Ends every fault and brings every gateway and link back.
    pub(super) fn make_whole(&mut self) {
        self.blocked.clear();
        self.plan.weather.loss_percent = 0;
        for gateway in &mut self.gateways {
            gateway.busy_until = gateway.busy_until.min(self.now);
        }
        for start in self.starts.values_mut() {
            start.0 = start.0.min(self.now);
        }
        for one in 0..self.gateways.len() {
            for other in (0..self.gateways.len()).filter(|other| *other != one) {
                self.apply(Happening::Relink(one, other));
            }
        }
    }

    fn change(&mut self, cluster: usize, change: Change) {
        self.version += 1;
        let is_resync = matches!(change, Change::Resync(_));
        let changed = self.change_offer(cluster, change);
        let gateway = &mut self.gateways[cluster];
        if !gateway.is_running {
            return;
        }
        let offer = &mut self.offers[cluster];
        if is_resync {
            let all = offer
                .objects
                .iter()
                .map(|(id, value)| (id.clone(), value.clone()));
            gateway.registry.apply_local_snapshot(all.collect());
        }
        for id in &changed {
            if let ResourceId::Tunnel(node) = id {
                let tunnel = match offer.agents.get(id) {
                    Some(Resource::Tunnel(tunnel)) => Some(Arc::clone(tunnel)),
                    _gone => None,
                };
                gateway.registry.apply_tunnel(node, tunnel, None);
                match offer.agents.get(id) {
                    Some(value) => offer.tunnels.insert(id.clone(), value.clone()),
                    None => offer.tunnels.remove(id),
                };
            } else if !is_resync {
                let value = offer.objects.get(id).cloned();
                gateway.registry.apply_local(id, value, None);
            }
        }
        self.note_exports(cluster);
        self.publish(cluster);
    }

    /// Changes what a cluster really has, and returns what of it.
    fn change_offer(&mut self, cluster: usize, change: Change) -> Vec<ResourceId> {
        let version = self.version;
        let offer = &mut self.offers[cluster];
        let put = |objects: &mut BTreeMap<ResourceId, Resource>,
                   (id, value): (ResourceId, Resource)| {
            objects.insert(id.clone(), value);
            vec![id]
        };
        let objects = &mut offer.objects;
        match change {
            Change::Service(number, sharing) => {
                put(objects, scenery::service(number, sharing, version))
            }
            Change::Endpoint(service, pod) => {
                put(objects, scenery::endpoint(cluster, service, pod, version))
            }
            Change::Node(node) => put(objects, scenery::node(cluster, node, version)),
            Change::Tunnel(node) => put(&mut offer.agents, scenery::tunnel(cluster, node, version)),
            Change::ServiceGone(number) => {
                remove(objects, ResourceId::Service(scenery::service_name(number)))
            }
            Change::EndpointGone(service, pod) => {
                let address = scenery::pod_address(cluster, pod);
                remove(
                    objects,
                    ResourceId::Endpoint(scenery::service_name(service), address),
                )
            }
            Change::NodeGone(node) => remove(objects, ResourceId::Node(scenery::node_name(node))),
            Change::TunnelGone(node) => remove(
                &mut offer.agents,
                ResourceId::Tunnel(scenery::node_name(node)),
            ),
            Change::Rollout(service) => {
                let name = scenery::service_name(service);
                let is_of =
                    |id: &&ResourceId| matches!(id, ResourceId::Endpoint(n, _) if *n == name);
                let mut changed: Vec<ResourceId> = objects.keys().filter(is_of).cloned().collect();
                for id in &changed {
                    objects.remove(id);
                }
                let first = usize::from(version) % PODS;
                for pod in first..first + PODS {
                    changed.extend(put(
                        objects,
                        scenery::endpoint(cluster, service, pod, version),
                    ));
                }
                changed
            }
            Change::Resync(change) => self.change_offer(cluster, *change),
        }
    }

    fn reset(&mut self, one: usize, other: usize) {
        for connection in self
            .connections
            .values_mut()
            .filter(|c| c.joins(one, other))
        {
            connection.is_broken = true;
            if let Some((_, succeeds)) = &mut connection.handshake {
                *succeeds = false;
            }
            for end in &mut connection.ends {
                let noticed = self.now + Duration::from_millis(self.rng.u64(0..200));
                end.notice.get_or_insert((noticed, Notice::Reset));
            }
        }
    }

    fn stop(&mut self, gateway: usize, is_graceful: bool, memory: Memory, down: Duration) {
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
        self.offers[gateway].tunnels.clear();
        self.announces.remove(&gateway);
        self.starts.insert(gateway, (self.now + down, remains));
    }

    /// A gateway begins another life.
    pub(super) fn start(&mut self, number: usize, mut remains: Remains) {
        let life = self.number();
        let old = &self.gateways[number];
        let mut gateway = Gateway::new(old.cluster.clone(), life, old.clock, self.plan.hold_time);
        let objects = self.offers[number].objects.iter();
        let objects = objects
            .map(|(id, value)| (id.clone(), value.clone()))
            .collect();
        gateway.registry.apply_local_snapshot(objects);
        self.gateways[number] = gateway;
        let own = self.offers[number]
            .links
            .values()
            .cloned()
            .collect::<Vec<_>>();
        for spec in own {
            self.link(number, spec);
        }
        let now = self.clock(number);
        for peer in 0..self.gateways.len() {
            let name = cluster_name(peer);
            match remains.remove(&name) {
                Some(remembered) => remember(&mut self.gateways[number], &name, remembered, now),
                None => drop(self.readings[number].remove(&name)),
            }
            self.forget_withdrawn(number, &name);
        }
        let announced = self.now + Duration::from_millis(self.rng.u64(0..500));
        self.announces.insert(number, announced);
        self.note_exports(number);
        self.publish(number);
    }

    /// The agents of a cluster announce their tunnel ends to its gateway.
    pub(super) fn announce(&mut self, number: usize) {
        let offer = &mut self.offers[number];
        offer.tunnels = offer.agents.clone();
        for (id, value) in &offer.tunnels {
            if let (ResourceId::Tunnel(node), Resource::Tunnel(tunnel)) = (id, value) {
                let registry = &mut self.gateways[number].registry;
                registry.apply_tunnel(node, Some(Arc::clone(tunnel)), None);
            }
        }
        self.note_exports(number);
        self.publish(number);
    }

    pub(super) fn link(&mut self, own: usize, spec: LinkSpec) {
        self.offers[own]
            .links
            .insert(spec.cluster.clone(), spec.clone());
        if self.gateways[own].is_running {
            let (seed, now) = (self.rng.u64(..), self.clock(own));
            self.gateways[own].add_link(spec, seed, now);
            self.note_scopes(own);
        }
    }

    fn unlink(&mut self, own: usize, peer: usize) {
        let name = cluster_name(peer);
        self.offers[own].links.remove(&name);
        if !self.gateways[own].is_running {
            return;
        }
        self.gateways[own].remove_link(&name);
        self.readings[own].remove(&name);
        self.obey(own);
    }

    fn change_link(&mut self, own: usize, peer: usize, change: impl FnOnce(&mut LinkSpec)) {
        let Some(spec) = self.offers[own].links.get_mut(&cluster_name(peer)) else {
            return;
        };
        change(spec);
        let spec = spec.clone();
        if self.gateways[own].is_running {
            let (seed, now) = (self.rng.u64(..), self.clock(own));
            self.gateways[own].change_link(spec, seed, now);
            self.forget_withdrawn(own, &cluster_name(peer));
            self.note_scopes(own);
            self.obey(own);
        }
    }

    /// What a link no longer grants is withdrawn without a word of the peer.
    fn forget_withdrawn(&mut self, own: usize, name: &ClusterName) {
        let kept: BTreeSet<_> = self.gateways[own]
            .imports_of(name)
            .map(|key| key.id.clone())
            .collect();
        if let Some(reading) = self.readings[own].get_mut(name) {
            reading.retain(|id| kept.contains(id));
        }
    }

    fn note_scopes(&mut self, own: usize) {
        for peer in self.gateways[own].peers.values() {
            let (reader, shown) = (peer.spec.cluster.clone(), peer.spec.export_to.clone());
            self.scopes.entry(peer.feed).or_insert((own, reader, shown));
        }
    }
}

fn remove(objects: &mut BTreeMap<ResourceId, Resource>, id: ResourceId) -> Vec<ResourceId> {
    objects.remove(&id);
    vec![id]
}

fn remains_of(gateway: &Gateway) -> Remains {
    let remember = |(name, peer): (&ClusterName, &Peer)| {
        let known = gateway.registry.feed().iter_of(name);
        let remembered = Remembered {
            resources: known
                .filter(|(key, _)| key.id != ResourceId::Cluster)
                .map(|(key, value)| (key, value.clone()))
                .collect(),
            progress: peer.holding.progress(),
            grants: peer.spec.grants.clone(),
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
    // Under other grants, other things would have been taken.
    if let Some(cursor) = remembered
        .progress
        .filter(|_| remembered.grants == peer.spec.grants)
    {
        peer.resume = Resume::from(cursor);
        peer.holding.restore(cursor);
    }
    for (key, value) in remembered.resources {
        gateway.registry.restore(key, value).ok();
    }
}

fn namespaces_of(extent: Extent) -> Namespaces {
    match extent {
        Extent::All => Namespaces::All,
        Extent::OneNamespace | Extent::MostRanges => {
            let names = NAMESPACES[..1].iter().map(|name| Namespace::parse(name));
            Namespaces::Only(names.filter_map(Result::ok).collect())
        }
    }
}

fn grants_of(peer: usize, extent: Extent) -> Grants {
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
