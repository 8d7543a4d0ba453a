//! Group `tunnel`: one TCP stream through the embedded WireGuard, against boringtun-cli and against the bare link.
//!
//! Two namespaces stand for two machines of one core each: client and near end of the tunnels on one core, server and far
//! end on the other. All paths stand at once and are used in turn, so that what slows one down slows down all.

mod world;

use std::{path::Path, thread::sleep, time::Duration};

use anyhow::bail;

use crate::task::{
    bench::report::{Line, Report, doubt, ratios},
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

/// The same where the peers have sessions: more than the time between two keepalives.
const IDLE: Duration = Duration::from_secs(60);

/// The metrics of the group that no code measures yet.
const NOT_MEASURED: [&str; 2] = ["relay_tput_ratio", "rewrite_tput_ratio"];

/// Runs the group.
pub(crate) fn run(programs: &Path, report: Report, quick: bool) -> anyhow::Result<()> {
    let tunnel = build::by_hand("tunnel")?;
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
    idle_peers(report, &world, &tunnel, quick)?;
    for metric in NOT_MEASURED {
        report.print(&Line::new(GROUP, metric, "ratio").note("not measured yet"))?;
    }
    Ok(())
}

/// What the rounds say: those of the link, of the tunnel, of boringtun if it could be had, and of the link again.
fn throughput(report: Report, paths: &[Vec<StreamRound>]) -> anyhow::Result<()> {
    let [veth, tunnel, between @ .., again] = paths else {
        bail!("the load gave too few paths");
    };
    let rate = |round: &StreamRound| round.gbit_per_s;
    let cpu = |round: &StreamRound| round.cpu_s_per_gb;
    let null = of(again, veth, rate);
    let doubt = doubt(&null);
    let print = |metric, unit, samples: &[f64], note: &str| {
        report.print(&Line::new(GROUP, metric, unit).samples(samples).note(note))
    };
    print(
        "null_tput_ratio",
        "ratio",
        &null,
        "the link against itself: the noise",
    )?;
    if let [boringtun] = between {
        let note =
            format!("one TCP stream, to boringtun-cli with one thread on the same cores{doubt}");
        let samples = of(tunnel, boringtun, rate);
        print("tput_ratio_boringtun", "ratio", &samples, &note)?;
        let samples = of(tunnel, boringtun, cpu);
        let note = "CPU time of both ends for each byte";
        print("cpu_s_per_gb_ratio_boringtun", "ratio", &samples, note)?;
    }
    let note = format!("to the link itself, which carries whole super-packets in clear{doubt}");
    print("tput_ratio_veth", "ratio", &of(tunnel, veth, rate), &note)?;
    let names = ["veth", "isthmus", "boringtun"];
    for (name, rounds) in names
        .into_iter()
        .zip([veth, tunnel].into_iter().chain(between))
    {
        let line = |metric, unit| Line::new(GROUP, metric, unit).param("path", name);
        let rates: Vec<f64> = rounds.iter().map(rate).collect();
        report.print(&line("tput_gbit_per_s", "Gbit/s").samples(&rates))?;
        // No process carries the link, and what the kernel spends on it is not counted.
        if name != "veth" {
            let costs: Vec<f64> = rounds.iter().map(cpu).collect();
            report.print(
                &line("cpu_s_per_gb", "s/GB")
                    .samples(&costs)
                    .note("of the processes that carry it"),
            )?;
        }
    }
    let added: Vec<f64> = tunnel
        .iter()
        .zip(veth)
        .map(|(tunnel, veth)| tunnel.echo_p50_us - veth.echo_p50_us)
        .collect();
    let note = "one byte to and fro over TCP, less the same over the link itself";
    print("added_p50_us", "us", &added, note)
}

/// What many peers cost that answer, are kept in touch with, and are sent nothing.
fn idle_peers(report: Report, world: &World, tunnel: &Path, quick: bool) -> anyhow::Result<()> {
    for mode in ["userspace", "kernel"] {
        let line = Line::new(GROUP, "idle_cpu_1000_peers", "%").param("implementation", mode);
        let opened = match world.open_with_crowd(Side::Near, tunnel, (PEERS, mode)) {
            Ok(opened) => opened,
            // This kernel may have none of its own.
            Err(error) if mode == "kernel" => {
                report.print(&line.note(format!("not measured: {error:#}")))?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let rest = if quick { REST } else { IDLE };
        let process = opened.device.process.id();
        let before = cpu_of(process)?;
        sleep(rest);
        let used = cpu_of(process)? - before;
        let note = match mode {
            "kernel" => "of one core in the process; what the kernel does for it is not in here",
            _ => "of one core, while all peers have sessions and nothing is sent but keepalives",
        };
        let samples = [100.0 * used / rest.as_secs_f64()];
        report.print(&line.samples(&samples).note(note))?;
    }
    Ok(())
}

fn of(rounds: &[StreamRound], base: &[StreamRound], value: fn(&StreamRound) -> f64) -> Vec<f64> {
    ratios(rounds.iter().map(value), base.iter().map(value))
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
