//! Group `sync`: what it costs to tell one peer everything, one change, and what it missed.

mod map;

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context, bail};

use crate::task::bench::report::{Line, Report};

const GROUP: &str = "sync";

/// Changes whose way to a node's maps is measured, also for a quick look.
const TO_MAPS: usize = 300;
const QUICK_TO_MAPS: usize = 200;

/// Runs the group.
pub(crate) fn run(programs: &Path, report: Report, quick: bool) -> anyhow::Result<()> {
    let loads = Loads { programs, quick };
    let times = if quick { 1 } else { 5 };
    let mut large = BTreeMap::new();
    for _ in 0..times {
        loads.measure("peer", (500, 500), &mut large)?;
    }
    let print = |metric, unit, name: &str, note: &str| {
        let samples = large.get(name).map(Vec::as_slice).unwrap_or_default();
        report.print(&Line::new(GROUP, metric, unit).samples(samples).note(note))
    };
    let sync = "250,000 endpoints, from dialling to a view of all, through a relay that counts";
    print("full_sync_250k_seconds", "s", "full_sync_seconds", sync)?;
    let cpu = "CPU time of both ends and the relay in that time, which says more where others load the machine";
    print("full_sync_cpu_seconds", "s", "full_sync_cpu_seconds", cpu)?;
    let wire =
        "all that UDP carries to the subscriber in that time; pods are anywhere on 4,096 nodes";
    print(
        "wire_bytes_per_endpoint",
        "B",
        "wire_bytes_per_endpoint",
        wire,
    )?;
    let resume = "100 changes among 250,000 endpoints missed, from the return of a path that was cut for 10 s (quick: 2 s)";
    print("resume_ms", "ms", "resume_ms", resume)?;
    print("resume_bytes", "B", "resume_bytes", resume)?;
    let epoch = "the same after the publisher's restart, from the session's end";
    print("epoch_resync_ms", "ms", "epoch_resync_ms", epoch)?;
    print("epoch_resync_cpu_ms", "ms", "epoch_resync_cpu_ms", cpu)?;
    print("epoch_resync_bytes", "B", "epoch_resync_bytes", epoch)?;
    memory(loads, times, report)?;
    for backends in [10, 5000] {
        let mut found = BTreeMap::new();
        loads.measure("peer", (2, backends), &mut found)?;
        let samples = found.remove("wire_bytes_one_change").unwrap_or_default();
        let line = Line::new(GROUP, "wire_bytes_one_change", "B").param("backends", backends);
        let note = "all that UDP carries to the subscriber, acknowledgements too";
        report.print(&line.samples(&samples).note(note))?;
    }
    peers(loads, report)?;
    sustained(loads, report)?;
    subscribers(loads, report)?;
    handshakes(loads, report)?;
    to_maps(loads, report)
}

/// The way of a change through both gateways and an agent.
fn to_maps(loads: Loads<'_>, report: Report) -> anyhow::Result<()> {
    let changes = if loads.quick { QUICK_TO_MAPS } else { TO_MAPS };
    let delays = map::delays(loads.programs, changes)?;
    let source = "from the word of one cluster's source to the map write on each node of the other, by their traces";
    let file = "the same from the writing of the manifest, which the source leaves alone for 20 ms after its last change";
    let from = [
        ("change_to_map_p50_ms", &delays.from_source, 0.5, source),
        ("change_to_map_p99_ms", &delays.from_source, 0.99, source),
        ("manifest_to_map_p50_ms", &delays.from_file, 0.5, file),
    ];
    for (metric, delays, share, note) in from {
        let line = Line::new(GROUP, metric, "ms").note(note);
        report.print(&line.quantile(delays, share))?;
    }
    Ok(())
}

/// The memory of a full sync at its height.
fn memory(loads: Loads<'_>, times: usize, report: Report) -> anyhow::Result<()> {
    let mut found = BTreeMap::new();
    for _ in 0..times {
        loads.measure("memory", (500, 500), &mut found)?;
    }
    let extra = found.remove("full_sync_extra_mib").unwrap_or_default();
    let note = "the most memory during a sync of 250,000 endpoints, less that before and what they take as they stand; both ends";
    let line = Line::new(GROUP, "full_sync_extra_mib", "MiB").note(note);
    report.print(&line.samples(&extra))
}

