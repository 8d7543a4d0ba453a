//! Group `sync`: what it costs to tell one peer everything, one change, and what it missed.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context, bail};

use crate::task::bench::report::{Line, Report};

const GROUP: &str = "sync";

/// What needs more than two processes of one machine's loopback, with the reason that is printed for it.
const ELSEWHERE: [(&str, &str, &str); 7] = [
    ("change_to_map_p50_ms", "ms", NEEDS_NODE),
    ("change_to_map_p99_ms", "ms", NEEDS_NODE),
    ("sustained_changes_per_s", "1/s", NOT_HERE),
    ("fanout_1000_p99_ms", "ms", NOT_HERE),
    ("bytes_per_idle_session", "B", NOT_HERE),
    ("handshake_ratio", "ratio", NOT_HERE),
    ("gateway_rss_mib", "MiB", NOT_HERE),
];

const NEEDS_NODE: &str = "not run: this bench has no node whose maps a change would reach";

const NOT_HERE: &str = "not run: this bench has one peer and one session";

/// Runs the group.
pub(crate) fn run(programs: &Path, report: Report, quick: bool) -> anyhow::Result<()> {
    let times = if quick { 1 } else { 5 };
    let mut large = BTreeMap::new();
    for _ in 0..times {
        measure(programs, 500, 500, &mut large)?;
    }
    let print = |metric, unit, name: &str, note: &str| {
        let samples = large.get(name).map(Vec::as_slice).unwrap_or_default();
        report.print(&Line::new(GROUP, metric, unit).samples(samples).note(note))
    };
    let sync = "250,000 endpoints, from dialling to a view of all, through a relay that counts";
    print("full_sync_250k_seconds", "s", "full_sync_seconds", sync)?;
    let wire = "all that UDP carries to the subscriber in that time";
    print(
        "wire_bytes_per_endpoint",
        "B",
        "wire_bytes_per_endpoint",
        wire,
    )?;
    let resume = "100 changes among 250,000 endpoints missed, from the session's end";
    print("resume_ms", "ms", "resume_ms", resume)?;
    print("resume_bytes", "B", "resume_bytes", resume)?;
    let epoch = "the same after the publisher's restart";
    print("epoch_resync_ms", "ms", "epoch_resync_ms", epoch)?;
    print("epoch_resync_bytes", "B", "epoch_resync_bytes", epoch)?;
    for (metric, share) in [
        ("change_to_view_p50_ms", 0.5),
        ("change_to_view_p99_ms", 0.99),
    ] {
        let mut samples = large.get("change_to_view_ms").cloned().unwrap_or_default();
        samples.sort_by(f64::total_cmp);
        let at = ((samples.len().saturating_sub(1)) as f64 * share).round() as usize;
        let found: Vec<f64> = samples.get(at).copied().into_iter().collect();
        let note = "one peer, one change at a time, from the store to the other side's view";
        report.print(&Line::new(GROUP, metric, "ms").samples(&found).note(note))?;
    }
    for backends in [10, 5000] {
        let mut found = BTreeMap::new();
        measure(programs, 2, backends, &mut found)?;
        let samples = found.remove("wire_bytes_one_change").unwrap_or_default();
        let line = Line::new(GROUP, "wire_bytes_one_change", "B").param("backends", backends);
        let note = "all that UDP carries to the subscriber, acknowledgements too";
        report.print(&line.samples(&samples).note(note))?;
    }
    for (metric, unit, reason) in ELSEWHERE {
        report.print(&Line::new(GROUP, metric, unit).note(reason))?;
    }
    Ok(())
}

/// Runs `load sync` in a process of its own, and adds what it found.
fn measure(
    programs: &Path,
    services: u32,
    backends: u32,
    found: &mut BTreeMap<String, Vec<f64>>,
) -> anyhow::Result<()> {
    let output = Command::new(programs.join("xtask"))
        .args(["load", "sync"])
        .args(["--services", &services.to_string()])
        .args(["--backends", &backends.to_string()])
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
