//! Group `failover`: from the silent loss of a cluster to the last new connection that failed.

use std::path::Path;

use multicluster::{Lab, Options, Topology};

use crate::task::{
    bench::report::{Line, Report},
    demo::{measure, outcome::Outcome},
};

const GROUP: &str = "failover";

/// How a profile sets the agents' probes.
struct Profile {
    name: &'static str,
    agent_args: &'static [&'static str],
}

const PROFILES: [Profile; 2] = [
    Profile {
        name: "default",
        agent_args: &[],
    },
    Profile {
        name: "fast",
        agent_args: &["--probe-interval", "40ms", "--probe-multiplier", "3"],
    },
];

/// The metrics of the group that no code measures yet.
const NOT_MEASURED: [&str; 5] = [
    "pooled_recovery_max_ms",
    "notready_to_no_new_p99_ms",
    "drain_failed_requests",
    "verdict_to_map_us",
    "false_verdicts",
];

/// Runs the group.
pub(crate) fn run(programs: &Path, report: Report, quick: bool) -> anyhow::Result<()> {
    let cuts = if quick { 2 } else { 10 };
    for profile in &PROFILES {
        let outcomes = cut_often(programs, profile, cuts)?;
        let failovers: Vec<f64> = outcomes
            .iter()
            .map(|outcome| outcome.failover_ms as f64)
            .collect();
        let line = |metric, unit| Line::new(GROUP, metric, unit).param("profile", profile.name);
        let note =
            "from the cut to the start of the last new connection that failed, one every 10 ms";
        report.print(
            &line("silent_loss_p50_ms", "ms")
                .samples(&failovers)
                .note(note),
        )?;
        let worst = failovers.iter().copied().fold(0.0, f64::max);
        report.print(
            &line("silent_loss_max_ms", "ms")
                .samples(&[worst])
                .note(note),
        )?;
        let returns: Vec<f64> = outcomes
            .iter()
            .filter_map(|outcome| Some(outcome.return_ms? as f64))
            .collect();
        report.print(
            &line("return_p50_ms", "ms")
                .samples(&returns)
                .note("from the heal to the first answer of the cluster that was lost"),
        )?;
    }
    for metric in NOT_MEASURED {
        report.print(&Line::new(GROUP, metric, "").note("not measured yet"))?;
    }
    Ok(())
}

fn cut_often(programs: &Path, profile: &Profile, cuts: usize) -> anyhow::Result<Vec<Outcome>> {
    let mut topology = Topology::demo()?.named("benchfailover");
    for cluster in &mut topology.clusters {
        cluster.agent_args = profile
            .agent_args
            .iter()
            .map(|arg| (*arg).to_owned())
            .collect();
    }
    let options = Options {
        bin_dir: Some(programs.to_owned()),
        ..Options::default()
    };
    let lab = Lab::up(&topology, &options)?;
    let load = programs.join("xtask");
    let mut outcomes = Vec::with_capacity(cuts);
    for _ in 0..cuts {
        outcomes.push(measure::one_cut(&lab, &load, |_what| Ok(()))?);
    }
    lab.down()?;
    Ok(outcomes)
}
