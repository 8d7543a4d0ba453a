//! Tests of the tunnel plan: peers, routes and who is refused.

use std::sync::Arc;

use cluster_registry::node::Node;

use super::*;

mod inside;

#[test]
fn a_node_of_another_cluster_becomes_a_peer_with_its_prefixes_and_probe_address() {
    let view = view(&[east(), west("w1", 1, &["10.2.0.0/24", "fd00:2::/64"])]);

    let plan = tunnels().plan(&view);

    let peer = &plan.peers[&key(1)];
    let probe = IpNet::V6(probe_address(&key(1)).into());
    assert_eq!(peer.endpoint, "192.0.2.1:51872".parse().unwrap());
    assert_eq!(
        peer.allowed_ips,
        BTreeSet::from([net("10.2.0.0/24"), net("fd00:2::/64"), probe])
    );
    assert_eq!(plan.routes, peer.allowed_ips);
    assert_eq!(plan.targets.len(), 1);
    assert_eq!(plan.refused, []);
}

#[test]
fn nodes_of_the_own_cluster_and_nodes_without_a_tunnel_are_no_peers() {
    let mut silent = west("w1", 1, &["10.2.0.0/24"]);
    silent.tunnel = None;
    let mut other = west("e2", 2, &["10.1.1.0/24"]);
    other.cluster = "east";

    let plan = tunnels().plan(&view(&[east(), silent, other]));

    assert_eq!(plan, TunnelPlan::default());
}

#[test]
fn a_prefix_that_overlaps_with_own_pods_is_refused_and_the_rest_counts() {
    let view = view(&[
        east(),
        west("w1", 1, &["10.1.0.0/25", "10.0.0.0/8", "10.2.0.0/24"]),
    ]);

    let plan = tunnels().plan(&view);

    let labels: Vec<_> = plan.refused.iter().map(Refusal::label).collect();
    assert_eq!(labels, ["own-prefix", "own-prefix"]);
    assert!(plan.routes.contains(&net("10.2.0.0/24")));
    assert_eq!(plan.routes.len(), 2);
}

#[test]
fn the_first_holder_keeps_a_prefix_until_it_lets_go() {
    let mut tunnels = tunnels();
    let first = west("w2", 2, &["10.2.0.0/24"]);
    let thief = west("a1", 1, &["10.2.0.0/16"]);
    tunnels.plan(&view(&[east(), first.clone()]));

    let contested = tunnels.plan(&view(&[east(), thief.clone(), first]));
    let released = tunnels.plan(&view(&[east(), thief]));

    assert!(
        contested.peers[&key(2)]
            .allowed_ips
            .contains(&net("10.2.0.0/24"))
    );
    assert_eq!(contested.peers[&key(1)].allowed_ips.len(), 1);
    assert_eq!(contested.refused[0].label(), "held-prefix");
    assert!(
        released.peers[&key(1)]
            .allowed_ips
            .contains(&net("10.2.0.0/16"))
    );
}

#[test]
fn a_key_that_another_node_holds_makes_no_second_peer() {
    let mut tunnels = tunnels();
    let first = west("w2", 2, &["10.2.0.0/24"]);
    tunnels.plan(&view(&[east(), first.clone()]));
    let thief = west("a1", 2, &["10.3.0.0/24"]);
    let mirror = west("a2", OWN, &["10.4.0.0/24"]);

    let plan = tunnels.plan(&view(&[east(), first, thief, mirror]));

    assert_eq!(plan.peers.len(), 1);
    assert_eq!(plan.peers[&key(2)].node.as_str(), "w2");
    assert!(plan.refused.iter().all(|r| r.label() == "held-key"));
    assert_eq!(plan.refused.len(), 2);
}

#[test]
fn a_probe_address_that_is_not_the_keys_is_refused() {
    let mut liar = west("w1", 1, &["10.2.0.0/24"]);
    liar.tunnel.as_mut().unwrap().probe_address = "fd00::1".parse().unwrap();

    let plan = tunnels().plan(&view(&[east(), liar]));

    assert!(plan.peers.is_empty());
    assert_eq!(plan.refused[0].label(), "foreign-probe-address");
}

#[test]
fn a_node_without_an_address_of_an_own_family_is_refused() {
    let mut far = west("w1", 1, &["10.2.0.0/24"]);
    far.node.addresses = vec!["2001:db8::1".parse().unwrap()];

    let plan = tunnels().plan(&view(&[east(), far]));

    assert_eq!(plan.refused[0].label(), "no-common-family");
}

