//! Who holds which addresses and tunnel keys: the first holder keeps them, and whoever comes later waits for them.
//!
//! Traffic to the ranges of a node goes into its tunnel, so no two clusters may have overlapping ones, nor one the
//! address of another's endpoint in its range. One address may be an endpoint of several clusters: nobody gets anybody
//! else's traffic by that.

mod served;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    import::Refusal,
    name::{ClusterName, NodeName},
    node::PublicKey,
    resource::{Key, Resource, ResourceId},
};
use served::Served;

/// What only one cluster, or one node, may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    Range(IpNet),
    Key(PublicKey),
}

/// What a resource lays claim to.
#[derive(Debug, PartialEq, Eq, Default)]
struct Wants {
    /// Traffic to these goes to it.
    routed: BTreeSet<IpNet>,
    /// It serves here.
    served: Option<IpAddr>,
    tunnel: Option<(PublicKey, NodeName)>,
}

/// What all clusters hold, this one's included.
#[derive(Debug)]
pub(super) struct Claims {
    own: ClusterName,
    routed: BTreeMap<IpNet, BTreeMap<ClusterName, usize>>,
    /// How many ranges of each length there are, by whether they are of IPv4.
    lengths: BTreeMap<(bool, u8), usize>,
    served: BTreeMap<ClusterName, Served>,
    tunnels: BTreeMap<PublicKey, BTreeSet<(ClusterName, NodeName)>>,
    /// What is withheld for each claim of somebody else's.
    waiting: BTreeMap<Claim, BTreeSet<Key>>,
}

