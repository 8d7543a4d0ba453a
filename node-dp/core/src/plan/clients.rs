//! Which clients are in the clusters themselves: where their nodes and pods are.
//!
//! Such a client may dial a backend itself too, or by its own node's sockets, and be seen by this node all the same. What it
//! sends there is no flow, so a flow of this client must not be told from it by the client's port alone.

use std::collections::BTreeSet;

use cluster_registry::view::View;
use ipnet::IpNet;
use node_dp_common::IN_CLUSTERS;

use super::Planner;
use crate::image::MapOp;

impl Planner {
    /// Learns from the view where nodes and pods are, and returns the changes that this makes.
    pub fn follow_nodes(&mut self, view: &View) -> Vec<MapOp> {
        let wanted = match self.serves_outside {
            true => ranges(view),
            false => BTreeSet::new(),
        };
        let had: BTreeSet<IpNet> = self.image.sources_of(IN_CLUSTERS).map(|(_, r)| r).collect();
        let added = wanted.difference(&had);
        let gone = had.difference(&wanted);
        let ops: Vec<MapOp> = added
            .map(|range| MapOp::PutSource(IN_CLUSTERS, *range))
            .chain(gone.map(|range| MapOp::DeleteSource(IN_CLUSTERS, *range)))
            .collect();
        for op in &ops {
            self.image.apply(op);
        }
        ops
    }
}

/// The fewest ranges that hold just the addresses of all nodes and pods.
fn ranges(view: &View) -> BTreeSet<IpNet> {
    let nodes = view.nodes.values().filter_map(|node| node.node.as_ref());
    let ranges = nodes.flat_map(|node| {
        let own = node.addresses.iter().map(|address| IpNet::from(*address));
        own.chain(node.pod_cidrs.iter().map(IpNet::trunc))
    });
    IpNet::aggregate(&ranges.collect()).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cluster_registry::{name::NodeName, node::Node, view::MergedNode};

    use super::*;
    use crate::{image::Image, plan::tests::world};

    #[test]
    fn nodes_and_pods_of_all_clusters_are_clients_inside() {
        let mut planner = Planner::adopt(world::here(), Image::default()).serving_outside(true);
        let all = [
            ("east", "n1", "10.1.0.0/24", "172.18.1.1"),
            ("east", "n2", "10.1.1.0/24", "172.18.1.2"),
            ("west", "n1", "fd00:2::/64", "172.18.2.1"),
        ];

        let ops = planner.follow_nodes(&view(&all));
        let again = planner.follow_nodes(&view(&all));
        let less = planner.follow_nodes(&view(&all[..2]));

        let put = |range: &str| MapOp::PutSource(IN_CLUSTERS, range.parse().unwrap());
        let delete = |range: &str| MapOp::DeleteSource(IN_CLUSTERS, range.parse().unwrap());
        assert_eq!(
            ops,
            [
                put("10.1.0.0/23"),
                put("172.18.1.1/32"),
                put("172.18.1.2/32"),
                put("172.18.2.1/32"),
                put("fd00:2::/64"),
            ]
        );
        assert_eq!(again, []);
        assert_eq!(less, [delete("172.18.2.1/32"), delete("fd00:2::/64")]);
    }

    #[test]
    fn a_sweep_leaves_them_there() {
        let mut planner = Planner::adopt(world::here(), Image::default()).serving_outside(true);
        let view = view(&[("east", "n1", "10.1.0.0/24", "172.18.1.1")]);
        planner.follow_nodes(&view);

        planner.sweep(&view);

        assert_eq!(planner.follow_nodes(&view), []);
        assert_eq!(planner.image().sources.len(), 2);
    }

    #[test]
    fn a_node_that_serves_nobody_outside_needs_them_not() {
        let mut image = Image::default();
        let range = "10.1.0.0/24".parse().unwrap();
        image.sources.insert((IN_CLUSTERS, range));
        let mut planner = Planner::adopt(world::here(), image);

        let ops = planner.follow_nodes(&view(&[("east", "n1", "10.1.0.0/24", "172.18.1.1")]));

        assert_eq!(ops, [MapOp::DeleteSource(IN_CLUSTERS, range)]);
    }

    /// A view with nodes: cluster, name, the pods' range and the address of each.
    fn view(nodes: &[(&str, &str, &str, &str)]) -> View {
        let nodes = nodes.iter().map(|(cluster, name, pods, address)| {
            let node = Node {
                addresses: vec![address.parse().unwrap()],
                pod_cidrs: vec![pods.parse().unwrap()],
                ..Node::default()
            };
            let merged = MergedNode {
                node: Some(node),
                tunnel: None,
            };
            let key = (world::name(cluster), NodeName::parse(name).unwrap());
            (key, Arc::new(merged))
        });
        View {
            nodes: nodes.collect(),
            ..world::World::new().view()
        }
    }
}
