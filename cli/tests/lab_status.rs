//! `isthmus status` and `isthmus services` of a running lab name all that an operator asks for.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    process::{Command, Output},
    time::Duration,
};

use multicluster::{Lab, Options, Topology, wait_for};
use serde_json::Value;

const LAB: &str = "clistatus";

const SOON: Duration = Duration::from_secs(20);

#[test]
#[ignore = "needs root"]
fn the_status_of_a_lab_names_links_services_agents_and_kernel_features() {
    let topology = Topology::demo().unwrap().named(LAB);
    let _lab = Lab::up(&topology, &Options::default()).unwrap();

    let document = wait_for(SOON, "all is well and every round trip is known", || {
        let output = isthmus(&["-o", "json", "status", "--lab", LAB]);
        let document: Value = serde_json::from_slice(&output.stdout)?;
        let is_whole = output.status.success() && round_trips(&document).all(Value::is_u64);
        Ok(is_whole.then_some(document))
    });

    let document = document.unwrap();
    assert_eq!(document["kind"], "Status/v1");
    for (cluster, other) in [("east", "west"), ("west", "east")] {
        expect_gateway(
            status(&document, &format!("{cluster}/gateway")),
            cluster,
            other,
        );
        for node in ["n1", "n2"] {
            let agent = status(&document, &format!("{cluster}/{node}/agent"));
            expect_agent(agent, (cluster, node), other);
        }
    }
    let table = text(&isthmus(&["status", "--lab", LAB]).stdout);
    for part in ["connected", "healthy", "attachment", "ms", "west/n2"] {
        assert!(table.contains(part), "no {part} in {table}");
    }
    let services = text(&isthmus(&["services", "--lab", LAB]).stdout);
    for part in [
        "shop/web",
        "10.101.0.10",
        "80/TCP",
        "7/UDP",
        "west 4/4",
        "east 2/2",
    ] {
        assert!(services.contains(part), "no {part} in {services}");
    }
}

fn expect_gateway(status: &Value, cluster: &str, other: &str) {
    assert_eq!(status["cluster"], cluster);
    assert_eq!(status["ready"], true);
    assert_eq!(status["source"]["kind"], "manifests");
    assert_eq!(status["source"]["synced"], true);
    let peer = &status["peers"][0];
    assert_eq!(peer["cluster"], other);
    assert_eq!(peer["state"], "connected");
    // On a busy machine one may have been lost and dialled anew.
    assert!(peer["sessions"].as_u64() >= Some(1), "{peer}");
    assert_eq!(peer["services"], 1);
    assert_eq!(peer["endpoints"], if other == "west" { 4 } else { 2 });
    assert!(peer["address"].is_string());
    assert_eq!(status["nodes"].as_array().unwrap().len(), 2);
    for node in status["nodes"].as_array().unwrap() {
        assert_eq!(node["connected"], true);
    }
    let services = status["services"].as_array().unwrap();
    let web = services.iter().find(|s| s["name"] == "web").unwrap();
    assert_eq!(web["namespace"], "shop");
    assert_eq!(web["global"], true);
    for (cluster, count) in [("east", 2), ("west", 4)] {
        assert_eq!(web["backends"][cluster]["ready"], count, "{web}");
        assert_eq!(web["backends"][cluster]["total"], count, "{web}");
    }
    assert!(status["exports"]["revision"].as_u64().unwrap() > 0);
    assert!(status["dns"]["listen"].is_string());
}

fn expect_agent(status: &Value, (cluster, node): (&str, &str), other: &str) {
    assert_eq!(status["cluster"], cluster);
    assert_eq!(status["node"], node);
    assert_eq!(status["gateway"]["connected"], true);
    assert_eq!(status["last_error"], Value::Null);
    let clusters = status["clusters"].as_array().unwrap();
    let remote = clusters.iter().find(|c| c["cluster"] == other).unwrap();
    assert_eq!(remote["state"], "up");
    assert_eq!(remote["reason"], "healthy");
    assert_eq!(remote["control"], "connected");
    assert_eq!(remote["path"], "good");
    assert_eq!(status["tunnel"]["peers"].as_array().unwrap().len(), 2);
    assert!(
        !status["tunnel"]["implementation"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    let kernel = &status["kernel"];
    assert!(!kernel["release"].as_str().unwrap().is_empty());
    let features = kernel["features"].as_object().unwrap();
    assert!(!features.is_empty());
    for (name, feature) in features {
        for part in ["chosen", "reason"] {
            assert!(
                !feature[part].as_str().unwrap().is_empty(),
                "{name}: {feature}"
            );
        }
    }
}

/// The round trips between gateways, to agents, and through the tunnels.
fn round_trips(document: &Value) -> impl Iterator<Item = &Value> {
    let statuses = sources(document).iter().map(|source| &source["status"]);
    statuses.flat_map(|status| {
        let remote = |cluster: &&Value| cluster["control"] != "local";
        let lists = ["peers", "nodes", "clusters"].map(|list| status[list].as_array());
        let listed = lists.into_iter().flatten().flatten().filter(remote);
        let gateway = status.get("gateway").into_iter();
        listed.chain(gateway).map(|entry| &entry["rtt_us"])
    })
}

fn status<'a>(document: &'a Value, source: &str) -> &'a Value {
    let mut sources = sources(document).iter();
    let found = sources.find(|candidate| candidate["source"] == source);
    &found.unwrap_or_else(|| panic!("no {source} in {document}"))["status"]
}

fn sources(document: &Value) -> &[Value] {
    document["sources"].as_array().unwrap()
}

fn isthmus(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_isthmus"))
        .args(arguments)
        .env_remove("ISTHMUS_ADMIN")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