impl Claims {
    pub(super) fn new(own: ClusterName) -> Self {
        Self {
            own,
            routed: BTreeMap::new(),
            lengths: BTreeMap::new(),
            served: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// What keeps a resource from being shown, and why.
    pub(super) fn blocker(&self, key: &Key, value: &Resource) -> Option<(Claim, Refusal)> {
        let wants = self.wants(key, Some(value));
        let tunnel = wants.tunnel.as_ref();
        let tunnel =
            tunnel.and_then(|(tunnel, node)| self.tunnel_blocker(&key.cluster, tunnel, node));
        tunnel.or_else(|| self.range_blocker(&key.cluster, &wants))
    }

    fn tunnel_blocker(
        &self,
        cluster: &ClusterName,
        tunnel: &PublicKey,
        node: &NodeName,
    ) -> Option<(Claim, Refusal)> {
        let mut holders = self.tunnels.get(tunnel)?.iter();
        let other = holders.find(|(c, n)| c != cluster || n != node)?;
        let (cluster, node) = other.clone();
        Some((Claim::Key(*tunnel), Refusal::KeyHeld { cluster, node }))
    }

    fn range_blocker(&self, cluster: &ClusterName, wants: &Wants) -> Option<(Claim, Refusal)> {
        for range in &wants.routed {
            let held = self.routed_overlap(range, cluster);
            if let Some((held, holder)) = held.or_else(|| self.served_in(range, cluster)) {
                return Some((Claim::Range(held), self.range_refusal(*range, holder)));
            }
        }
        let range = wants.served.map(IpNet::from)?;
        let (held, holder) = self.routed_overlap(&range, cluster)?;
        Some((Claim::Range(held), self.range_refusal(range, holder)))
    }

    /// The other clusters that hold something of what a resource of this cluster holds: they must give way.
    pub(super) fn rivals(&self, key: &Key, value: &Resource) -> BTreeSet<ClusterName> {
        let wants = self.wants(key, Some(value));
        let served = wants.served.map(IpNet::from);
        let mut rivals = BTreeSet::new();
        for range in wants.routed.iter().chain(&served) {
            rivals.extend(
                self.routed_overlaps(range, &key.cluster)
                    .map(|(_, holder)| holder.clone()),
            );
        }
        for range in &wants.routed {
            let others = self
                .served
                .iter()
                .filter(|(cluster, _)| **cluster != key.cluster);
            let inside = others.filter(|(_, served)| served.first_in(range).is_some());
            rivals.extend(inside.map(|(cluster, _)| cluster.clone()));
        }
        let keys = wants
            .tunnel
            .iter()
            .filter_map(|(tunnel, _)| self.tunnels.get(tunnel));
        let others = keys
            .flatten()
            .filter(|(cluster, _)| *cluster != key.cluster);
        rivals.extend(others.map(|(cluster, _)| cluster.clone()));
        rivals
    }

    /// Takes what is shown now in place of what was, and returns who may have waited for what that gave up.
    pub(super) fn replace(
        &mut self,
        key: &Key,
        old: Option<&Resource>,
        new: Option<&Resource>,
    ) -> BTreeSet<Key> {
        let (mut old, mut new) = (self.wants(key, old), self.wants(key, new));
        if old == new {
            return BTreeSet::new();
        }
        if old.tunnel == new.tunnel {
            old.tunnel = None;
            new.tunnel = None;
        }
        self.hold(&key.cluster, &new);
        self.give_up(&key.cluster, &old)
    }

    pub(super) fn wait(&mut self, claim: Claim, key: Key) {
        self.waiting.entry(claim).or_default().insert(key);
    }

    pub(super) fn stop_waiting(&mut self, claim: Claim, key: &Key) {
        if let Some(waiting) = self.waiting.get_mut(&claim) {
            waiting.remove(key);
            if waiting.is_empty() {
                self.waiting.remove(&claim);
            }
        }
    }

    /// The addresses at which this cluster's services are dialled are its own; other clusters' are dialled only there.
    fn wants(&self, key: &Key, value: Option<&Resource>) -> Wants {
        let mut wants = Wants::default();
        let is_own = key.cluster == self.own;
        match (&key.id, value) {
            (ResourceId::Node(_), Some(Resource::Node(node))) => {
                let addresses = node.addresses.iter().copied().map(IpNet::from);
                wants.routed = node
                    .pod_cidrs
                    .iter()
                    .map(IpNet::trunc)
                    .chain(addresses)
                    .collect();
            }
            (ResourceId::Tunnel(node), Some(Resource::Tunnel(tunnel))) => {
                wants.routed = BTreeSet::from([IpNet::from(tunnel.probe_address)]);
                wants.tunnel = Some((tunnel.public_key, node.clone()));
            }
            (ResourceId::Endpoint(_, address), Some(Resource::Endpoint(_))) => {
                wants.served = Some(*address);
            }
            (ResourceId::Service(_), Some(Resource::Service(service))) if is_own => {
                wants.routed = service
                    .cluster_ips
                    .iter()
                    .copied()
                    .map(IpNet::from)
                    .collect();
            }
            (ResourceId::Import(_), Some(Resource::Import(import))) if is_own => {
                wants.routed = import.ips.iter().copied().map(IpNet::from).collect();
            }
            _nothing => {}
        }
        wants
    }

    fn hold(&mut self, cluster: &ClusterName, wants: &Wants) {
        for range in &wants.routed {
            let holders = self.routed.entry(*range).or_default();
            if holders.is_empty() {
                *self.lengths.entry(length_of(range)).or_default() += 1;
            }
            *holders.entry(cluster.clone()).or_default() += 1;
        }
        if let Some(address) = wants.served {
            match self.served.get_mut(cluster) {
                Some(served) => served.add(address),
                None => self.served.entry(cluster.clone()).or_default().add(address),
            }
        }
        if let Some((tunnel, node)) = &wants.tunnel {
            let holders = self.tunnels.entry(*tunnel).or_default();
            holders.insert((cluster.clone(), node.clone()));
        }
    }

    fn give_up(&mut self, cluster: &ClusterName, wants: &Wants) -> BTreeSet<Key> {
        let mut freed = Vec::new();
        for range in &wants.routed {
            if let Some(holders) = self.routed.get_mut(range)
                && decrement(holders, cluster)
            {
                freed.push(Claim::Range(*range));
                if holders.is_empty() {
                    self.routed.remove(range);
                    decrement(&mut self.lengths, &length_of(range));
                }
            }
        }
        if let Some(address) = wants.served
            && let Some(served) = self.served.get_mut(cluster)
            && served.remove(address)
        {
            freed.push(Claim::Range(address.into()));
        }
        if let Some((tunnel, node)) = &wants.tunnel
            && let Some(holders) = self.tunnels.get_mut(tunnel)
        {
            holders.remove(&(cluster.clone(), node.clone()));
            freed.push(Claim::Key(*tunnel));
            if holders.is_empty() {
                self.tunnels.remove(tunnel);
            }
        }
        let waiting = freed.iter().filter_map(|claim| self.waiting.get(claim));
        waiting.flatten().cloned().collect()
    }

    fn range_refusal(&self, range: IpNet, holder: &ClusterName) -> Refusal {
        if *holder == self.own {
            return Refusal::OwnRange(range);
        }
        Refusal::RangeHeld {
            range,
            by: holder.clone(),
        }
    }

    fn routed_overlap<'a>(
        &'a self,
        range: &IpNet,
        except: &'a ClusterName,
    ) -> Option<(IpNet, &'a ClusterName)> {
        self.routed_overlaps(range, except).next()
    }

    /// The ranges of other clusters that overlap with one: those that hold it, then those inside of it.
    fn routed_overlaps<'a>(
        &'a self,
        range: &IpNet,
        except: &'a ClusterName,
    ) -> impl Iterator<Item = (IpNet, &'a ClusterName)> {
        let range = range.trunc();
        let (is_v4, length) = length_of(&range);
        let lengths = self.lengths.range((is_v4, 0)..(is_v4, length));
        let wider = lengths.filter_map(move |((_, length), _)| {
            let wider = IpNet::new(range.network(), *length).ok()?.trunc();
            self.routed.get_key_value(&wider)
        });
        // Ranges sort by their first address, so those inside of this one come next.
        let inside = self
            .routed
            .range(range..)
            .take_while(move |(inner, _)| range.contains(*inner));
        let all = wider.chain(inside);
        all.flat_map(|(range, holders)| holders.keys().map(|holder| (*range, holder)))
            .filter(move |(_, holder)| *holder != except)
    }

    fn served_in<'a>(
        &'a self,
        range: &IpNet,
        except: &ClusterName,
    ) -> Option<(IpNet, &'a ClusterName)> {
        let others = self.served.iter().filter(|(cluster, _)| *cluster != except);
        let mut inside = others
            .filter_map(|(cluster, served)| Some((IpNet::from(served.first_in(range)?), cluster)));
        inside.next()
    }
}

fn length_of(range: &IpNet) -> (bool, u8) {
    (range.addr().is_ipv4(), range.prefix_len())
}

/// Counts one less, and returns whether none is left.
fn decrement<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) -> bool {
    let Some(count) = counts.get_mut(key) else {
        return false;
    };
    *count -= 1;
    let is_last = *count == 0;
    if is_last {
        counts.remove(key);
    }
    is_last
}

#[cfg(test)]
mod tests;
