//! Worlds of real sessions and registries under faults: whatever happens, all ends with everybody knowing everything.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;

use simulation::{every_step, matrix, run};

/// How many seeds each test tries; `cargo xtask sim` tries as many as wanted.
const SEEDS: u64 = 50;

#[test]
fn clusters_agree_whatever_happens_to_them_first_part() {
    run_all(0..SEEDS);
}

#[test]
fn clusters_agree_whatever_happens_to_them_second_part() {
    run_all(SEEDS..2 * SEEDS);
}

#[test]
fn clusters_agree_whatever_happens_to_them_third_part() {
    run_all(2 * SEEDS..3 * SEEDS);
}

#[test]
fn clusters_agree_whatever_happens_to_them_fourth_part() {
    run_all(3 * SEEDS..4 * SEEDS);
}

#[test]
fn worlds_that_failed_once_do_not_fail_again() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/seeds.txt");
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let seeds = lines.filter_map(|line| line.split_whitespace().next());
    run_all(seeds.map(|seed| seed.parse().unwrap()));
}

#[test]
fn one_seed_is_one_fate() {
    let settled = || run(7).map(|stats| (stats.updates, stats.sessions, stats.time));

    assert_eq!(settled().unwrap(), settled().unwrap());
}

#[test]
fn a_connection_that_is_cut_at_any_step_in_any_way_loses_nothing() {
    let cuts = every_step().unwrap_or_else(|failure| panic!("{}", failure.what));

    println!("{cuts:?}");
    assert!(cuts.steps > 40, "{cuts:?}");
}

#[test]
fn no_lie_of_a_peer_with_a_valid_certificate_gets_through() {
    let table = matrix().unwrap_or_else(|lies| panic!("these got through:\n{lies}"));

    println!("{table}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/hijack.md");
    let kept = fs::read_to_string(path).unwrap();
    let hint = "write it anew by `cargo xtask sim hijack > tests/simulation/hijack.md`";
    assert_eq!(table, kept, "{hint}");
}

fn run_all(seeds: impl Iterator<Item = u64>) {
    let failed: Vec<String> = seeds
        .filter_map(|seed| {
            let failure = run(seed).err()?;
            Some(format!("seed {seed} at {:?}: {}", failure.at, failure.what))
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
