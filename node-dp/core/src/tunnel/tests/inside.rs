//! Tests of what is planned within the own cluster.

use super::*;

#[test]
fn every_other_node_of_the_cluster_becomes_a_peer_where_nodes_are_encrypted() {
    let plan = nodes().plan(&view(&[
        east(),
        own("e2", 2, &["10.1.1.0/24", "fd00:1:1::/64"]),
    ]));

    let peer = &plan.peers[&key(2)];
    assert_eq!(peer.endpoint, "192.0.2.2:51872".parse().unwrap());
    let pods = nets(&["10.1.1.0/24", "fd00:1:1::/64"]);
    assert!(peer.allowed_ips.is_superset(&pods));
    assert_eq!(plan.inside.through, pods);
    assert_eq!(plan.inside.guarded, pods);
    assert_eq!(plan.inside.sources, nets(&["10.1.0.0/24", "fd00:1::/64"]));
    // No verdict depends on the paths within a cluster, and what leads to other clusters is of another table.
    assert!(plan.targets.is_empty() && plan.routes.is_empty());
    assert_eq!(plan.refused, []);
}

#[test]
fn a_node_that_has_said_nothing_is_guarded_and_has_no_way() {
    let mut silent = own("e2", 2, &["10.1.1.0/24"]);
    silent.tunnel = None;

    let plan = nodes().plan(&view(&[east(), silent]));

    assert!(plan.peers.is_empty() && plan.inside.through.is_empty());
    assert_eq!(plan.inside.guarded, nets(&["10.1.1.0/24"]));
}

#[test]
fn where_it_is_off_those_that_ask_are_followed_and_no_others() {
    let asks = own("e2", 2, &["10.1.1.0/24"]).asking();
    let does_not = own("e3", 3, &["10.1.2.0/24"]);

    let plan = tunnels().plan(&view(&[east(), asks, does_not]));

    assert_eq!(plan.peers.keys().collect::<Vec<_>>(), [&key(2)]);
    assert_eq!(plan.inside.through, nets(&["10.1.1.0/24"]));
    assert_eq!(plan.inside.guarded, nets(&["10.1.1.0/24"]));
}

#[test]
fn a_node_of_another_cluster_that_asks_changes_nothing() {
    let asks = west("w1", 1, &["10.2.0.0/24"]).asking();
    let does_not = west("w1", 1, &["10.2.0.0/24"]);

    let asked = tunnels().plan(&view(&[east(), asks]));

    assert_eq!(asked, tunnels().plan(&view(&[east(), does_not])));
    assert_eq!(asked.inside, InsidePlan::default());
}

#[test]
fn a_node_of_the_cluster_does_not_get_the_nodes_own_pods() {
    let thief = own("e2", 2, &["10.1.0.128/25", "10.1.1.0/24"]);

    let plan = nodes().plan(&view(&[east(), thief]));

    assert_eq!(plan.refused[0].label(), "own-prefix");
    assert_eq!(plan.inside.through, nets(&["10.1.1.0/24"]));
    // Guarded, they would be cut off from each other.
    assert_eq!(plan.inside.guarded, nets(&["10.1.1.0/24"]));
}

#[test]
fn of_two_nodes_of_the_cluster_with_one_prefix_the_first_has_it() {
    let mut tunnels = nodes();
    let first = own("e3", 3, &["10.1.1.0/24"]);
    let thief = own("e2", 2, &["10.1.1.0/25"]);
    tunnels.plan(&view(&[east(), first.clone()]));

    let plan = tunnels.plan(&view(&[east(), thief, first]));

    assert_eq!(plan.refused[0].label(), "held-prefix");
    assert_eq!(plan.inside.through, nets(&["10.1.1.0/24"]));
    assert!(plan.inside.guarded.is_superset(&plan.inside.through));
}

#[test]
fn a_prefix_that_the_own_cluster_comes_to_use_is_taken_from_another_cluster() {
    let mut tunnels = nodes();
    let remote = west("w1", 1, &["10.1.1.0/24"]);
    let before = tunnels.plan(&view(&[east(), remote.clone()]));
    assert!(before.routes.contains(&net("10.1.1.0/24")));

    let plan = tunnels.plan(&view(&[east(), own("e2", 2, &["10.1.1.0/24"]), remote]));

    assert!(
        plan.peers[&key(2)]
            .allowed_ips
            .contains(&net("10.1.1.0/24"))
    );
    assert!(
        !plan.peers[&key(1)]
            .allowed_ips
            .contains(&net("10.1.1.0/24"))
    );
    assert!(!plan.routes.contains(&net("10.1.1.0/24")));
}

#[test]
fn a_key_that_the_own_cluster_comes_to_use_is_taken_from_another_cluster() {
    let mut tunnels = nodes();
    tunnels.plan(&view(&[east(), west("w1", 2, &["10.2.0.0/24"])]));

    let plan = tunnels.plan(&view(&[
        east(),
        own("e2", 2, &["10.1.1.0/24"]),
        west("w1", 2, &["10.2.0.0/24"]),
    ]));

    assert_eq!(plan.peers[&key(2)].node.as_str(), "e2");
    assert!(plan.routes.is_empty());
}

#[test]
fn this_nodes_key_is_no_other_nodes_of_the_cluster() {
    let plan = nodes().plan(&view(&[east(), own("e2", OWN, &["10.1.1.0/24"])]));

    assert!(plan.peers.is_empty());
    assert_eq!(plan.refused[0].label(), "held-key");
    assert_eq!(plan.inside.guarded, nets(&["10.1.1.0/24"]));
}

#[test]
fn a_next_key_of_a_node_of_the_cluster_is_let_in() {
    let plan = nodes().plan(&view(&[
        east(),
        own("e2", 2, &["10.1.1.0/24"]).with_next(3),
    ]));

    assert_eq!(plan.peers[&key(2)].next_public_key, Some(key(3)));
    assert_eq!(plan.inside.through, nets(&["10.1.1.0/24"]));
}

fn nodes() -> Tunnels {
    tunnels().encrypting(Inside::Nodes)
}

/// Another node of the own cluster.
fn own(name: &'static str, number: u8, cidrs: &[&str]) -> TestNode {
    TestNode {
        cluster: "east",
        ..west(name, number, cidrs)
    }
}

fn nets(texts: &[&str]) -> BTreeSet<IpNet> {
    texts.iter().map(|text| net(text)).collect()
}
