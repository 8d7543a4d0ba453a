//! A cluster that is cut off leaves the service at once, and returns when the way to it is healed.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::time::{Duration, SystemTime};

use multicluster::{Client, Direction, Family, Lab, Mode, Options, Topology};

const SOON: Duration = Duration::from_secs(20);

const WEB: &str = "10.101.0.10";

/// New connections may fail only so long after the cut.
const FAILOVER_MS: f64 = 1000.0;

multicluster::in_both_modes!(
    calls_fail_for_less_than_a_second_after_a_cut_and_the_cluster_returns_after_healing,
    a_cut_in_one_direction_takes_the_cluster_out_too,
);

fn calls_fail_for_less_than_a_second_after_a_cut_and_the_cluster_returns_after_healing(mode: Mode) {
    let topology = Topology::demo().unwrap().named(&mode.lab("cutandheal"));
    let lab = Lab::up(&topology, &Options::in_mode(mode)).unwrap();
    let client = Client::new(&lab, "east/client");
    let http = |c: &Client<'_>| c.http(WEB, 80, Family::V4);
    client
        .wait_for_clusters(&["east", "west"], SOON, http)
        .unwrap();
    let (interval, timeout) = (Duration::from_millis(20), Duration::from_millis(500));
    let traffic = client.traffic(WEB, 80, interval, timeout).unwrap();
    traffic.wait_for_successes(20, SOON).unwrap();

    let cut_at = unix_ms();
    lab.cut("east", "west", Direction::Both).unwrap();
    client.wait_for_clusters(&["east"], SOON, http).unwrap();
    traffic.wait_for_successes(20, SOON).unwrap();

    let failed = traffic
        .calls()
        .into_iter()
        .filter(|call| call.error.is_some());
    let failed: Vec<_> = failed.map(|call| call.started_unix_ms - cut_at).collect();
    let last = failed.iter().copied().fold(0.0, f64::max);
    assert!(
        last < FAILOVER_MS,
        "the last failure was {last} ms after the cut"
    );

    lab.heal("east", "west", Direction::Both).unwrap();
    client
        .wait_for_clusters(&["east", "west"], SOON, http)
        .unwrap();
}

fn a_cut_in_one_direction_takes_the_cluster_out_too(mode: Mode) {
    let topology = Topology::demo().unwrap().named(&mode.lab("cutoneway"));
    let lab = Lab::up(&topology, &Options::in_mode(mode)).unwrap();
    let client = Client::new(&lab, "east/client");
    let http = |c: &Client<'_>| c.http(WEB, 80, Family::V4);
    client
        .wait_for_clusters(&["east", "west"], SOON, http)
        .unwrap();

    lab.cut("west", "east", Direction::OneWay).unwrap();

    client.wait_for_clusters(&["east"], SOON, http).unwrap();
}

fn unix_ms() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs_f64() * 1000.0
}