/// 250 peers, and changes of all of them.
fn peers(loads: Loads<'_>, report: Report) -> anyhow::Result<()> {
    let mut found = BTreeMap::new();
    loads.measure("peers", (20, 50), &mut found)?;
    let all_of = |line: Line| line.param("peers", 250).param("changes_per_s", 325);
    let delays = found.remove("change_to_view_ms").unwrap_or_default();
    for (metric, share) in [
        ("change_to_view_p50_ms", 0.5),
        ("change_to_view_p99_ms", 0.99),
    ] {
        let note = "1,000 endpoints of each peer, from a change to the other side's view";
        let line = all_of(Line::new(GROUP, metric, "ms")).note(note);
        report.print(&line.quantile(&delays, share))?;
    }
    let memory = found.remove("gateway_rss_mib").unwrap_or_default();
    let note =
        "what the 250 sessions, both ends of each, and the registry of the one that takes add";
    let line = all_of(Line::new(GROUP, "gateway_rss_mib", "MiB")).note(note);
    report.print(&line.samples(&memory))?;
    let cpus = found.remove("gateway_cpus").unwrap_or_default();
    let note = "CPUs busy while the changes are made, both ends of each session too";
    let line = all_of(Line::new(GROUP, "gateway_cpus", "CPU")).note(note);
    report.print(&line.samples(&cpus))
}

/// The most changes a second that are in time.
fn sustained(loads: Loads<'_>, report: Report) -> anyhow::Result<()> {
    let mut found = BTreeMap::new();
    for _ in 0..if loads.quick { 1 } else { 3 } {
        loads.measure("sustained", (100, 500), &mut found)?;
    }
    let rates = found.remove("sustained_changes_per_s").unwrap_or_default();
    let note = "the highest of fixed rates with a p99 from due to view under 50 ms, of 50,000 endpoints in turn";
    let line = Line::new(GROUP, "sustained_changes_per_s", "1/s").note(note);
    report.print(&line.samples(&rates))
}

/// Many subscribers of one publisher.
fn subscribers(loads: Loads<'_>, report: Report) -> anyhow::Result<()> {
    let mut found = BTreeMap::new();
    loads.measure("subscribers", (10, 10), &mut found)?;
    let delays = found.remove("fanout_ms").unwrap_or_default();
    let lost: f64 = found.remove("fanout_lost_sessions").iter().flatten().sum();
    let note = format!(
        "from a change to the last subscriber's news of it, all in one process; {lost} sessions fell silent and came back"
    );
    let line = Line::new(GROUP, "fanout_1000_p99_ms", "ms").param("subscribers", 1000);
    report.print(&line.quantile(&delays, 0.99).note(note))?;
    let bytes = found.remove("bytes_per_idle_session").unwrap_or_default();
    let note = "both ends of a session, the dialler's socket and certificates too, after a sync of 100 endpoints";
    let line = Line::new(GROUP, "bytes_per_idle_session", "B").param("sessions", 1000);
    report.print(&line.samples(&bytes).note(note))?;
    let cpus = found.remove("idle_sessions_cpus").unwrap_or_default();
    let note = "CPUs busy with both ends of all sessions while nothing changes";
    let line = Line::new(GROUP, "idle_sessions_cpus", "CPU").param("sessions", 1000);
    report.print(&line.samples(&cpus).note(note))
}

/// A session's start against that of a bare connection.
fn handshakes(loads: Loads<'_>, report: Report) -> anyhow::Result<()> {
    let mut found = BTreeMap::new();
    loads.measure("handshakes", (1, 1), &mut found)?;
    let ratios = found.remove("handshake_ratio").unwrap_or_default();
    let note = "starts a second of sessions, up to both sides' consent, by those of bare quinn connections with the same TLS; alternating";
    let line = Line::new(GROUP, "handshake_ratio", "ratio").note(note);
    report.print(&line.samples(&ratios))
}

/// How `load sync` is run.
#[derive(Clone, Copy)]
struct Loads<'a> {
    programs: &'a Path,
    /// Whether few repetitions suffice.
    quick: bool,
}

impl Loads<'_> {
    /// Runs it in a process of its own, and adds what it found.
    fn measure(
        self,
        what: &str,
        (services, backends): (u32, u32),
        found: &mut BTreeMap<String, Vec<f64>>,
    ) -> anyhow::Result<()> {
        let output = Command::new(self.programs.join("xtask"))
            .args(["load", "sync", what])
            .args(["--services", &services.to_string()])
            .args(["--backends", &backends.to_string()])
            .args(self.quick.then_some("--quick"))
            .output()
            .context("running the load")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let text = String::from_utf8(output.stdout).context("reading what the load found")?;
        for line in text.lines() {
            let (name, number) = line
                .split_once(' ')
                .context("a name and a number were expected")?;
            let number = number.parse().context("a number was expected")?;
            found.entry(name.to_owned()).or_default().push(number);
        }
        Ok(())
    }
}
