//! The benches: what Isthmus costs and how fast it is, as ratios measured side by side in one run.

mod baseline;
mod connect;
mod failover;
mod forward;
mod merge;
pub(crate) mod report;
mod services;
mod sync;
mod tunnel;

use anyhow::bail;
use multicluster::preflight;

use crate::task::{build, setup};
use report::Report;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The groups to run; all if none is named.
    #[arg(value_enum)]
    groups: Vec<Group>,
    /// Prints JSON lines.
    #[arg(long)]
    json: bool,
    /// Fewer repetitions of the same metrics.
    #[arg(long)]
    quick: bool,
}

/// A group of metrics that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Group {
    /// A connection through a ClusterIP against one to the pod itself.
    Connect,
    /// From the silent loss of a cluster to the last connection that failed.
    Failover,
    /// What a node forwards for clients outside: packets, connections, a stream.
    Forward,
    /// Holding and merging what many clusters offer.
    Merge,
    /// Telling one peer everything, one change, and what it missed.
    Sync,
    /// One TCP stream through the embedded WireGuard against boringtun-cli and against the bare link.
    Tunnel,
}

/// The task.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    preflight::run()?;
    setup::run_quietly_if_done()?;
    setup::baselines()?;
    let programs = build::programs(build::Profile::Release)?;
    let report = Report { json: args.json };
    let mut failed = Vec::new();
    for group in [
        Group::Connect,
        Group::Failover,
        Group::Forward,
        Group::Merge,
        Group::Sync,
        Group::Tunnel,
    ] {
        if !args.groups.is_empty() && !args.groups.contains(&group) {
            continue;
        }
        let result = match group {
            Group::Connect => connect::run(&programs, report, args.quick),
            Group::Failover => failover::run(&programs, report, args.quick),
            Group::Forward => forward::run(&programs, report, args.quick),
            Group::Merge => merge::run(&programs, report, args.quick),
            Group::Sync => sync::run(&programs, report, args.quick),
            Group::Tunnel => tunnel::run(&programs, report, args.quick),
        };
        if let Err(error) = result {
            failed.push(format!("{group:?}: {error:#}"));
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(())
}
