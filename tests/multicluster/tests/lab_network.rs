//! The lab alone, without daemons: pods of one cluster reach each other, those of two don't, and cuts are what they say.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use anyhow::Result;
use multicluster::{Direction, Lab, Options, Topology};

#[test]
#[ignore = "needs root"]
fn pods_reach_their_own_cluster_and_no_other_until_something_carries_them() {
    let lab = Lab::up(&topology("labnet"), &Options::without_daemons()).unwrap();

    for family in [4, 6] {
        let west = address(&lab, "west/web-1", family);
        let answer = lab.ask("west/web-2", curl(&west)).unwrap();
        assert!(answer.contains("\"cluster\": \"west\""), "{answer}");
        assert!(answer.contains("\"pod\": \"web-1\""), "{answer}");
        assert!(lab.ask("east/client", curl(&west)).is_err());
    }
}

#[test]
#[ignore = "needs root"]
fn a_cut_stops_both_ways_or_one_and_healing_ends_it() {
    let lab = Lab::up(&topology("labcut"), &Options::without_daemons()).unwrap();
    let west = lab.plan().node("west", "n1").unwrap().ipv4.to_string();
    assert!(reaches(&lab, &west));

    lab.cut("east", "west", Direction::Both).unwrap();
    assert!(!reaches(&lab, &west));
    assert_eq!(lab.cuts().unwrap().len(), 8);

    lab.heal("east/n1", "west/n1", Direction::Both).unwrap();
    assert!(reaches(&lab, &west));

    lab.heal_all().unwrap();
    lab.cut("west/n1", "east/n1", Direction::OneWay).unwrap();
    assert_eq!(lab.cuts().unwrap().len(), 1);
    assert!(!reaches(&lab, &west));

    lab.heal_all().unwrap();
    assert!(reaches(&lab, &west));
}

#[test]
#[ignore = "needs root"]
fn nothing_is_left_of_a_lab_that_was_dropped() {
    let lab = Lab::up(&topology("labdrop"), &Options::without_daemons()).unwrap();
    assert!(multicluster::labs().unwrap().contains("labdrop"));

    drop(lab);

    assert!(!multicluster::labs().unwrap().contains("labdrop"));
}

#[test]
#[ignore = "needs root"]
fn a_name_in_use_is_refused_and_its_lab_stays() {
    let lab = Lab::up(&topology("labtwice"), &Options::without_daemons()).unwrap();

    let error = Lab::up(&topology("labtwice"), &Options::without_daemons()).unwrap_err();

    assert!(format!("{error:#}").contains("already"), "{error:#}");
    lab.ask("east/client", ["true"]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_lab_that_cannot_be_built_leaves_nothing() {
    let mut topology = topology("labfails");
    topology.clusters[1].pods[1].command = vec!["/no/such/program".to_owned()];

    let error = Lab::up(&topology, &Options::without_daemons()).unwrap_err();

    assert!(format!("{error:#}").contains("west/web-2"), "{error:#}");
    assert!(!multicluster::labs().unwrap().contains("labfails"));
}

#[test]
#[ignore = "needs root"]
fn slices_follow_a_pod_that_dies_and_comes_back() {
    let lab = Lab::up(&topology("labslices"), &Options::without_daemons()).unwrap();
    let web = "east/web-1".parse().unwrap();
    let says = |ready: &str| -> Result<bool> {
        let slices = lab.manifest("east", "lab-derived-endpointslices.yaml")?;
        Ok(slices.contains(&format!("ready: {ready}")))
    };
    let soon = std::time::Duration::from_secs(5);
    multicluster::wait_until(soon, "the pod is ready", || says("true")).unwrap();

    lab.kill(&web).unwrap();
    multicluster::wait_until(soon, "the pod is not ready", || says("false")).unwrap();

    lab.start(&web).unwrap();
    multicluster::wait_until(soon, "the pod is ready again", || says("true")).unwrap();
}

fn topology(name: &str) -> Topology {
    Topology::demo().unwrap().named(name)
}

fn address(lab: &Lab, pod: &str, family: u8) -> String {
    let pod = lab.plan().pod(pod).unwrap();
    if family == 4 {
        pod.ipv4().unwrap().to_string()
    } else {
        format!("[{}]", pod.ipv6().unwrap())
    }
}

fn curl(host: &str) -> [String; 6] {
    let url = format!("http://{host}:8080/");
    ["curl", "-s", "-S", "-m", "2", &url].map(str::to_owned)
}

/// Whether a packet gets to an address and an answer back: nothing listens there, so the answer is a refusal.
fn reaches(lab: &Lab, address: &str) -> bool {
    let url = format!("http://{address}:1/");
    let argv = ["curl", "-s", "-m", "1", &url];
    let output = lab
        .spawn_on_node("east", "n1", argv)
        .unwrap()
        .wait()
        .unwrap();
    output.status.code() == Some(CURL_REFUSED)
}

/// curl's exit status when the connection was refused.
const CURL_REFUSED: i32 = 7;
