//! What happens to the world by its plan: changes, cuts, restarts, pauses, and links that come and go.

use std::{collections::BTreeMap, time::Duration};

use cluster_registry::{
    link::{Limits, LinkSpec},
    resource::{Resource, ResourceId},
};

use super::{
    World,
    links::{grants_of, namespaces_of},
};
use crate::{
    connection::Notice,
    plan::{Change, Happening},
    scenery::{self, PODS, cluster_name},
};

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
            Happening::Isolate(gateway) => {
                for other in 0..self.gateways.len() {
                    self.blocked.extend([(gateway, other), (other, gateway)]);
                }
            }
            Happening::HealAll => self.blocked.clear(),
            Happening::Reset(one, other) => self.reset(one, other, |_| true),
            Happening::Lose(at, other) => self.reset(at, other, |gateway| gateway == at),
            Happening::Restart {
                gateway,
                is_graceful,
                memory,
                down,
            } => {
                self.stop(gateway, is_graceful, memory, down);
            }
            Happening::Pause(gateway, time) => {
                let end = self.now + time;
                let gateway = &mut self.gateways[gateway];
                gateway.busy_until = gateway.busy_until.max(end);
                gateway.disturbed_at = gateway.busy_until;
            }
            Happening::Jump(gateway, time) => {
                let gateway = &mut self.gateways[gateway];
                gateway.clock.jump(time);
                gateway.disturbed_at = gateway.disturbed_at.max(self.now);
            }
            Happening::Regrant(own, peer, extent) => self.change_link(own, peer, |link| {
                link.grants = grants_of(peer, extent);
            }),
            Happening::Reexport(own, peer, extent) => self.change_link(own, peer, |link| {
                link.export_to = namespaces_of(extent);
            }),
            Happening::Limit(own, peer, endpoints) => self.change_link(own, peer, |link| {
                link.limits.endpoints = endpoints;
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
        for cluster in 0..self.plan.clusters {
            for node in self.squatters(cluster) {
                self.apply(Happening::Change(cluster, Change::Node(node)));
            }
        }
        for one in 0..self.plan.clusters {
            for other in (0..self.plan.clusters).filter(|other| *other != one) {
                self.apply(Happening::Relink(one, other));
                let limit = Limits::default().endpoints;
                self.apply(Happening::Limit(one, other, limit));
            }
        }
    }

    /// The nodes of a cluster that lay claim to ranges of another.
    fn squatters(&self, cluster: usize) -> Vec<usize> {
        let objects = &self.offers[cluster].objects;
        let is_squatter = |number: &usize| {
            let node = objects.get(&ResourceId::Node(scenery::node_name(*number)));
            let own = scenery::pod_range(cluster, *number);
            matches!(node, Some(Resource::Node(node)) if node.pod_cidrs != [own])
        };
        (0..scenery::NODES).filter(is_squatter).collect()
    }

    fn change(&mut self, cluster: usize, change: Change) {
        self.version += 1;
        let is_resync = matches!(change, Change::Resync(_));
        let changed = self.change_offer(cluster, change);
        for gateway in self.gateways_of(cluster) {
            if self.gateways[gateway].is_running {
                self.send_word(gateway, &changed, is_resync);
            }
        }
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
            Change::Squat(node, victim) => {
                if victim != cluster {
                    self.disputed.insert(scenery::pod_range(victim, node));
                }
                put(objects, scenery::squatter(cluster, node, victim, version))
            }
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

    fn reset(&mut self, one: usize, other: usize, notices: impl Fn(usize) -> bool) {
        for connection in self
            .connections
            .values_mut()
            .filter(|c| c.joins(one, other))
        {
            connection.is_broken = true;
            if let Some((_, succeeds)) = &mut connection.handshake {
                *succeeds = false;
            }
            for end in connection
                .ends
                .iter_mut()
                .filter(|end| notices(end.gateway))
            {
                let noticed = self.now + Duration::from_millis(self.rng.u64(0..200));
                end.notice.get_or_insert((noticed, Notice::Reset));
            }
        }
    }
}

fn remove(objects: &mut BTreeMap<ResourceId, Resource>, id: ResourceId) -> Vec<ResourceId> {
    objects.remove(&id);
    vec![id]
}
