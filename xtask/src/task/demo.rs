//! The main job, to watch: two clusters, one service, a failover and the way back.

pub(crate) mod measure;
pub(crate) mod outcome;
mod stage;
mod table;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, bail, ensure};
use multicluster::{Lab, Mode, Options, Topology, preflight, wait_until};

use crate::task::{build, setup};
use measure::{CLIENT, HOME, LOST};
use outcome::Outcome;
use stage::Stage;

/// How to show it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Prints the facts as JSON lines.
    #[arg(long)]
    json: bool,
    /// Gives each cluster an API server in place of its folder of manifests.
    #[arg(long)]
    kubernetes: bool,
    /// Leaves the clusters up and says how to play with them.
    #[arg(long)]
    keep: bool,
    /// How often `west` is cut off.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
    /// The lab's name, so that several can be up at once.
    #[arg(long, default_value = "demo")]
    lab: String,
}

/// The name that the service has in every cluster.
pub(crate) const NAME: &str = "web.shop.svc.clusterset.local";

/// How soon both clusters must have answered once everything is ready.
const BOTH_WITHIN: Duration = Duration::from_secs(20);

/// Calls for each way of calling that the demo shows.
const CALLS: usize = 20;

/// The task.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    preflight::run()?;
    setup::run_quietly_if_done()?;
    let programs = build::programs(build::Profile::Dev)?;
    let stage = Stage { json: args.json };
    stage.step("starting the clusters east and west: 4 nodes, 2 gateways, 4 agents, 4 pods")?;
    let topology = Topology::demo()?.named(&args.lab);
    let options = Options {
        bin_dir: Some(programs.clone()),
        mode: Mode::with_api_servers(args.kubernetes),
        ..Options::default()
    };
    let lab = Lab::up(&topology, &options)?;
    let shown = show(&lab, stage, args, &programs.join("xtask"));
    let Ok(broken) = shown else {
        return shown.map(|_broken| ());
    };
    if args.keep {
        stage.step(&format!("the clusters stay up as lab {}", args.lab))?;
        stage.how_to_play(&lab)?;
        let isthmus = programs.join("isthmus");
        let controller = ["lab".as_ref(), "controller".as_ref(), args.lab.as_ref()];
        let controller: Vec<_> = std::iter::once(isthmus.as_os_str())
            .chain(controller)
            .collect();
        lab.keep(&controller)?;
    } else {
        stage.step("removing the clusters")?;
        lab.down()?;
    }
    if !broken.is_empty() {
        bail!("promises that did not hold: {}", broken.join("; "));
    }
    stage.step("every promise held")
}

/// Shows everything and returns the promises that did not hold.
fn show(
    lab: &Lab,
    stage: Stage,
    args: &Args,
    load: &std::path::Path,
) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    let cluster_ip = measure::cluster_ip(lab, HOME, "shop", "web", false)?;
    let by_ip = format!("http://{cluster_ip}/");
    wait_until(BOTH_WITHIN, "both clusters answer", || {
        Ok(call(lab, &by_ip)?.len() == 2)
    })?;
    for url in [by_ip, format!("http://{NAME}/")] {
        let answers = call(lab, &url)?;
        stage.answers(&url, &answers)?;
        if answers.len() < 2 {
            broken.push(format!(
                "calls to {url} reached {answers:?}, not both clusters"
            ));
        }
    }
    let mut outcomes = Vec::new();
    for run in 1..=args.runs {
        stage.step(&format!(
            "run {run} of {}: a new connection every 10 ms",
            args.runs
        ))?;
        let outcome = measure::one_cut(lab, load, |what| stage.step(what))?;
        stage.outcome(run, &outcome)?;
        broken.extend(promises(run, &outcome));
        outcomes.push(outcome);
    }
    stage.table(&table::of(&outcomes))?;
    Ok(broken)
}

/// The promises that a run broke.
fn promises(run: u16, outcome: &Outcome) -> Vec<String> {
    let mut broken = Vec::new();
    if outcome.failover_ms >= outcome::FAILOVER_LIMIT_MS {
        broken.push(format!(
            "run {run}: the failover took {} ms",
            outcome.failover_ms
        ));
    }
    if outcome.failures_outside > 0 {
        broken.push(format!(
            "run {run}: {} requests failed outside the failover",
            outcome.failures_outside
        ));
    }
    if outcome.return_ms.is_none() {
        broken.push(format!("run {run}: {LOST} did not answer again"));
    }
    if outcome.answered_by.len() < 2 {
        broken.push(format!(
            "run {run}: only {:?} answered",
            outcome.answered_by
        ));
    }
    broken
}

/// Calls a URL some times with curl from the client pod, and counts which cluster answered.
fn call(lab: &Lab, url: &str) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut answers = BTreeMap::new();
    for _ in 0..CALLS {
        let body = lab
            .ask(
                CLIENT,
                [
                    "curl",
                    "--silent",
                    "--show-error",
                    "--fail",
                    "--max-time",
                    "2",
                    url,
                ],
            )
            .with_context(|| format!("calling {url}"))?;
        let cluster = outcome::cluster_in(&body);
        ensure!(
            cluster.is_some(),
            "{url} answered without naming its cluster: {body}"
        );
        *answers.entry(cluster.unwrap_or_default()).or_default() += 1;
    }
    Ok(answers)
}
