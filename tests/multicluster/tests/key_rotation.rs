//! A node takes another tunnel key while its pods are talked to, and no call fails.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::time::Duration;

use multicluster::{Client, Family, Lab, Mode, Options, Target, Topology, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// A key is announced for ten seconds before it is used.
const ROTATED: Duration = Duration::from_secs(40);

const WEB: &str = "10.101.0.10";

multicluster::in_both_modes!(no_call_fails_while_nodes_of_both_clusters_take_other_tunnel_keys,);

fn no_call_fails_while_nodes_of_both_clusters_take_other_tunnel_keys(mode: Mode) {
    let topology = Topology::demo().unwrap().named(&mode.lab("rotation"));
    let lab = Lab::up(&topology, &Options::in_mode(mode)).unwrap();
    let client = Client::new(&lab, "east/client");
    let http = |c: &Client<'_>| c.http(WEB, 80, Family::V4);
    let both = ["east", "west"];
    client.wait_for_clusters(&both, SOON, http).unwrap();
    let (interval, timeout) = (Duration::from_millis(20), Duration::from_secs(5));
    let traffic = client.traffic(WEB, 80, interval, timeout).unwrap();
    traffic.wait_for_successes(50, SOON).unwrap();

    let nodes = [("east", "n1"), ("west", "n1")];
    let before = nodes.map(|(cluster, node)| key(&lab, cluster, node));
    for (cluster, node) in nodes {
        rotate(&lab, cluster, node);
    }
    for ((cluster, node), former) in nodes.into_iter().zip(before) {
        let what = format!("{cluster}/{node} has another key");
        wait_until(ROTATED, &what, || Ok(key(&lab, cluster, node) != former)).unwrap();
    }
    traffic.wait_for_successes(200, SOON).unwrap();
    client.wait_for_clusters(&both, SOON, http).unwrap();

    traffic.stop_unfailed().unwrap();
}

/// The public key of a node's tunnel.
fn key(lab: &Lab, cluster: &str, node: &str) -> String {
    let status = lab.agent_status(cluster, node).unwrap();
    status["tunnel"]["public_key"].as_str().unwrap().to_owned()
}

fn rotate(lab: &Lab, cluster: &str, node: &str) {
    let target = Target::agent(cluster, node);
    let answer = lab.order(&target, "/v1/tunnel/rotate-key").unwrap();
    assert_eq!(answer.status, 202);
}
