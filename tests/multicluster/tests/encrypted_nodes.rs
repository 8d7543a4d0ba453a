//! Where the traffic between nodes of one cluster is to be encrypted, no pod's packet to another pod leaves its node in clear.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::time::Duration;

use multicluster::{
    Client, Family, Lab, Mode, Options, Target, Topology,
    capture::{Capture, in_clear_between_pods},
    wait_until,
};

const SOON: Duration = Duration::from_secs(20);

/// A key is announced for ten seconds before it is used.
const ROTATED: Duration = Duration::from_secs(40);

const WEB: &str = "10.101.0.10";

const BOTH: [&str; 2] = ["east", "west"];

multicluster::in_both_modes!(
    nothing_between_pods_is_in_clear_while_agents_end_devices_go_and_keys_change,
    pods_whose_tunnel_is_gone_are_not_reached_in_clear,
);

fn nothing_between_pods_is_in_clear_while_agents_end_devices_go_and_keys_change(mode: Mode) {
    let lab = up(&mode.lab("inside"), mode);
    let client = Client::new(&lab, "east/client");
    let all_answer = || {
        for (family, host) in [(Family::V4, WEB), (Family::V6, "fd00:101:1::10")] {
            let http = |c: &Client<'_>| c.http(host, 80, family);
            client.wait_for_clusters(&BOTH, SOON, http).unwrap();
            let udp = |c: &Client<'_>| c.udp(host, 7, family);
            client.wait_for_clusters(&BOTH, SOON, udp).unwrap();
        }
    };
    let east = lab.plan().node("east", "n2").unwrap();
    let filter = format!("udp port 51872 and host {}", node_address(&lab, "n1"));
    let tunnel = Capture::start(&lab, &east.device, &filter).unwrap();
    let captures = Capture::everywhere(&lab, &in_clear_between_pods(&lab)).unwrap();
    all_answer();
    let (interval, timeout) = (Duration::from_millis(5), Duration::from_millis(200));
    let to_frontend = client.traffic(WEB, 80, interval, timeout).unwrap();
    let near = lab.plan().pod("east/web-1").unwrap().addresses[0].to_string();
    let to_pod = client.traffic(&near, 8080, interval, timeout).unwrap();
    to_pod.wait_for_successes(20, SOON).unwrap();

    for target in ["n1", "n2"].map(|node| Target::agent("east", node)) {
        let former = key(&lab, &target);
        let order = lab.order(&target, "/v1/tunnel/rotate-key").unwrap();
        assert_eq!(order.status, 202);
        let what = format!("{target} has another key");
        wait_until(ROTATED, &what, || Ok(key(&lab, &target) != former)).unwrap();
        to_pod.wait_for_successes(20, SOON).unwrap();

        lab.kill(&target).unwrap();
        let calls = to_pod.calls().len();
        wait_until(SOON, "more calls", || Ok(to_pod.calls().len() > calls + 20)).unwrap();
        lab.start_and_wait(&target, SOON).unwrap();
        to_pod.wait_for_successes(20, SOON).unwrap();
    }
    let deleted = lab.spawn_on_node("east", "n1", ["ip", "link", "del", "isthmus0"]);
    deleted.unwrap().wait().unwrap();
    to_pod.wait_for_successes(20, SOON).unwrap();
    all_answer();

    to_frontend.stop();
    to_pod.stop();
    assert!(!tunnel.finish().unwrap().is_empty());
    for capture in captures {
        assert_eq!(capture.finish().unwrap(), Vec::<String>::new());
    }
}