#[test]
fn a_node_with_several_addresses_is_reached_at_the_first_of_an_own_family() {
    let mut many = west("w1", 1, &["10.2.0.0/24"]);
    let addresses = ["2001:db8::1", "192.0.2.7", "192.0.2.8"];
    many.node.addresses = addresses.map(|a| a.parse().unwrap()).to_vec();
    let mut dual = east();
    dual.node.addresses.push("2001:db8::200".parse().unwrap());

    let from_v4 = tunnels().plan(&view(&[east(), many.clone()]));
    let from_both = tunnels().plan(&view(&[dual, many]));

    let endpoint = |plan: &TunnelPlan| plan.peers[&key(1)].endpoint.to_string();
    assert_eq!(endpoint(&from_v4), "192.0.2.7:51872");
    assert_eq!(endpoint(&from_both), "[2001:db8::1]:51872");
}

#[test]
fn a_next_key_comes_with_a_route_to_its_probe_address() {
    let view = view(&[east(), west("w1", 1, &["10.2.0.0/24"]).with_next(2)]);

    let plan = tunnels().plan(&view);

    let next = probe_prefix(&key(2));
    assert_eq!(plan.peers[&key(1)].next_public_key, Some(key(2)));
    assert!(plan.routes.contains(&next) && !plan.peers[&key(1)].allowed_ips.contains(&next));
    assert_eq!(plan.refused, []);
}

#[test]
fn a_node_that_uses_its_next_key_keeps_its_prefixes() {
    let mut tunnels = tunnels();
    let before = west("w1", 1, &["10.2.0.0/24"]).with_next(2);
    let after = west("w1", 2, &["10.2.0.0/24"]);
    tunnels.plan(&view(&[east(), before]));

    let plan = tunnels.plan(&view(&[east(), after]));

    assert!(
        plan.peers[&key(2)]
            .allowed_ips
            .contains(&net("10.2.0.0/24"))
    );
    assert_eq!(plan.peers.len(), 1);
    assert_eq!(plan.refused, []);
}

#[test]
fn a_next_key_that_another_node_holds_is_refused_and_the_rest_counts() {
    let mut tunnels = tunnels();
    let first = west("w2", 2, &["10.2.0.0/24"]);
    tunnels.plan(&view(&[east(), first.clone()]));
    let thief = west("a1", 1, &["10.3.0.0/24"]).with_next(2);
    let mirror = west("a2", 3, &["10.4.0.0/24"]).with_next(OWN);

    let plan = tunnels.plan(&view(&[east(), first, thief, mirror]));

    assert_eq!(plan.peers.len(), 3);
    assert!(
        plan.peers
            .values()
            .all(|peer| peer.next_public_key.is_none())
    );
    assert!(plan.refused.iter().all(|r| r.label() == "held-key"));
    assert_eq!(plan.refused.len(), 2);
}

/// The number of the own key.
const OWN: u8 = 200;

#[derive(Clone)]
struct TestNode {
    cluster: &'static str,
    name: &'static str,
    node: Node,
    tunnel: Option<Tunnel>,
}

impl TestNode {
    /// The same, which asks the own cluster's nodes for tunnels.
    fn asking(mut self) -> Self {
        self.tunnel.as_mut().unwrap().within_cluster = true;
        self
    }

    /// The same, with the key of a number announced as its next.
    fn with_next(mut self, number: u8) -> Self {
        self.tunnel.as_mut().unwrap().next_public_key = Some(key(number));
        self
    }
}

fn east() -> TestNode {
    TestNode {
        cluster: "east",
        name: "e1",
        node: node("192.0.2.200", &["10.1.0.0/24", "fd00:1::/64"]),
        tunnel: Some(tunnel(OWN)),
    }
}

fn west(name: &'static str, number: u8, cidrs: &[&str]) -> TestNode {
    TestNode {
        cluster: "west",
        name,
        node: node(&format!("192.0.2.{number}"), cidrs),
        tunnel: Some(tunnel(number)),
    }
}

fn node(address: &str, cidrs: &[&str]) -> Node {
    Node {
        addresses: vec![address.parse().unwrap()],
        pod_cidrs: cidrs.iter().map(|cidr| net(cidr)).collect(),
        zone: None,
    }
}

fn tunnel(number: u8) -> Tunnel {
    Tunnel {
        public_key: key(number),
        port: 51872,
        probe_port: 4701,
        probe_address: probe_address(&key(number)).into(),
        next_public_key: None,
        within_cluster: false,
    }
}

fn key(number: u8) -> PublicKey {
    PublicKey([number; 32])
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn tunnels() -> Tunnels {
    let cluster = ClusterName::parse("east").unwrap();
    Tunnels::new(cluster, NodeName::parse("e1").unwrap(), key(OWN))
}

fn view(nodes: &[TestNode]) -> View {
    let nodes = nodes.iter().map(|node| {
        let cluster = ClusterName::parse(node.cluster).unwrap();
        let name = NodeName::parse(node.name).unwrap();
        let merged = MergedNode {
            node: Some(node.node.clone()),
            tunnel: node.tunnel.clone(),
        };
        ((cluster, name), Arc::new(merged))
    });
    View {
        nodes: nodes.collect(),
        ..View::new(ClusterName::parse("east").unwrap())
    }
}
