//! What the hub saves for its next life, and what it makes of what an earlier one saved.

use std::{collections::BTreeMap, time::Instant};

use cluster_registry::{
    link::LinkSpec,
    name::ClusterName,
    resource::{Key, Resource, ResourceId},
};
use mesh_gateway_core::saved::{Saved, SavedLink};
use mesh_link::resume::Resume;

use super::{Hub, links::Origin};
use crate::state::{SavePage, SaveRequest};

impl Hub {
    /// Answers who saves; the links go with the last page, so that no position is newer than what it stands for.
    pub(super) fn answer_save(&self, request: SaveRequest) {
        let feed = self.registry.feed();
        let page = feed
            .changes_after(request.after, request.limit)
            .map(|batch| SavePage {
                links: match batch.is_last {
                    true => self.saved_links(),
                    false => Vec::new(),
                },
                batch,
            });
        // Who asked may have gone.
        drop(request.reply.send(page));
    }

    fn saved_links(&self) -> Vec<SavedLink> {
        let link = |peer: &super::peers::Peer| SavedLink {
            spec: LinkSpec::clone(&peer.spec),
            is_object: peer.origin == Origin::Object,
            cursor: peer.holding.progress().filter(|_| self.saves_all_of(peer)),
        };
        self.peers.values().map(link).collect()
    }

    /// Whether all that a peer said is saved: what is withheld or was refused must be said again.
    fn saves_all_of(&self, peer: &super::peers::Peer) -> bool {
        let summary = self.registry.peer_summary(&peer.spec.cluster);
        summary.is_some_and(|summary| summary.withheld == 0 && summary.over_limit.is_none())
    }

    /// Takes what an earlier life saved, and serves it: links that only the source knows count until it says otherwise,
    /// and peers are held as if they were lost now.
    pub(crate) fn restore(&mut self, saved: Saved) {
        let objects = saved.links.iter().filter(|link| link.is_object);
        let objects = objects.map(|link| (link.spec.cluster.clone(), link.spec.clone()));
        self.handle_links(objects.collect());
        let refused = self.restore_resources(saved.resources);
        let now = Instant::now();
        for link in saved.links {
            let Some(peer) = self.peers.get_mut(&link.spec.cluster) else {
                continue;
            };
            peer.holding.lose(now);
            peer.resume = Resume::holding_some();
            // Under other grants or limits, other things would have been taken.
            let is_as_it_was =
                peer.spec.grants == link.spec.grants && peer.spec.limits == link.spec.limits;
            let is_whole = !refused.contains_key(&link.spec.cluster);
            if let Some(cursor) = link.cursor.filter(|_| is_as_it_was && is_whole) {
                peer.resume = Resume::from(cursor);
                peer.holding.restore(cursor);
            }
        }
        self.publish_links();
        self.is_restored = true;
        self.serve();
    }

    /// This cluster's own come first, as its ranges decide what others may say; says how many of each peer are refused.
    fn restore_resources(
        &mut self,
        resources: BTreeMap<Key, Resource>,
    ) -> BTreeMap<ClusterName, usize> {
        let is_own = |(key, _): &(Key, Resource)| key.cluster == self.cluster;
        let (own, imports): (Vec<_>, Vec<_>) = resources.into_iter().partition(is_own);
        let mut refused = BTreeMap::new();
        for (key, value) in own.into_iter().chain(imports) {
            let cluster = key.cluster.clone();
            if self.registry.restore(key, value).is_err() {
                *refused.entry(cluster).or_insert(0) += 1;
            }
        }
        for (peer, refused) in &refused {
            tracing::info!(%peer, refused, "saved resources are no longer granted");
        }
        refused
    }

    /// The source has said everything: what it did not is not there, whatever was saved.
    pub(super) fn drop_what_no_source_said(&mut self) {
        if !self.has_heard_links {
            self.handle_links(BTreeMap::new());
        }
        if !self.is_restored {
            return;
        }
        let tunnels: Vec<_> = self
            .registry
            .feed()
            .iter_of(&self.cluster)
            .filter_map(|(key, _)| match key.id {
                ResourceId::Tunnel(node) => Some(node),
                ResourceId::Cluster
                | ResourceId::Node(_)
                | ResourceId::Service(_)
                | ResourceId::Namespace(_)
                | ResourceId::Import(_)
                | ResourceId::Endpoint(..) => None,
            })
            .collect();
        for node in tunnels {
            let key = Key {
                cluster: self.cluster.clone(),
                id: ResourceId::Node(node.clone()),
            };
            let is_connected = self.nodes.get(&node).is_some_and(|n| n.seat.is_taken());
            if !is_connected && self.registry.feed().get(&key).is_none() {
                self.registry.apply_tunnel(&node, None, None);
            }
        }
    }
}
