//! Which tunnels, routes and probe targets the nodes of other clusters ask for, and, by choice, the other nodes of its own.
//!
//! A prefix belongs to the node that announced it first, as long as that node holds on to it: a later node that claims the
//! same or an overlapping one is refused, whoever it is. What is refused never becomes an allowed IP nor a route.

pub mod inside;
pub mod mtu;
pub mod offload;
mod own;
pub mod pacing;
pub mod rotation;
pub mod succession;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use cluster_registry::{
    name::{ClusterName, NodeName},
    node::{PublicKey, Tunnel},
    view::{MergedNode, View},
};
use inside::{Inside, InsidePlan};
use ipnet::{IpNet, Ipv6Net};
use own::OwnSide;

use crate::{prefix::PrefixHolders, probe_address::probe_address};

/// A node in the clusterset.
pub type NodeKey = (ClusterName, NodeName);

/// Another node that there shall be a tunnel to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPeer {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its name.
    pub node: NodeName,
    /// The key it decrypts with.
    pub public_key: PublicKey,
    /// The key that it will take instead, if it has said so.
    pub next_public_key: Option<PublicKey>,
    /// Where its tunnel listens.
    pub endpoint: SocketAddr,
    /// The inner addresses that it may send from and is sent to: its pods' ranges and its probe address.
    pub allowed_ips: BTreeSet<IpNet>,
}

/// Why a node, or one of its prefixes, has no place in the tunnels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The prefix overlaps with pods of this node's own cluster, or, of a node of that cluster, with this node's own.
    #[error("{cluster}/{node} claims {prefix}, which overlaps with this cluster's pods")]
    OwnPrefix {
        /// The claiming node's cluster.
        cluster: ClusterName,
        /// The claiming node.
        node: NodeName,
        /// The prefix.
        prefix: IpNet,
    },
    /// Another node announced the prefix, or one that overlaps with it, first.
    #[error("{cluster}/{node} claims {prefix}, which {}/{} holds", holder.0, holder.1)]
    HeldPrefix {
        /// The claiming node's cluster.
        cluster: ClusterName,
        /// The claiming node.
        node: NodeName,
        /// The prefix.
        prefix: IpNet,
        /// Who holds it.
        holder: NodeKey,
    },
    /// Another node, or this one, announced the key first.
    #[error("{cluster}/{node} announces a public key that another node holds")]
    HeldKey {
        /// The announcing node's cluster.
        cluster: ClusterName,
        /// The announcing node.
        node: NodeName,
    },
    /// The probe address is not the one that the public key makes.
    #[error("{cluster}/{node} announces a probe address that is not its key's")]
    ForeignProbeAddress {
        /// The announcing node's cluster.
        cluster: ClusterName,
        /// The announcing node.
        node: NodeName,
    },
    /// No address of the node has a family that this node has too.
    #[error("{cluster}/{node} has no address that this node can reach")]
    NoCommonFamily {
        /// The node's cluster.
        cluster: ClusterName,
        /// The node.
        node: NodeName,
    },
}

impl Refusal {
    /// The name in status and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::OwnPrefix { .. } => "own-prefix",
            Self::HeldPrefix { .. } => "held-prefix",
            Self::HeldKey { .. } => "held-key",
            Self::ForeignProbeAddress { .. } => "foreign-probe-address",
            Self::NoCommonFamily { .. } => "no-common-family",
        }
    }
}

/// Everything that the tunnels need.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TunnelPlan {
    /// The peers by their keys.
    pub peers: BTreeMap<PublicKey, WantedPeer>,
    /// The prefixes of other clusters that lead into the tunnel device.
    pub routes: BTreeSet<IpNet>,
    /// What leads there within the own cluster.
    pub inside: InsidePlan,
    /// Where each node that can be probed answers.
    pub targets: BTreeMap<NodeKey, SocketAddr>,
    /// What was refused.
    pub refused: Vec<Refusal>,
}

/// The memory behind the plan: who holds which prefix and which key.
#[derive(Debug)]
pub struct Tunnels {
    cluster: ClusterName,
    node: NodeName,
    own_key: PublicKey,
    inside: Inside,
    prefixes: PrefixHolders,
    keys: BTreeMap<PublicKey, NodeKey>,
}

impl Tunnels {
    /// Without any holder yet, for the node with the given name and key.
    pub fn new(cluster: ClusterName, node: NodeName, own_key: PublicKey) -> Self {
        Self {
            cluster,
            node,
            own_key,
            inside: Inside::Off,
            prefixes: PrefixHolders::default(),
            keys: BTreeMap::new(),
        }
    }

    /// Whether the pods of the own cluster's other nodes are reached through tunnels too.
    #[must_use]
    pub fn encrypting(mut self, inside: Inside) -> Self {
        self.inside = inside;
        self
    }

    /// The plan that a view asks for.
    ///
    /// Holders that the view no longer names lose what they held before anybody else is asked.
    pub fn plan(&mut self, view: &View) -> TunnelPlan {
        let own = OwnSide::of(view, &self.cluster, &self.node);
        self.release(view, &own);

        let mut plan = TunnelPlan {
            inside: self.inside.plan(view, &own, (&self.cluster, &self.node)),
            ..TunnelPlan::default()
        };
        for (key, node) in &view.nodes {
            let Some(tunnel) = &node.tunnel else {
                continue;
            };
            let is_own = key.0 == self.cluster;
            if is_own && (key.1 == self.node || !self.inside.takes(tunnel)) {
                continue;
            }
            match self.peer(key, node, tunnel, &own, &mut plan.refused) {
                Ok(peer) if is_own => plan.add_inside(peer),
                Ok(peer) => plan.add(key, peer, tunnel),
                Err(refusal) => plan.refused.push(refusal),
            }
        }
        plan
    }

