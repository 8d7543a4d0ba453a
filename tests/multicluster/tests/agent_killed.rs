//! The agent may die: the kernel goes on with what it has, and a new agent adopts it without a gap.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::time::Duration;

use multicluster::{Client, Family, Lab, Mode, Options, Target, Topology};

const SOON: Duration = Duration::from_secs(20);

const WEB: &str = "10.101.0.10";

multicluster::in_both_modes!(
    no_call_to_the_own_cluster_fails_while_the_agent_is_killed_and_started,
    both_clusters_answer_again_after_an_agent_was_killed_and_started,
);

fn no_call_to_the_own_cluster_fails_while_the_agent_is_killed_and_started(mode: Mode) {
    // Without west: where the tunnel runs in the agent, its end is the tunnel's end.
    let mut topology = Topology::demo().unwrap().named(&mode.lab("agentkilled"));
    topology.clusters.truncate(1);
    let lab = Lab::up(&topology, &Options::in_mode(mode)).unwrap();
    let client = Client::new(&lab, "east/client");
    let http = |c: &Client<'_>| c.http(WEB, 80, Family::V4);
    client.wait_for_clusters(&["east"], SOON, http).unwrap();
    let (interval, timeout) = (Duration::from_millis(10), Duration::from_millis(500));
    let traffic = client.traffic(WEB, 80, interval, timeout).unwrap();
    traffic.wait_for_successes(50, SOON).unwrap();

    let agent = Target::agent("east", "n1");
    lab.kill(&agent).unwrap();
    traffic.wait_for_successes(100, SOON).unwrap();
    lab.start_and_wait(&agent, SOON).unwrap();
    traffic.wait_for_successes(100, SOON).unwrap();

    traffic.stop_unfailed().unwrap();
}

fn both_clusters_answer_again_after_an_agent_was_killed_and_started(mode: Mode) {
    let topology = Topology::demo().unwrap().named(&mode.lab("agentback"));
    let lab = Lab::up(&topology, &Options::in_mode(mode)).unwrap();
    let client = Client::new(&lab, "east/client");
    let http = |c: &Client<'_>| c.http(WEB, 80, Family::V4);
    client
        .wait_for_clusters(&["east", "west"], SOON, http)
        .unwrap();

    let agent = Target::agent("east", "n1");
    lab.kill(&agent).unwrap();
    lab.start_and_wait(&agent, SOON).unwrap();

    client
        .wait_for_clusters(&["east", "west"], SOON, http)
        .unwrap();
}
