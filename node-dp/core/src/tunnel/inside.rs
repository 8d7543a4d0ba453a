//! What goes through tunnels within the own cluster: nothing, or what pods send to pods of other nodes.
//!
//! A node that asks for it says so beside its key, and the others follow, so that nodes may change one after the other. What a
//! newcomer would get wrong: a range that is guarded is not one that has a tunnel. With the mode on, the pods of a node
//! whose agent has said nothing yet are not reached at all.

use std::{collections::BTreeSet, fmt, str::FromStr};

use cluster_registry::{
    name::{ClusterName, NodeName},
    node::Tunnel,
    view::View,
};
use ipnet::IpNet;

use super::own::OwnSide;

/// What is encrypted within the own cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Inside {
    /// What other nodes ask for.
    #[default]
    Off,
    /// All that pods send to pods of other nodes.
    Nodes,
}

/// The text is no [`Inside`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is neither 'off' nor 'nodes'")]
pub struct ParseInsideError(String);

impl Inside {
    /// Its name in the configuration and the status.
    pub fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Nodes => "nodes",
        }
    }

    /// Whether a node of the own cluster with this tunnel is to be a peer.
    pub(super) fn takes(self, tunnel: &Tunnel) -> bool {
        match self {
            Self::Off => tunnel.within_cluster,
            Self::Nodes => true,
        }
    }

    /// The plan before any peer is known.
    pub(super) fn plan(
        self,
        view: &View,
        own: &OwnSide,
        (cluster, node): (&ClusterName, &NodeName),
    ) -> InsidePlan {
        let others = view
            .nodes
            .iter()
            .filter(|(key, _)| key.0 == *cluster && key.1 != *node)
            .filter(|(_, merged)| match self {
                Self::Nodes => true,
                Self::Off => merged
                    .tunnel
                    .as_ref()
                    .is_some_and(|tunnel| self.takes(tunnel)),
            });
        let guarded: BTreeSet<IpNet> = others
            .flat_map(|(_, merged)| merged.node.iter().flat_map(|node| &node.pod_cidrs))
            .map(IpNet::trunc)
            // It would cut the node's own pods off from each other.
            .filter(|prefix| !own.node_overlaps(*prefix))
            .collect();
        if guarded.is_empty() {
            return InsidePlan::default();
        }
        InsidePlan {
            sources: own.node_cidrs().clone(),
            through: BTreeSet::new(),
            guarded,
        }
    }
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl FromStr for Inside {
    type Err = ParseInsideError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "nodes" => Ok(Self::Nodes),
            _ => Err(ParseInsideError(text.to_owned())),
        }
    }
}

/// What is routed through tunnels within the own cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InsidePlan {
    /// The ranges of the node's own pods: only what comes from there is routed so, as only that may come out of a tunnel.
    pub sources: BTreeSet<IpNet>,
    /// The ranges of other nodes' pods that lead into the tunnel device.
    pub through: BTreeSet<IpNet>,
    /// The ranges of other nodes' pods that lead there or nowhere.
    pub guarded: BTreeSet<IpNet>,
}

impl InsidePlan {
    pub(super) fn add<'a>(&mut self, pods: impl Iterator<Item = &'a IpNet>) {
        self.through.extend(pods);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_read_from_its_name() {
        for inside in [Inside::Off, Inside::Nodes] {
            assert_eq!(inside.to_string().parse(), Ok(inside));
        }
        assert!("pods".parse::<Inside>().is_err());
    }
}