    fn release(&mut self, view: &View, own: &OwnSide) {
        let tunnel_of = |key: &NodeKey| view.nodes.get(key).and_then(|node| node.tunnel.as_ref());
        let is_foreign = |key: &NodeKey| key.0 != self.cluster;
        self.keys.retain(|public_key, key| {
            // What one of the own cluster's nodes has come to use is no other cluster's.
            if is_foreign(key) && own.has_key(public_key) {
                return false;
            }
            tunnel_of(key).is_some_and(|tunnel| {
                tunnel.public_key == *public_key || tunnel.next_public_key == Some(*public_key)
            })
        });
        self.prefixes.retain(|prefix, key| {
            if is_foreign(key) && own.overlaps(*prefix) {
                return false;
            }
            let Some(tunnel) = tunnel_of(key) else {
                return false;
            };
            let node = view.nodes.get(key).and_then(|node| node.node.as_ref());
            let mut cidrs = node.iter().flat_map(|node| &node.pod_cidrs);
            let mut probes = [Some(tunnel.public_key), tunnel.next_public_key]
                .into_iter()
                .flatten()
                .map(|key| probe_prefix(&key));
            probes.any(|probe| probe == *prefix) || cidrs.any(|cidr| cidr.trunc() == *prefix)
        });
    }

    fn peer(
        &mut self,
        key: &NodeKey,
        node: &MergedNode,
        tunnel: &Tunnel,
        own: &OwnSide,
        refused: &mut Vec<Refusal>,
    ) -> Result<WantedPeer, Refusal> {
        let (cluster, name) = key.clone();
        let addresses = node.node.as_ref().map(|n| n.addresses.as_slice());
        let Some(address) = own.reachable(addresses.unwrap_or_default()) else {
            let node = name;
            return Err(Refusal::NoCommonFamily { cluster, node });
        };
        let probe = probe_prefix(&tunnel.public_key);
        if tunnel.probe_address != probe.addr() {
            let node = name;
            return Err(Refusal::ForeignProbeAddress { cluster, node });
        }
        if !self.holds_key(key, tunnel.public_key, own) {
            let node = name;
            return Err(Refusal::HeldKey { cluster, node });
        }

        self.claim(key, probe, own)?;
        let mut allowed_ips = BTreeSet::from([probe]);
        let cidrs = node.node.iter().flat_map(|node| &node.pod_cidrs);
        for prefix in cidrs.map(IpNet::trunc) {
            match self.claim(key, prefix, own) {
                Ok(()) => {
                    allowed_ips.insert(prefix);
                }
                Err(refusal) => refused.push(refusal),
            }
        }
        Ok(WantedPeer {
            cluster,
            node: name,
            public_key: tunnel.public_key,
            next_public_key: self.next_key(key, tunnel, own, refused),
            endpoint: SocketAddr::new(address, tunnel.port),
            allowed_ips,
        })
    }

    /// The key that a node will take, if nobody holds it nor the probe address that comes with it.
    fn next_key(
        &mut self,
        key: &NodeKey,
        tunnel: &Tunnel,
        own: &OwnSide,
        refused: &mut Vec<Refusal>,
    ) -> Option<PublicKey> {
        let next = tunnel.next_public_key?;
        if !self.holds_key(key, next, own) {
            let (cluster, node) = key.clone();
            refused.push(Refusal::HeldKey { cluster, node });
            return None;
        }
        match self.claim(key, probe_prefix(&next), own) {
            Ok(()) => Some(next),
            Err(refusal) => {
                refused.push(refusal);
                None
            }
        }
    }

    /// Whether a node holds a key, which it does if nobody did before.
    fn holds_key(&mut self, key: &NodeKey, public_key: PublicKey, own: &OwnSide) -> bool {
        let is_taken = if key.0 == self.cluster {
            own.is_nodes_key(&public_key)
        } else {
            own.has_key(&public_key)
        };
        if public_key == self.own_key || is_taken {
            return false;
        }
        let holder = self.keys.entry(public_key);
        holder.or_insert_with(|| key.clone()) == key
    }

    fn claim(&mut self, key: &NodeKey, prefix: IpNet, own: &OwnSide) -> Result<(), Refusal> {
        let (cluster, node) = key.clone();
        let is_own = if key.0 == self.cluster {
            own.node_overlaps(prefix)
        } else {
            own.overlaps(prefix)
        };
        if is_own {
            return Err(Refusal::OwnPrefix {
                cluster,
                node,
                prefix,
            });
        }
        self.prefixes
            .claim(prefix, key)
            .map_err(|holder| Refusal::HeldPrefix {
                cluster,
                node,
                prefix,
                holder,
            })
    }
}

impl TunnelPlan {
    fn add(&mut self, key: &NodeKey, peer: WantedPeer, tunnel: &Tunnel) {
        self.routes.extend(&peer.allowed_ips);
        self.routes
            .extend(peer.next_public_key.as_ref().map(probe_prefix));
        let target = SocketAddr::new(tunnel.probe_address, tunnel.probe_port);
        self.targets.insert(key.clone(), target);
        self.peers.insert(peer.public_key, peer);
    }

    /// Paths within the cluster are not probed: no verdict depends on them.
    fn add_inside(&mut self, peer: WantedPeer) {
        let probe = probe_prefix(&peer.public_key);
        let pods = peer.allowed_ips.iter().filter(|prefix| **prefix != probe);
        self.inside.add(pods);
        self.peers.insert(peer.public_key, peer);
    }
}

fn probe_prefix(public_key: &PublicKey) -> IpNet {
    IpNet::V6(Ipv6Net::from(probe_address(public_key)))
}

#[cfg(test)]
mod tests;
