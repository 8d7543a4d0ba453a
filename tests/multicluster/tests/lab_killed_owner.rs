//! A lab whose owner is killed goes away by itself.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use multicluster::{Lab, Options, Topology, labs, wait_until};

/// Tells the second copy of this program that it is the one to be killed.
const VICTIM: &str = "ISTHMUS_TEST_VICTIM";

const LAB: &str = "labkilled";

#[test]
#[ignore = "needs root"]
fn nothing_is_left_of_a_lab_whose_owner_was_killed() {
    let name = "an_owner_that_waits_to_be_killed";
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", name])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let is_up = lines.map(Result::unwrap).any(|line| line.contains("is up"));
    assert!(is_up && labs().unwrap().contains(LAB));

    victim.kill().unwrap();
    victim.wait().unwrap();

    let soon = Duration::from_secs(10);
    wait_until(soon, "the lab is gone", || Ok(!labs()?.contains(LAB))).unwrap();
}

#[test]
#[ignore = "needs root"]
fn an_owner_that_waits_to_be_killed() {
    if env::var_os(VICTIM).is_none() {
        return;
    }
    let topology = Topology::demo().unwrap().named(LAB);
    let _lab = Lab::up(&topology, &Options::without_daemons()).unwrap();
    println!("the lab is up");
    std::thread::park();
}
