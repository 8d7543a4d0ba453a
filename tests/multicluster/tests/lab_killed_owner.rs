//! A lab whose owner is killed goes away by itself.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    env, fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use multicluster::{Lab, Mode, Options, Topology, labs, wait_until};

/// Tells the second copy of this program that it is the one to be killed, and which lab it is to have.
const VICTIM: &str = "ISTHMUS_TEST_VICTIM";

/// A lab of pods alone.
const LAB: &str = "labkilled";

/// A lab with daemons, whose clusters have API servers.
const LAB_WITH_API_SERVERS: &str = "labkilledk";

#[test]
#[ignore = "needs root"]
fn nothing_is_left_of_a_lab_whose_owner_was_killed() {
    kill_the_owner_of(LAB);
}

#[test]
#[ignore = "needs root"]
fn nothing_is_left_of_a_lab_with_api_servers_whose_owner_was_killed() {
    kill_the_owner_of(LAB_WITH_API_SERVERS);
}

fn kill_the_owner_of(lab: &str) {
    let name = "an_owner_that_waits_to_be_killed";
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", name])
        .env(VICTIM, lab)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let is_up = lines.map(Result::unwrap).any(|line| line.contains("is up"));
    assert!(is_up && labs().unwrap().contains(lab));
    let network = format!("ist-{lab}-");
    assert_ne!(named("/run/netns", &network), 0);

    victim.kill().unwrap();
    victim.wait().unwrap();

    let soon = Duration::from_secs(10);
    wait_until(soon, "the lab is gone", || {
        Ok(!labs()?.contains(lab) && named("/run/netns", &network) == 0)
    })
    .unwrap();
}

#[test]
#[ignore = "needs root"]
fn an_owner_that_waits_to_be_killed() {
    let Ok(lab) = env::var(VICTIM) else {
        return;
    };
    let topology = Topology::demo().unwrap().named(&lab);
    let options = if lab == LAB_WITH_API_SERVERS {
        Options::in_mode(Mode::Kubernetes)
    } else {
        Options::without_daemons()
    };
    let _lab = Lab::up(&topology, &options).unwrap();
    println!("the lab is up");
    std::thread::park();
}

/// How many entries of a folder have names that begin so.
fn named(folder: &str, prefix: &str) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).count()
}
