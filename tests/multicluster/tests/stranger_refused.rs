//! A gateway whose certificate another authority issued is refused, and nothing of it counts.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use certs::{TrustDomain, commands};
use cluster_registry::name::ClusterName;
use multicluster::{Client, Family, Lab, Mode, Options, Target, Topology, wait_until};

const SOON: Duration = Duration::from_secs(20);

multicluster::in_both_modes!(a_stranger_with_the_right_name_is_refused,);

fn a_stranger_with_the_right_name_is_refused(mode: Mode) {
    let topology = Topology::demo().unwrap().named(&mode.lab("stranger"));
    let lab = Lab::up(&topology, &Options::in_mode(mode)).unwrap();
    let client = Client::new(&lab, "east/client");
    let http = |c: &Client<'_>| c.http("10.101.0.10", 80, Family::V4);
    client
        .wait_for_clusters(&["east", "west"], SOON, http)
        .unwrap();

    for gateway in ["east", "west"].map(Target::gateway) {
        lab.kill(&gateway).unwrap();
    }
    forge(&lab.credentials_dir("west", None), "west");
    for gateway in ["east", "west"].map(Target::gateway) {
        lab.start(&gateway).unwrap();
    }

    wait_until(SOON, "east tells of the refusal", || {
        let status = lab.gateway_status("east")?;
        let peer = &status["peers"][0];
        Ok(peer["state"] != "connected" && peer["reason"].as_str().is_some_and(|r| !r.is_empty()))
    })
    .unwrap();
    let status = lab.gateway_status("east").unwrap();
    assert_eq!(status["peers"][0]["cluster"], "west");
    assert_eq!(status["peers"][0]["accepted"], 0, "{status}");
}

/// Replaces credentials by those of an authority that nobody trusts; the name in them stays right.
fn forge(credentials: &Path, cluster: &str) {
    let authority = tempfile::tempdir().unwrap();
    let valid_for = Duration::from_secs(3600);
    let now = SystemTime::now();
    let init = commands::Init {
        dir: authority.path().join("authority"),
        trust_domain: TrustDomain::parse("cluster.local").unwrap(),
        valid_for,
        force: false,
    };
    commands::init(&init, now).unwrap();
    let issue = commands::Issue {
        authority: init.dir,
        cluster: ClusterName::parse(cluster).unwrap(),
        node: None,
        out: credentials.to_owned(),
        valid_for,
        force: true,
    };
    commands::issue(&issue, now).unwrap();
}