/// The peer is gone: its agent, its device, and then all that the node itself has but its routes.
fn pods_whose_tunnel_is_gone_are_not_reached_in_clear(mode: Mode) {
    let lab = up(&mode.lab("insidegone"), mode);
    let client = Client::new(&lab, "east/client");
    let near = lab.plan().pod("east/web-1").unwrap().addresses[0].to_string();
    let (interval, timeout) = (Duration::from_millis(5), Duration::from_millis(100));
    let to_pod = client.traffic(&near, 8080, interval, timeout).unwrap();
    to_pod.wait_for_successes(20, SOON).unwrap();
    let captures = Capture::everywhere(&lab, &in_clear_between_pods(&lab)).unwrap();
    let agents = ["n2", "n1"].map(|node| Target::agent("east", node));
    let before = unrouted(&lab, &agents[1]);

    for (agent, node) in agents.iter().zip(["n2", "n1"]) {
        let calls_before = to_pod.calls().len();
        lab.kill(agent).unwrap();
        // The kernel's WireGuard would carry on.
        let argv = ["sh", "-c", "ip link del isthmus0 || true"];
        let deleted = lab.spawn_on_node("east", node, argv);
        deleted.unwrap().wait().unwrap();
        let calls = to_pod.calls().len();
        wait_until(SOON, "more calls", || Ok(to_pod.calls().len() > calls + 20)).unwrap();
        let all = to_pod.calls();
        assert!(all[calls + 1..].iter().all(|call| call.error.is_some()));
        // Where the way itself is gone senders are told, though of few packets in a row.
        if node == "n1" {
            let errors = all[calls_before..].iter().filter_map(|c| c.error.as_ref());
            let errors: Vec<_> = errors.collect();
            let is_told = |error: &&String| error.contains("No route to host");
            assert!(errors.iter().any(is_told), "{errors:?}");
        }
    }

    for agent in &agents {
        lab.start_and_wait(agent, SOON).unwrap();
    }
    to_pod.wait_for_successes(20, SOON).unwrap();
    to_pod.stop();
    wait_until(SOON, "what was refused is counted", || {
        Ok(unrouted(&lab, &agents[1]) > before)
    })
    .unwrap();
    for capture in captures {
        assert_eq!(capture.finish().unwrap(), Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs root"]
fn without_the_choice_pods_of_one_cluster_are_reached_as_ever() {
    let topology = Topology::demo().unwrap().named("insideoff");
    let lab = Lab::up(&topology, &Options::default()).unwrap();
    let east = lab.plan().node("east", "n1").unwrap();
    let filter = in_clear_between_pods(&lab);
    let plain = Capture::start(&lab, &east.device, &filter).unwrap();
    let client = Client::new(&lab, "east/client");
    let near = lab.plan().pod("east/web-1").unwrap().addresses[0].to_string();

    assert_eq!(
        client.http(&near, 8080, Family::V4).unwrap().cluster,
        "east"
    );

    assert!(plain.first().unwrap().contains(&near));
}

/// A lab in which both clusters encrypt between their nodes.
fn up(name: &str, mode: Mode) -> Lab {
    let mut topology = Topology::demo().unwrap().named(name);
    for cluster in &mut topology.clusters {
        cluster.agent_args = vec!["--encrypt-within-cluster".to_owned(), "nodes".to_owned()];
    }
    Lab::up(&topology, &Options::in_mode(mode)).unwrap()
}

/// How many packets without a route a node has counted.
fn unrouted(lab: &Lab, agent: &Target) -> u64 {
    const NAME: &str = "isthmus_agent_unrouted_packets_total{family=\"ipv4\"} ";
    let page = lab.admin(agent, "/metrics").unwrap().body;
    let line = page.lines().find_map(|line| line.strip_prefix(NAME));
    line.and_then(|count| count.parse().ok())
        .unwrap_or_default()
}

fn node_address(lab: &Lab, node: &str) -> String {
    lab.plan().node("east", node).unwrap().ipv4.to_string()
}

/// The public key of an agent's tunnel.
fn key(lab: &Lab, agent: &Target) -> String {
    let status = lab.status(agent).unwrap();
    status["tunnel"]["public_key"].as_str().unwrap().to_owned()
}
