//! Runs the worlds of many seeds, or one of the other simulations, and prints what came of it.

use std::{
    io::{Write, stdout},
    panic::catch_unwind,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Parser;
use cluster_registry::link::Limits;
use simulation::{Failure, Stats};

#[derive(Debug, Parser)]
enum Args {
    /// The worlds of many seeds; names those that fail, and fails if there are any.
    Seeds {
        /// How many seeds.
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// The world of one seed; if it fails, without all that is not needed for that, and what happened last in it.
    Trace {
        /// The seed.
        seed: u64,
    },
    /// A connection that is cut at every step of an exchange, in every way.
    Cuts,
    /// What a hostile peer may not announce, and why it does not get through.
    Hijack,
    /// A peer that announces without end.
    Flood {
        /// How many endpoints it announces.
        #[arg(long, default_value_t = 1_000_000)]
        announcements: u32,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    match Args::parse() {
        Args::Seeds { seeds, from } => run_seeds(from, seeds),
        Args::Trace { seed } => {
            let lived = simulation::trace(seed);
            print(
                &lived
                    .as_ref()
                    .map_or_else(describe, |stats| format!("{stats:#?}")),
            )?;
            Ok(if lived.is_ok() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Args::Cuts => {
            let cuts =
                simulation::every_step().map_err(|failure| anyhow::anyhow!(describe(&failure)))?;
            print(&format!(
                "{} steps, {} cuts: nothing was lost",
                cuts.steps, cuts.cuts
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Args::Hijack => {
            let table = simulation::matrix()
                .map_err(|lies| anyhow::anyhow!("these got through:\n{lies}"))?;
            write!(stdout().lock(), "{table}").context("printing")?;
            Ok(ExitCode::SUCCESS)
        }
        Args::Flood { announcements } => {
            print(&format!(
                "{:#?}",
                simulation::flood(announcements, Limits::default())
            ))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run_seeds(from: u64, seeds: u64) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let mut total = Stats::default();
    let mut settled = Vec::new();
    let mut failed = Vec::new();
    for seed in from..from.saturating_add(seeds) {
        match catch_unwind(|| simulation::run(seed)) {
            Ok(Ok(stats)) => {
                settled.push(stats.settled_after);
                total += stats;
            }
            Ok(Err(failure)) => {
                print(&format!(
                    "seed {seed} at {:?}: {}",
                    failure.at, failure.what
                ))?;
                failed.push(seed);
            }
            Err(_panic) => failed.push(seed),
        }
    }
    settled.sort_unstable();
    let percentile = |percent: usize| {
        let at = settled.len().saturating_sub(1) * percent / 100;
        settled.get(at).copied().unwrap_or_default()
    };
    print(&format!(
        "{seeds} worlds from seed {from}, {} clusters, {:.1} hours simulated in {:.1?}\n{} happenings, {} sessions ({} resumed), {} updates taken, {} refused, {} peers expired\nknown everywhere after the network was whole: p50 {:?}, p99 {:?}, longest {:?}\nlost, repeated or reordered updates, endpoints of expired clusters: {} worlds",
        total.clusters,
        total.time.as_secs_f64() / 3600.0,
        began.elapsed(),
        total.happenings,
        total.sessions,
        total.resumed,
        total.updates,
        total.refused,
        total.expired,
        percentile(50),
        percentile(99),
        settled.last().copied().unwrap_or(Duration::ZERO),
        failed.len(),
    ))?;
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!(
        "failed: {failed:?}\nlook at one with `cargo xtask sim trace SEED`; keep it in tests/simulation/seeds.txt"
    ))?;
    Ok(ExitCode::FAILURE)
}

fn describe(failure: &Failure) -> String {
    let trail = failure.trail.join("\n");
    format!("{trail}\nat {:?}: {}", failure.at, failure.what)
}

fn print(text: &str) -> anyhow::Result<()> {
    writeln!(stdout().lock(), "{text}").context("printing")
}
