//! What leads through tunnels within the own cluster, where the network plugin has routes to the same pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr, UdpSocket},
};

use ipnet::IpNet;
use node_dp_core::tunnel::inside::InsidePlan;

use super::{
    net::{Node, Pair},
    wire::Capture,
};
use crate::tunnel::{RouteChanges, guard};

#[test]
#[ignore = "needs root"]
fn what_pods_send_takes_the_tunnel_before_the_plugins_routes() {
    let pair = up("inside");
    let capture = Capture::start(&pair.b);

    encrypt(&pair.a, &pair.b);
    encrypt(&pair.b, &pair.a);

    for address in pair.b.pods {
        pair.a.ping(address);
        let answer = pair.a.ask_udp(&pair.b, address);
        assert_eq!(answer, Some(b"datagram".to_vec()));
    }
    let seen = capture.finish();
    assert!(seen.wireguard_bytes > 0 && seen.others == 0, "{seen:?}");
}

#[test]
#[ignore = "needs root"]
fn what_the_node_itself_sends_goes_as_it_did() {
    let pair = up("host");
    encrypt(&pair.a, &pair.b);
    let capture = Capture::start(&pair.b);
    let (from, to) = (pair.a.underlay, pair.b.pods[0]);

    let socket = pair.a.inside(move || UdpSocket::bind((from, 0)).unwrap());
    socket.send_to(b"clear", SocketAddr::new(to, 9)).unwrap();

    assert!(capture.finish().others > 0);
}

#[test]
#[ignore = "needs root"]
fn what_pods_send_is_refused_while_the_device_is_away_or_no_tunnel_leads_there() {
    let mut pair = up("insideaway");
    let silent = InsidePlan {
        through: BTreeSet::new(),
        ..inside(&pair.a, &pair.b)
    };
    pair.a.set_all_routes(BTreeSet::new(), silent);
    let capture = Capture::start(&pair.b);
    refuses(&pair.a, &pair.b);

    encrypt(&pair.a, &pair.b);
    pair.a.close_tunnel();
    refuses(&pair.a, &pair.b);

    assert_eq!(capture.finish().others, 0);
}

#[test]
#[ignore = "needs root"]
fn a_guard_refuses_before_there_is_a_device_and_the_tunnel_takes_over_from_it() {
    let mut pair = up("guard");
    pair.a.close_tunnel();
    let remote = BTreeSet::from(["10.9.0.0/16".parse().unwrap()]);
    let plan = inside(&pair.a, &pair.b);
    pair.a.guard(remote.clone(), plan.clone());
    let capture = Capture::start(&pair.b);
    refuses(&pair.a, &pair.b);
    let other: IpAddr = "10.9.0.1".parse().unwrap();
    assert_eq!(refusal(&pair.a, other), Some(libc::EHOSTUNREACH));
    assert_eq!(capture.finish().others, 0);

    // A second one changes nothing, and what is wanted later takes the guard's place.
    pair.a.guard(remote, plan);
    pair.a.open_tunnel();
    encrypt(&pair.a, &pair.b);
    encrypt(&pair.b, &pair.a);
    for address in pair.b.pods {
        pair.a.ping(address);
    }
    assert_eq!(refusal(&pair.a, other), None);
}

#[test]
#[ignore = "needs root"]
fn rules_are_kept_as_they_are_wanted_and_swept_in_the_end() {
    let mut pair = up("rules");
    let rules = |node: &Node| {
        let shown = node.ip(&["-4", "rule", "show"]) + &node.ip(&["-6", "rule", "show"]);
        shown
            .lines()
            .filter(|line| line.contains("lookup 73"))
            .count()
    };
    let routes = |node: &Node| node.ip(&["route", "show", "table", "73"]);
    encrypt(&pair.a, &pair.b);
    assert_eq!(rules(&pair.a), 2);
    let again = pair
        .a
        .set_all_routes(BTreeSet::new(), inside(&pair.a, &pair.b));
    assert_eq!(again, RouteChanges::default());

    pair.a.set_routes(BTreeSet::new());
    assert_eq!((rules(&pair.a), routes(&pair.a).as_str()), (0, ""));

    encrypt(&pair.a, &pair.b);
    pair.a.close_tunnel();
    pair.a.uninstall();
    assert_eq!((rules(&pair.a), routes(&pair.a).as_str()), (0, ""));
}

/// A pair in one cluster: each has the plugin's route to the other's pods.
fn up(name: &str) -> Pair {
    let pair = Pair::up(name);
    for (node, other) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        for pod in other.pods {
            node.ip(&[
                "route",
                "add",
                &IpNet::from(pod).to_string(),
                "dev",
                "under0",
            ]);
        }
    }
    pair
}

/// Makes a node reach the other's pods through the tunnel.
fn encrypt(node: &Node, other: &Node) {
    let peer = other.as_peer();
    node.configure(BTreeMap::from([(peer.public_key, peer)]), BTreeSet::new());
    node.set_all_routes(BTreeSet::new(), inside(node, other));
}

fn inside(node: &Node, other: &Node) -> InsidePlan {
    let ranges = |node: &Node| node.pods.into_iter().map(IpNet::from).collect();
    InsidePlan {
        sources: ranges(node),
        through: ranges(other),
        guarded: ranges(other),
    }
}

fn refuses(node: &Node, other: &Node) {
    for address in other.pods {
        assert_eq!(
            refusal(node, address),
            Some(libc::EHOSTUNREACH),
            "{address}"
        );
    }
}

/// With which error what a pod sends is refused.
fn refusal(node: &Node, to: IpAddr) -> Option<i32> {
    node.send_udp(to)
        .err()
        .and_then(|error| error.raw_os_error())
}

impl Node {
    fn guard(&self, between: BTreeSet<IpNet>, inside: InsidePlan) {
        self.perform(move |runtime, _| runtime.block_on(guard(&between, &inside)).unwrap());
    }
}
