//! Gateways and agents say how they are: alive at once, ready once they know all, with metrics that tools can read.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod openmetrics;

use std::{fs, time::Duration};

use multicluster::{Client, Family, Lab, Options, Target, Topology, wait_until};

use openmetrics::Exposition;

const SOON: Duration = Duration::from_secs(20);

const NAME: &str = "web.shop.svc.clusterset.local";

#[test]
#[ignore = "needs root"]
fn every_daemon_answers_its_four_endpoints() {
    let topology = Topology::demo().unwrap().named("admin");
    let lab = Lab::up(&topology, &Options::default()).unwrap();
    let client = Client::new(&lab, "east/client");
    client
        .wait_for_clusters(&["east", "west"], SOON, |c| c.http(NAME, 80, Family::V4))
        .unwrap();

    for target in daemons(&lab) {
        assert_eq!(page(&lab, &target, "/livez"), (200, "ok\n".to_owned()));
        assert_eq!(page(&lab, &target, "/readyz"), (200, "ok\n".to_owned()));
        assert_eq!(page(&lab, &target, "/nothing").0, 404, "{target}");
        let (code, status) = page(&lab, &target, "/v1/status");
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!((code, &status["ready"]), (200, &true.into()), "{target}");
    }
    for (cluster, other) in [("east", "west"), ("west", "east")] {
        expect_gateway_metrics(&metrics(&lab, &Target::gateway(cluster)), other);
        for node in ["n1", "n2"] {
            expect_agent_metrics(&metrics(&lab, &Target::agent(cluster, node)), other);
        }
    }
    let east = metrics(&lab, &Target::gateway("east"));
    let answered = [("kind", "a"), ("outcome", "found")];
    assert!(east.value("isthmus_gateway_dns_answers_total", &answered) >= Some(1.0));
}

#[test]
#[ignore = "needs root"]
fn daemons_are_alive_at_once_and_ready_only_once_they_know_the_whole_state() {
    let topology = Topology::demo().unwrap().named("ready");
    let lab = Lab::up(&topology, &Options::default()).unwrap();
    let [gateway, agent] = [Target::gateway("west"), Target::agent("west", "n1")];
    for target in [&agent, &gateway] {
        lab.terminate(target).unwrap();
    }
    let manifests = lab.plan().manifests_dir("west");
    let aside = manifests.with_extension("aside");
    fs::rename(&manifests, &aside).unwrap();

    for target in [&gateway, &agent] {
        lab.start(target).unwrap();
        wait_until(SOON, "it is alive", || {
            Ok(lab.admin(target, "/livez")?.status == 200)
        })
        .unwrap();
    }
    let (code, reason) = page(&lab, &gateway, "/readyz");
    assert_eq!(
        (code, reason.as_str()),
        (503, "not ready: sessions, source\n")
    );
    let (code, reason) = page(&lab, &agent, "/readyz");
    assert_eq!((code, reason.as_str()), (503, "not ready: gateway\n"));
    let status = lab.gateway_status("west").unwrap();
    assert_eq!(status["source"]["synced"], false);
    assert_eq!(status["ready"], false);
    assert_eq!(lab.agent_status("west", "n1").unwrap()["ready"], false);

    fs::rename(&aside, &manifests).unwrap();
    for target in [&gateway, &agent] {
        wait_until(SOON, &format!("{target} is ready"), || lab.is_ready(target)).unwrap();
    }
    assert_eq!(
        lab.gateway_status("west").unwrap()["source"]["synced"],
        true
    );
}

fn expect_gateway_metrics(metrics: &Exposition, other: &str) {
    let peer = [("peer", other)];
    let value = |name: &str, labels: &[(&str, &str)]| {
        let value = metrics.value(&format!("isthmus_gateway_{name}"), labels);
        value.unwrap_or_else(|| panic!("no {name} in {metrics:#?}"))
    };
    assert_eq!(value("peer_connected", &peer), 1.0);
    let rtt = value("peer_rtt_seconds", &peer);
    assert!(rtt > 0.0 && rtt < 1.0, "{rtt}");
    assert!(value("sessions_total", &peer) >= 1.0);
    assert!(value("updates_accepted_total", &peer) >= 4.0);
    assert_eq!(value("nodes_connected", &[]), 2.0);
    assert_eq!(value("source_synced", &[]), 1.0);
    assert_eq!(value("source_problems", &[]), 0.0);
    assert!(value("exports_revision", &[]) > 0.0);
    assert!(value("feed_revision", &[]) > 0.0);
}

fn expect_agent_metrics(metrics: &Exposition, other: &str) {
    let value = |name: &str, labels: &[(&str, &str)]| {
        let value = metrics.value(&format!("isthmus_agent_{name}"), labels);
        value.unwrap_or_else(|| panic!("no {name} in {metrics:#?}"))
    };
    assert_eq!(value("gateway_connected", &[]), 1.0);
    assert_eq!(value("cluster_up", &[("cluster", other)]), 1.0);
    let healthy = [("cluster", other), ("reason", "healthy")];
    assert!(value("cluster_verdicts_total", &healthy) >= 1.0);
    // TCP and UDP over IPv4 and IPv6, each with three backends.
    assert_eq!(value("map_services", &[]), 4.0);
    assert_eq!(value("map_backends", &[]), 12.0);
    assert!(value("map_ops_total", &[("op", "put-service")]) >= 4.0);
    assert_eq!(value("map_drift_total", &[]), 0.0);
}

/// A daemon's metrics, once it has measured the round trip to its peers.
fn metrics(lab: &Lab, target: &Target) -> Exposition {
    let mut exposition = Exposition::default();
    let is_gateway = matches!(target, Target::Gateway { .. });
    wait_until(SOON, "a round trip is measured", || {
        let answer = lab.admin(target, "/metrics")?;
        exposition = Exposition::parse(&answer.body)?;
        Ok(!is_gateway || exposition.has_sample("isthmus_gateway_peer_rtt_seconds"))
    })
    .unwrap();
    exposition
}

fn page(lab: &Lab, target: &Target, path: &str) -> (u16, String) {
    let answer = lab.admin(target, path).unwrap();
    (answer.status, answer.body)
}

fn daemons(lab: &Lab) -> Vec<Target> {
    let targets = lab.targets().into_iter();
    let daemons: Vec<_> = targets
        .filter(|target| !matches!(target, Target::Pod { .. }))
        .collect();
    assert_eq!(daemons.len(), 6);
    daemons
}
