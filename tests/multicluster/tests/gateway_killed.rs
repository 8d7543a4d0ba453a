//! A gateway may die: traffic goes on as it was, and what changed meanwhile arrives once it is back.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::time::Duration;

use multicluster::{Client, Family, Lab, Mode, Options, Target, Topology};

const SOON: Duration = Duration::from_secs(20);

const WEB: &str = "10.101.0.10";

multicluster::in_both_modes!(traffic_goes_on_without_a_gateway_and_changes_arrive_when_it_is_back,);

fn traffic_goes_on_without_a_gateway_and_changes_arrive_when_it_is_back(mode: Mode) {
    let topology = Topology::demo().unwrap().named(&mode.lab("gatewaykilled"));
    let lab = Lab::up(&topology, &Options::in_mode(mode)).unwrap();
    let client = Client::new(&lab, "east/client");
    let http = |c: &Client<'_>| c.http(WEB, 80, Family::V4);
    client
        .wait_for_clusters(&["east", "west"], SOON, http)
        .unwrap();
    let (interval, timeout) = (Duration::from_millis(20), Duration::from_millis(500));
    let traffic = client.traffic(WEB, 80, interval, timeout).unwrap();

    let gateway = Target::gateway("west");
    lab.kill(&gateway).unwrap();
    // Longer than the control session takes to be found lost.
    traffic.wait_for_successes(100, SOON).unwrap();
    client
        .wait_for_clusters(&["east", "west"], SOON, http)
        .unwrap();
    traffic.stop_unfailed().unwrap();

    let manifest = lab.manifest("west", "web.yaml").unwrap();
    let withdrawn = manifest.replace(
        "isthmus.io/global: \"true\"",
        "isthmus.io/global: \"false\"",
    );
    lab.write_manifest("west", "web.yaml", &withdrawn).unwrap();
    lab.start_and_wait(&gateway, SOON).unwrap();

    client.wait_for_clusters(&["east"], SOON, http).unwrap();
}
