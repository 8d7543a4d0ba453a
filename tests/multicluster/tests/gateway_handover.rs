//! One of two gateways of a cluster ends, killed or in order: the other is read at once, and nobody notices.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::time::Duration;

use anyhow::Context as _;
use multicluster::{Client, Family, Lab, Options, Target, Topology, wait_for, wait_until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

const WEB: &str = "10.101.0.10";

/// A service of west that east has not heard of.
const NEWS: &str = r#"
apiVersion: v1
kind: Service
metadata:
  name: news
  namespace: shop
  annotations:
    isthmus.io/global: "true"
spec:
  selector:
    app: web
  clusterIP: 10.102.0.20
  clusterIPs: [10.102.0.20]
  ports:
    - name: http
      port: 80
      targetPort: http
"#;

#[test]
#[ignore = "needs root"]
fn the_other_gateway_is_read_when_the_lead_is_killed() {
    a_handover_goes_unnoticed("leadkilled", Lab::kill);
}

#[test]
#[ignore = "needs root"]
fn the_other_gateway_is_read_when_the_lead_ends_in_order() {
    a_handover_goes_unnoticed("leadended", Lab::terminate);
}

fn a_handover_goes_unnoticed(name: &str, end: impl Fn(&Lab, &Target) -> anyhow::Result<()>) {
    let mut topology = Topology::demo().unwrap().named(name);
    topology.clusters[1].gateways = 2;
    let lab = Lab::up(&topology, &Options::default()).unwrap();
    let client = Client::new(&lab, "east/client");
    let http = |c: &Client<'_>| c.http(WEB, 80, Family::V4);
    let both = ["east", "west"];
    client.wait_for_clusters(&both, SOON, http).unwrap();
    let first = wait_for_lead_of_two(&lab);
    let web = backends(&lab).unwrap();
    assert!(web["west"]["ready"].as_u64() > Some(0), "{web}");
    let (interval, timeout) = (Duration::from_millis(20), Duration::from_millis(500));
    let traffic = client.traffic(WEB, 80, interval, timeout).unwrap();
    traffic.wait_for_successes(50, SOON).unwrap();

    end(&lab, &first).unwrap();
    lab.write_manifest("west", "news.yaml", NEWS).unwrap();
    wait_until(SOON, "the change reaches the other cluster", || {
        assert_eq!(backends(&lab)?, web);
        Ok(west(&lab)?["services"] == 2)
    })
    .unwrap();
    let second = lead(&lab).unwrap().unwrap();
    assert_ne!(first, second);

    lab.start_and_wait(&first, SOON).unwrap();
    assert_eq!(wait_for_lead_of_two(&lab), second);
    let before = feed(&lab).unwrap();
    end(&lab, &second).unwrap();
    wait_until(SOON, "the first gateway is read again", || {
        assert_eq!(backends(&lab)?, web);
        Ok(lead(&lab)?.as_ref() == Some(&first))
    })
    .unwrap();
    traffic.wait_for_successes(100, SOON).unwrap();
    // Without a change, not one record is touched by a handover.
    assert_eq!(feed(&lab).unwrap(), before);

    client.wait_for_clusters(&both, SOON, http).unwrap();
    traffic.stop_unfailed().unwrap();
}

/// Waits until east has sessions with both gateways of west and says which one it reads.
fn wait_for_lead_of_two(lab: &Lab) -> Target {
    wait_for(SOON, "east has sessions with both gateways of west", || {
        let has_both = replicas(lab)?.len() == 2;
        Ok(lead(lab)?.filter(|_| has_both))
    })
    .unwrap()
}

/// How many backends each cluster gives the shared service, as east sees it.
fn backends(lab: &Lab) -> anyhow::Result<Value> {
    let status = lab.gateway_status("east")?;
    let services = status["services"].as_array().cloned().unwrap_or_default();
    let web = services
        .into_iter()
        .find(|service| service["name"] == "web");
    Ok(web.context("east has no service web")?["backends"].clone())
}

/// How far the feed of east's nodes is.
fn feed(lab: &Lab) -> anyhow::Result<Value> {
    Ok(lab.gateway_status("east")?["feed"].clone())
}

/// The gateway of west that east reads.
fn lead(lab: &Lab) -> anyhow::Result<Option<Target>> {
    let replicas = replicas(lab)?;
    let lead = replicas.iter().find(|r| r["lead"] == true);
    let name = lead.and_then(|lead| lead["replica"].as_str());
    name.map(|name| format!("west/{name}").parse()).transpose()
}

fn replicas(lab: &Lab) -> anyhow::Result<Vec<Value>> {
    let replicas = west(lab)?["replicas"].as_array().cloned();
    Ok(replicas.unwrap_or_default())
}

/// West as east's gateway sees it.
fn west(lab: &Lab) -> anyhow::Result<Value> {
    let status = lab.gateway_status("east")?;
    let peers = status["peers"].as_array().cloned().unwrap_or_default();
    let west = peers.into_iter().find(|peer| peer["cluster"] == "west");
    west.context("east has no peer west")
}
