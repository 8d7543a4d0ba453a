//! Measures how many packets a node forwards: plainly, by kube-proxy's rules, and by the programs on devices with and without
//! the fast path; and what a connection and a stream through a node port cost against the same without one.
//!
//! All nodes stand beside each other, each in a network namespace of its own between the same two hosts, and are used in
//! turns, so that what slows one down slows down all. Everything is this process's, and goes when it ends. It prints one
//! line of JSON.

#![expect(
    clippy::unwrap_used,
    reason = "a bench whose world cannot be made ends by panicking, which says where"
)]

mod cases;
mod connections;
#[path = "../../tests/datapath/network.rs"]
#[allow(dead_code, reason = "the tests of the datapath use more of it")]
mod network;
mod node;
mod packets;
mod programs;

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use clap::Parser as _;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use serde::Serialize;

/// What to measure.
#[derive(Debug, clap::Parser)]
struct Args {
    /// The program that dials and answers: `xtask`; without it connections and streams are left out.
    #[arg(long)]
    load: Option<PathBuf>,
    /// How many rounds each node gets.
    #[arg(long, default_value_t = 25)]
    rounds: u32,
    /// How long a round lasts, in milliseconds.
    #[arg(long, default_value_t = 200)]
    round_ms: u64,
    /// Only says how many instructions of each program the kernel has looked at.
    #[arg(long)]
    programs: bool,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Found {
    /// Packets a second by number of flows and by node, a value for each round.
    packets_per_s: BTreeMap<u32, BTreeMap<&'static str, Vec<f64>>>,
    /// What could not be measured, and why.
    missing: BTreeMap<&'static str, String>,
    /// Nanoseconds for each packet of a case.
    ns_per_packet: BTreeMap<&'static str, Vec<f64>>,
    /// What the load says of connections and streams: directly, by the node port, directly.
    connections: Option<serde_json::Value>,
    streams: Option<serde_json::Value>,
    /// Instructions that the kernel has looked at, by program.
    verified: BTreeMap<String, Option<u32>>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // Mounts of its own: those of the datapath go with this process.
    unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace: are you root?")?;
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("unsharing mounts")?;

    let places = Arc::new(node::Places::make()?);
    let mut found = Found::default();
    if args.programs {
        found.verified = programs::verified(&places)?;
        return print(&found);
    }
    packets::measure(&places, &args, &mut found)?;
    cases::measure(&places, &args, &mut found)?;
    if let Some(load) = &args.load {
        connections::measure(&places, load, &args, &mut found)?;
    }
    print(&found)
}

fn print(found: &Found) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(found)?;
    line.push('\n');
    std::io::stdout().write_all(line.as_bytes())?;
    Ok(())
}

/// The path as text: all of them here are made of plain letters.
fn text(path: &Path) -> &str {
    path.to_str().expect("a path of plain letters")
}
