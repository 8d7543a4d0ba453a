//! Group `tunnel`: one TCP stream through the embedded WireGuard, against boringtun-cli and against the bare link.
//!
//! Two namespaces stand for two machines of one core each: client and near end of the tunnels on one core, server and far
//! end on the other. All paths stand at once and are used in turn, so that what slows one down slows down all.

mod world;

use std::{path::Path, thread::sleep, time::Duration};

use anyhow::ensure;

use crate::task::{
    bench::report::{Line, Report, ratios},
    build,
    load::{StreamRound, cpu_of},
    setup,
};
use world::{Side, World};

const GROUP: &str = "tunnel";

/// How many peers are configured at once.
const PEERS: u32 = 1000;

/// Over how long the CPU time of a tunnel at rest is taken.
const REST: Duration = Duration::from_secs(5);

/// The metrics of the group that no code measures yet.
const NOT_MEASURED: [&str; 2] = ["relay_tput_ratio", "rewrite_tput_ratio"];

/// Runs the group.
pub(crate) fn run(programs: &Path, report: Report, quick: bool) -> anyhow::Result<()> {
    let tunnel = build::tunnel_by_hand()?;
    let mut world = World::up(&programs.join("xtask"))?;
    world.open_tunnels(&tunnel)?;
    let boringtun = setup::boringtun().and_then(|program| world.open_boringtuns(&program));
    if let Err(error) = &boringtun {
        for (metric, unit) in [
            ("tput_ratio_boringtun", "ratio"),
            ("cpu_s_per_gb_ratio_boringtun", "ratio"),
        ] {
            report.print(&Line::new(GROUP, metric, unit).note(format!("{error:#}")))?;
        }
    }
    let rounds = world.stream(boringtun.is_ok(), quick)?;
    throughput(report, &rounds)?;
    many_peers(report, &world, &tunnel)?;
    for metric in NOT_MEASURED {
        report.print(&Line::new(GROUP, metric, "ratio").note("not measured yet"))?;
    }
    Ok(())
}

/// What the rounds say: those of the bare link, of the tunnel and, if it could be had, of boringtun.
fn throughput(report: Report, paths: &[Vec<StreamRound>]) -> anyhow::Result<()> {
    ensure!(paths.len() >= 2, "the load gave too few paths");
    let values = |path: usize, value: fn(&StreamRound) -> f64| {
        paths.get(path).into_iter().flatten().map(value)
    };
    let (veth, tunnel, boringtun) = (0, 1, 2);
    let rate = |round: &StreamRound| round.gbit_per_s;
    let cpu = |round: &StreamRound| round.cpu_s_per_gb;
    let echo = |round: &StreamRound| round.echo_p50_us;
    if paths.len() > boringtun {
        let of = ratios(values(tunnel, rate), values(boringtun, rate));
        report.print(
            &Line::new(GROUP, "tput_ratio_boringtun", "ratio")
                .samples(&of)
                .note("one TCP stream, to boringtun-cli with one thread on the same cores"),
        )?;
        let of = ratios(values(tunnel, cpu), values(boringtun, cpu));
        report.print(
            &Line::new(GROUP, "cpu_s_per_gb_ratio_boringtun", "ratio")
                .samples(&of)
                .note("CPU time of both ends for each byte"),
        )?;
    }
    let of = ratios(values(tunnel, rate), values(veth, rate));
    report.print(
        &Line::new(GROUP, "tput_ratio_veth", "ratio")
            .samples(&of)
            .note("to the link itself, which carries whole super-packets in clear"),
    )?;
    let names: [&str; 3] = ["veth", "isthmus", "boringtun"];
    for (path, name) in names.into_iter().enumerate().take(paths.len()) {
        let line = |metric, unit| Line::new(GROUP, metric, unit).param("path", name);
        let rates: Vec<f64> = values(path, rate).collect();
        report.print(&line("tput_gbit_per_s", "Gbit/s").samples(&rates))?;
    }
    let added: Vec<f64> = values(tunnel, echo)
        .zip(values(veth, echo))
        .map(|(tunnel, veth)| tunnel - veth)
        .collect();
    report.print(
        &Line::new(GROUP, "added_p50_us", "us")
            .samples(&added)
            .note("one byte to and fro over TCP, less the same over the link itself"),
    )
}

/// What many peers cost.
fn many_peers(report: Report, world: &World, tunnel: &Path) -> anyhow::Result<()> {
    let line = |metric, unit| Line::new(GROUP, metric, unit).param("peers", PEERS);
    let opened = world.open_with_absent_peers(Side::Near, tunnel, PEERS)?;
    report.print(
        &line("configure_1000_peers_seconds", "s")
            .samples(&[opened.said.configure_seconds])
            .note("peers, allowed addresses and routes, from none"),
    )?;
    report.print(
        &line("change_one_peer_ms", "ms")
            .samples(&opened.said.change_one_ms)
            .note("one prefix more or less, of 1000 peers with routes"),
    )?;
    let before = cpu_of(opened.process.id())?;
    sleep(REST);
    let used = cpu_of(opened.process.id())? - before;
    report.print(
        &line("unanswered_cpu_percent", "%")
            .samples(&[100.0 * used / REST.as_secs_f64()])
            .note("of one core, while no peer answers and all are called"),
    )
}
