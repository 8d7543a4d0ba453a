//! Group `connect`: connect, request and close through a ClusterIP, against the same to the pod's own address.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use multicluster::{Lab, Options, wait_until};

use crate::task::{
    bench::{
        baseline::Baseline,
        report::{Line, Report, ratios},
        services::{self, FORGET_CLOSED, PORT, SERVICE},
    },
    command::target_dir,
    demo::measure::cluster_ip,
    load::{Round, Rounds},
};

const GROUP: &str = "connect";
const CLUSTER: &str = "east";

/// How long the agent may take to program all services.
const PROGRAMMED_WITHIN: Duration = Duration::from_secs(60);

/// How many services are installed.
const SERVICE_COUNTS: [u32; 2] = [10, 10_000];

/// Runs the group.
pub(crate) fn run(programs: &Path, report: Report, quick: bool) -> anyhow::Result<()> {
    for count in SERVICE_COUNTS {
        let manifests = target_dir().join("bench").join(format!("services-{count}"));
        services::write_manifests(&manifests, count)?;
        let topology = services::topology(&programs.join("xtask"), &manifests)?;
        let options = Options {
            bin_dir: Some(programs.to_owned()),
            ready_within: PROGRAMMED_WITHIN,
            ..Options::default()
        };
        let lab = Lab::up(&topology, &options)?;
        wait_until(
            PROGRAMMED_WITHIN,
            "the agent has programmed all services",
            || {
                let status = lab.agent_status(CLUSTER, "n1")?;
                Ok(status["maps"]["services"].as_u64() >= Some(u64::from(count)))
            },
        )?;
        for (family, ipv6) in [("v4", false), ("v6", true)] {
            measure(
                &lab,
                programs,
                report,
                quick,
                Case {
                    count,
                    family,
                    ipv6,
                },
            )?;
        }
        memory(&lab, report, count)?;
        for baseline in [Baseline::Iptables, Baseline::Nftables] {
            compare(&lab, programs, report, quick, baseline, count)?;
        }
        lab.down()?;
    }
    Ok(())
}

/// Measures what kube-proxy's rules cost; a baseline that cannot be installed is said and fails nothing.
fn compare(
    lab: &Lab,
    programs: &Path,
    report: Report,
    quick: bool,
    baseline: Baseline,
    count: u32,
) -> anyhow::Result<()> {
    let line = Line::new(GROUP, baseline.metric(), "ratio").param("services", count);
    let address = |pod| match lab.plan().pod(pod)?.ipv4() {
        Some(IpAddr::V4(address)) => Ok(address),
        Some(IpAddr::V6(_)) | None => bail!("{pod} has no IPv4 address"),
    };
    let (server, bare) = (address("east/server")?, address("east/bare")?);
    if let Err(error) = baseline.install(lab, count, server, bare) {
        return report.print(&line.note(format!("{error:#}")));
    }
    let called = Baseline::called(count);
    let targets = [bare, called].map(|address| SocketAddr::new(address.into(), PORT));
    let rounds = crr(lab, programs, &targets, quick)?;
    baseline.remove(lab)?;
    let [direct, translated] = &rounds.0[..] else {
        bail!("the load gave {} results for two targets", rounds.0.len());
    };
    let rates = |rounds: &[Round]| rounds.iter().map(|round| round.rate).collect::<Vec<_>>();
    report.print(
        &line
            .samples(&ratios(
                rates(translated).into_iter(),
                rates(direct).into_iter(),
            ))
            .note(
                "kube-proxy's rules, the last service called, to a pod that conntrack does not see",
            ),
    )
}

/// What is measured.
#[derive(Clone, Copy)]
struct Case {
    count: u32,
    family: &'static str,
    ipv6: bool,
}

fn measure(
    lab: &Lab,
    programs: &Path,
    report: Report,
    quick: bool,
    case: Case,
) -> anyhow::Result<()> {
    let service = cluster_ip(lab, CLUSTER, SERVICE.0, SERVICE.1, case.ipv6)?;
    let server = lab.plan().pod("east/server")?;
    let pod = if case.ipv6 {
        server.ipv6()
    } else {
        server.ipv4()
    };
    let pod = pod.context("the server has no address of this family")?;
    let direct = SocketAddr::new(pod, PORT);
    let targets = [direct, SocketAddr::new(service, PORT), direct];
    let rounds = crr(lab, programs, &targets, quick)?;
    let [direct, translated, null] = &rounds.0[..] else {
        bail!("the load gave {} results for three targets", rounds.0.len());
    };
    let line = |metric, unit| {
        Line::new(GROUP, metric, unit)
            .param("services", case.count)
            .param("family", case.family)
    };
    let of = |rounds: &[Round], base: &[Round], value: fn(&Round) -> f64| {
        ratios(rounds.iter().map(value), base.iter().map(value))
    };
    let note = "ClusterIP to the pod's own address, alternating rounds on one core";
    report.print(
        &line("clusterip_crr_ratio", "ratio")
            .samples(&of(translated, direct, |round| round.rate))
            .note(note),
    )?;
    report.print(
        &line("clusterip_connect_p50_ratio", "ratio")
            .samples(&of(translated, direct, |round| round.connect_p50_us))
            .note(note),
    )?;
    report.print(
        &line("clusterip_cpu_ratio", "ratio")
            .samples(&of(translated, direct, |round| round.cpu_us))
            .note(note),
    )?;
    report.print(
        &line("null_crr_ratio", "ratio")
            .samples(&of(null, direct, |round| round.rate))
            .note("the pod's own address against itself: the noise"),
    )
}

/// Runs the client's load over the targets.
fn crr(lab: &Lab, programs: &Path, targets: &[SocketAddr], quick: bool) -> anyhow::Result<Rounds> {
    let (rounds, round_ms) = if quick { ("7", "200") } else { ("25", "400") };
    let load = programs.join("xtask");
    let mut script = format!(
        "{FORGET_CLOSED}; exec taskset -c 0 \"$0\" load crr --rounds {rounds} --round-ms {round_ms}"
    );
    for target in targets {
        script.push_str(&format!(" --target {target}"));
    }
    let argv = [
        "sh".as_ref(),
        "-c".as_ref(),
        script.as_ref(),
        load.as_os_str(),
    ];
    let output = lab.exec("east/client", argv)?;
    ensure!(
        output.status.success(),
        "the client's load failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("reading the client's rounds")
}

/// What the daemons hold in memory with so many services.
fn memory(lab: &Lab, report: Report, count: u32) -> anyhow::Result<()> {
    let daemons = [
        ("gateway_rss_mib", multicluster::Target::gateway(CLUSTER)),
        ("agent_rss_mib", multicluster::Target::agent(CLUSTER, "n1")),
    ];
    for (metric, target) in daemons {
        let mib = lab.resident_bytes(&target)? as f64 / f64::from(1 << 20);
        report.print(
            &Line::new(GROUP, metric, "MiB")
                .param("services", count)
                .samples(&[mib])
                .note("resident, at rest after programming"),
        )?;
    }
    Ok(())
}
