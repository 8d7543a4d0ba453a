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
    let [east, west] = both.map(|cluster| lab.manifest(cluster, "web.yaml").unwrap());

    let private = annotated(&west, "isthmus.io/shared: \"false\"");
    lab.write_manifest("west", "web.yaml", &private).unwrap();
    client.wait_for_clusters(&["east"], SOON, http).unwrap();

    lab.write_manifest("west", "web.yaml", &west).unwrap();
    client.wait_for_clusters(&both, SOON, http).unwrap();

    let remote = annotated(&east, "isthmus.io/affinity: remote");
    lab.write_manifest("east", "web.yaml", &remote).unwrap();
    client.wait_for_clusters(&["west"], SOON, http).unwrap();

    lab.remove_manifest("west", "web.yaml").unwrap();
    client.wait_for_clusters(&["east"], SOON, http).unwrap();
}

/// The same manifest with one more annotation on the service.
fn annotated(manifest: &str, annotation: &str) -> String {
    let global = "    isthmus.io/global: \"true\"\n";
    assert!(manifest.contains(global));
    manifest.replace(global, &format!("{global}    {annotation}\n"))
}
