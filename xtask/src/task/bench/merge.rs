//! Group `merge`: what it costs to hold and merge what many clusters offer.

use std::{path::Path, process::Command};

use anyhow::{Context, bail};

use crate::task::bench::report::{Line, Report};

const GROUP: &str = "merge";

/// The endpoints of 250 clusters of 1,000 each, as few services with many endpoints and the other way round.
const LOADS: [Size; 2] = [
    Size {
        clusters: 250,
        services: 1000,
        backends: 1,
    },
    Size {
        clusters: 250,
        services: 100,
        backends: 10,
    },
];

#[derive(Clone, Copy)]
struct Size {
    clusters: u32,
    services: u32,
    backends: u32,
}

impl Size {
    fn endpoints(self) -> f64 {
        f64::from(self.clusters * self.services * self.backends)
    }

    fn line(self, metric: &'static str, unit: &'static str) -> Line {
        Line::new(GROUP, metric, unit)
            .param("clusters", self.clusters)
            .param("services", self.services)
            .param("backends", self.backends)
    }
}

/// Runs the group.
pub(crate) fn run(programs: &Path, report: Report, quick: bool) -> anyhow::Result<()> {
    let times = if quick { 3 } else { 9 };
    for size in LOADS {
        let seconds = often(programs, "load-seconds", size, times)?;
        report.print(
            &size
                .line("load_250k_seconds", "s")
                .samples(&seconds)
                .note("from the first imported resource to a view of all"),
        )?;
    }
    for backends in [10, 10_000] {
        let size = Size {
            clusters: 1,
            services: 1,
            backends,
        };
        let p99s: anyhow::Result<Vec<f64>> = (0..times)
            .map(|_| Ok(p99(measure(programs, "merge-one", size)?) / 1e3))
            .collect();
        report.print(
            &size
                .line("merge_one_p99_us", "us")
                .samples(&p99s?)
                .note("one endpoint's change to the view, of 5,000 changes"),
        )?;
    }
    for size in LOADS {
        let bytes = often(programs, "load-bytes", size, times.min(3))?;
        let each: Vec<f64> = bytes.iter().map(|b| b / size.endpoints()).collect();
        report.print(
            &size
                .line("bytes_per_endpoint", "B")
                .samples(&each)
                .note("resident memory of store, merge and view, services too"),
        )?;
    }
    let size = Size {
        clusters: 1,
        services: 100,
        backends: 10,
    };
    let growth = often(programs, "slow-watcher", size, times.min(3))?;
    report.print(
        &size
            .line("slow_watcher_growth_bytes", "B")
            .samples(&growth)
            .note("resident memory over 1,000,000 changes of 1,000 endpoints that nobody reads"),
    )
}

fn often(programs: &Path, what: &str, size: Size, times: usize) -> anyhow::Result<Vec<f64>> {
    let samples: anyhow::Result<Vec<Vec<f64>>> =
        (0..times).map(|_| measure(programs, what, size)).collect();
    Ok(samples?.concat())
}

/// Runs `load registry` in a process of its own.
fn measure(programs: &Path, what: &str, size: Size) -> anyhow::Result<Vec<f64>> {
    let output = Command::new(programs.join("xtask"))
        .args(["load", "registry", what])
        .args(["--clusters", &size.clusters.to_string()])
        .args(["--services", &size.services.to_string()])
        .args(["--backends", &size.backends.to_string()])
        .output()
        .context("running the load")?;
    if !output.status.success() {
        bail!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8(output.stdout).context("reading what the load found")?;
    text.lines()
        .map(|line| line.parse().context("a number was expected"))
        .collect()
}

fn p99(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    let at = samples.len() * 99 / 100;
    samples.get(at).copied().unwrap_or(f64::NAN)
}
