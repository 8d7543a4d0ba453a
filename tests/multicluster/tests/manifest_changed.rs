//! An edited manifest reaches the clients of the other cluster.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::time::Duration;

use multicluster::{Client, Family, Lab, Mode, Options, Topology};

const SOON: Duration = Duration::from_secs(20);

const WEB: &str = "10.101.0.10";

multicluster::in_both_modes!(sharing_affinity_and_the_loss_of_a_service_reach_the_other_cluster,);

fn sharing_affinity_and_the_loss_of_a_service_reach_the_other_cluster(mode: Mode) {
    let topology = Topology::demo().unwrap().named(&mode.lab("manifest"));
    let lab = Lab::up(&topology, &Options::in_mode(mode)).unwrap();
    let client = Client::new(&lab, "east/client");
    let http = |c: &Client<'_>| c.http(WEB, 80, Family::V4);
    let both = ["east", "west"];
    client.wait_for_clusters(&both, SOON, http).unwrap();
    let west = lab.manifest("west", "web.yaml").unwrap();

    lab.annotate("west", "web.yaml", "isthmus.io/shared: \"false\"")
        .unwrap();
    client.wait_for_clusters(&["east"], SOON, http).unwrap();

    lab.write_manifest("west", "web.yaml", &west).unwrap();
    client.wait_for_clusters(&both, SOON, http).unwrap();

    lab.annotate("east", "web.yaml", "isthmus.io/affinity: remote")
        .unwrap();
    client.wait_for_clusters(&["west"], SOON, http).unwrap();

    lab.remove_manifest("west", "web.yaml").unwrap();
    client.wait_for_clusters(&["east"], SOON, http).unwrap();
}
