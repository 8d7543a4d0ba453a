//! A malformed document is reported with its place and reason, and everything else counts.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::time::Duration;

use multicluster::{Client, Family, Lab, Options, Topology, wait_for, wait_until};

const SOON: Duration = Duration::from_secs(20);

const BROKEN: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: fine}
---
apiVersion: v1
kind: Service
metadata: {name: wrong, namespace: fine}
spec:
  clusterIP: no address at all
  ports: [{port: 80}]
";

#[test]
#[ignore = "needs root"]
fn a_malformed_document_is_reported_and_hides_nothing() {
    let topology = Topology::demo().unwrap().named("malformed");
    let lab = Lab::up(&topology, &Options::default()).unwrap();
    let client = Client::new(&lab, "east/client");

    lab.write_manifest("west", "broken.yaml", BROKEN).unwrap();

    let problem = wait_for(SOON, "the problem is reported", || {
        let status = lab.gateway_status("west")?;
        Ok(status["source"]["problems"].get(0).cloned())
    });
    let problem = problem.unwrap();
    assert_eq!(problem["file"], "broken.yaml", "{problem}");
    assert_eq!(problem["document"], 2, "{problem}");
    let reason = problem["reason"].as_str().unwrap();
    assert!(reason.contains("no address at all"), "{reason}");
    let http = |c: &Client<'_>| c.http("10.101.0.10", 80, Family::V4);
    client
        .wait_for_clusters(&["east", "west"], SOON, http)
        .unwrap();

    lab.remove_manifest("west", "broken.yaml").unwrap();
    wait_until(SOON, "the problem is gone", || {
        let status = lab.gateway_status("west")?;
        Ok(status["source"]["problems"]
            .as_array()
            .is_some_and(Vec::is_empty))
    })
    .unwrap();
}
