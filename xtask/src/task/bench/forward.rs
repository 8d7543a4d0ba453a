//! Group `forward`: what a node forwards for clients outside, against plain forwarding and against kube-proxy's rules.
//!
//! Everything runs on one core, the program that makes packets included, so that what is compared is work.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context;
use serde::Deserialize;

use crate::task::{
    bench::report::{Line, Report, doubt, ratios},
    build,
    command::{command, output},
    load::{Round, StreamRound},
};

const GROUP: &str = "forward";

/// The kinds of nodes, as the program calls them and as the metrics do, in the order in which they are printed.
const KINDS: [(&str, &str); 5] = [
    ("null", "null_pps_ratio"),
    ("tc", "tc_pps_ratio"),
    ("xdp", "xdp_pps_ratio"),
    ("iptables", "iptables_pps_ratio"),
    ("nftables", "nftables_pps_ratio"),
];

/// What the program that measures says; see `node-dp/examples/forward`.
#[derive(Debug, Deserialize)]
struct Found {
    packets_per_s: BTreeMap<u32, BTreeMap<String, Vec<f64>>>,
    missing: BTreeMap<String, String>,
    ns_per_packet: BTreeMap<String, Vec<f64>>,
    connections: Vec<Vec<Round>>,
    streams: Vec<Vec<StreamRound>>,
}

/// Runs the group.
pub(crate) fn run(programs: &Path, report: Report, quick: bool) -> anyhow::Result<()> {
    let program = build::by_hand("forward")?;
    let (rounds, round_ms) = if quick { ("5", "100") } else { ("25", "200") };
    let mut measure = command("taskset");
    measure.args(["-c", "0"]).arg(program);
    measure.arg("--load").arg(programs.join("xtask"));
    measure.args(["--rounds", rounds, "--round-ms", round_ms]);
    let said = output(&mut measure)?;
    let found: Found = serde_json::from_str(&said).context("reading what was measured")?;
    print(report, &found)
}

fn print(report: Report, found: &Found) -> anyhow::Result<()> {
    let rates: Vec<Vec<f64>> = of(&found.connections, |round| round.rate);
    through_node_port(report, "nodeport_tc_crr_ratio", &rates)?;
    let rates: Vec<Vec<f64>> = of(&found.streams, |round| round.gbit_per_s);
    through_node_port(report, "nodeport_tc_tput_ratio", &rates)?;
    for (flows, by_kind) in &found.packets_per_s {
        packets(report, *flows, by_kind, &found.missing)?;
    }
    for (case, samples) in &found.ns_per_packet {
        report.print(
            &Line::new(GROUP, "xdp_ns_per_packet", "ns")
                .param("case", case.as_str())
                .samples(samples)
                .note("in the program alone, by test runs in the kernel"),
        )?;
    }
    Ok(())
}

fn of<T>(paths: &[Vec<T>], value: fn(&T) -> f64) -> Vec<Vec<f64>> {
    let paths = paths.iter();
    paths
        .map(|rounds| rounds.iter().map(value).collect())
        .collect()
}

/// Prints what a node port gives, of rounds directly, through it, and directly again.
fn through_node_port(
    report: Report,
    metric: &'static str,
    rates: &[Vec<f64>],
) -> anyhow::Result<()> {
    let line = Line::new(GROUP, metric, "ratio");
    let [direct, translated, again] = rates else {
        return report.print(&line.note("the load gave too few paths"));
    };
    let null = ratio(again, direct);
    let note = format!(
        "to the backend's own address through a node without programs{}",
        doubt(&null)
    );
    report.print(&line.samples(&ratio(translated, direct)).note(note))
}

/// Prints packets a second through each kind of node, against plain forwarding.
fn packets(
    report: Report,
    flows: u32,
    by_kind: &BTreeMap<String, Vec<f64>>,
    missing: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let plain = by_kind
        .get("plain")
        .context("nothing was forwarded plainly")?;
    let null = by_kind.get("null").map(|null| ratio(null, plain));
    let doubt = doubt(&null.unwrap_or_default());
    let line = |metric, unit| Line::new(GROUP, metric, unit).param("flows", flows);
    report.print(&line("plain_pps", "1/s").samples(plain))?;
    for (kind, metric) in KINDS {
        let line = line(metric, "ratio");
        let line = match by_kind.get(kind) {
            Some(rates) => {
                let note = format!("to plain forwarding, all on one core{doubt}");
                line.samples(&ratio(rates, plain)).note(note)
            }
            None => {
                let why = missing.get(kind).map_or("not measured", String::as_str);
                line.note(why)
            }
        };
        report.print(&line)?;
    }
    Ok(())
}

fn ratio(of: &[f64], to: &[f64]) -> Vec<f64> {
    ratios(of.iter().copied(), to.iter().copied())
}
