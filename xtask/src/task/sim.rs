//! Runs the simulated worlds, built for speed: many seeds unless told otherwise.

use std::process::{Command, Stdio};

use anyhow::bail;

use crate::task::command::{cargo, describe, say};

/// What to simulate.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    #[command(subcommand)]
    other: Option<Other>,
}

/// What else there is to simulate than many seeds.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum Other {
    /// The world of one seed, and what happened last in it if it fails.
    Trace {
        /// The seed.
        seed: u64,
    },
    /// A connection that is cut at every step of an exchange, in every way.
    Cuts,
    /// What a hostile peer may not announce, as a table.
    Hijack,
    /// A peer that announces a million endpoints.
    Flood,
}

/// The task.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut command = cargo();
    command.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "simulation",
        "--",
    ]);
    match args.other {
        None => {
            let (seeds, from) = (args.seeds.to_string(), args.from.to_string());
            command.args(["seeds", "--seeds", &seeds, "--from", &from]);
        }
        Some(Other::Trace { seed }) => drop(command.args(["trace", &seed.to_string()])),
        Some(Other::Cuts) => drop(command.arg("cuts")),
        Some(Other::Hijack) => drop(command.arg("hijack")),
        Some(Other::Flood) => drop(command.arg("flood")),
    }
    finish(&mut command)
}

/// Its output is the result, so it goes to standard output.
fn finish(command: &mut Command) -> anyhow::Result<()> {
    let line = describe(command);
    say(&format!("$ {line}"));
    let status = command.stdout(Stdio::inherit()).status()?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}
