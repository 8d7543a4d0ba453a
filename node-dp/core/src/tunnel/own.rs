//! What this side of the tunnels has: its underlay families, and the prefixes and keys of its cluster and of the node itself.

use std::{collections::BTreeSet, net::IpAddr};

use cluster_registry::{
    name::{ClusterName, NodeName},
    node::PublicKey,
    view::View,
};
use ipnet::IpNet;

use crate::prefix::PrefixHolders;

/// The own side, as a view shows it.
#[derive(Debug)]
pub(super) struct OwnSide {
    has_v4: bool,
    has_v6: bool,
    /// Those of the whole cluster.
    prefixes: PrefixHolders,
    keys: BTreeSet<PublicKey>,
    /// Those of this node.
    node_prefixes: PrefixHolders,
    node_keys: BTreeSet<PublicKey>,
    node_cidrs: BTreeSet<IpNet>,
}

impl OwnSide {
    pub(super) fn of(view: &View, cluster: &ClusterName, node: &NodeName) -> Self {
        let own = view.nodes.get(&(cluster.clone(), node.clone()));
        let described = own.and_then(|node| node.node.as_ref());
        let addresses = described.map(|node| node.addresses.as_slice());
        let addresses = addresses.unwrap_or_default();
        // A node whose own addresses are not known yet tries either family.
        let is_unknown = addresses.is_empty();
        let mut side = Self {
            has_v4: is_unknown || addresses.iter().any(IpAddr::is_ipv4),
            has_v6: is_unknown || addresses.iter().any(IpAddr::is_ipv6),
            prefixes: PrefixHolders::default(),
            keys: BTreeSet::new(),
            node_prefixes: PrefixHolders::default(),
            node_keys: BTreeSet::new(),
            node_cidrs: BTreeSet::new(),
        };
        for (key, merged) in view.nodes.iter().filter(|(key, _)| key.0 == *cluster) {
            let cidrs = merged.node.iter().flat_map(|node| &node.pod_cidrs);
            let cidrs: BTreeSet<IpNet> = cidrs.map(IpNet::trunc).collect();
            let tunnel = merged.tunnel.as_ref();
            let keys = tunnel.map(|tunnel| [Some(tunnel.public_key), tunnel.next_public_key]);
            let keys: BTreeSet<PublicKey> = keys.into_iter().flatten().flatten().collect();
            let mut prefixes = cidrs.clone();
            if let Some(IpAddr::V6(address)) = tunnel.map(|tunnel| tunnel.probe_address) {
                prefixes.insert(IpNet::V6(address.into()));
            }
            let is_this = key.1 == *node;
            for prefix in prefixes {
                // Two own nodes that overlap are their cluster's own matter: either guards the prefix.
                side.prefixes.claim(prefix, key).unwrap_or_default();
                if is_this {
                    // The node alone claims these.
                    side.node_prefixes.claim(prefix, key).unwrap_or_default();
                }
            }
            if is_this {
                side.node_cidrs = cidrs;
                side.node_keys.clone_from(&keys);
            }
            side.keys.extend(keys);
        }
        side
    }

    /// The first of a node's addresses that is of a family that this node has too.
    pub(super) fn reachable(&self, addresses: &[IpAddr]) -> Option<IpAddr> {
        let mut common = addresses.iter().filter(|address| match address {
            IpAddr::V4(_) => self.has_v4,
            IpAddr::V6(_) => self.has_v6,
        });
        common.next().copied()
    }

    /// Whether a prefix overlaps with one of the cluster.
    pub(super) fn overlaps(&self, prefix: IpNet) -> bool {
        self.prefixes.overlapping(prefix).is_some()
    }

    /// Whether a prefix overlaps with one of this node.
    pub(super) fn node_overlaps(&self, prefix: IpNet) -> bool {
        self.node_prefixes.overlapping(prefix).is_some()
    }

    /// Whether a key is one of the cluster.
    pub(super) fn has_key(&self, key: &PublicKey) -> bool {
        self.keys.contains(key)
    }

    /// Whether a key is one of this node.
    pub(super) fn is_nodes_key(&self, key: &PublicKey) -> bool {
        self.node_keys.contains(key)
    }

    /// The ranges of this node's own pods.
    pub(super) fn node_cidrs(&self) -> &BTreeSet<IpNet> {
        &self.node_cidrs
    }
}
