//! What this process takes of the machine: memory and CPU time.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Context;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};

/// The memory of this process that is its own (`RssAnon`), in bytes.
pub(super) fn resident_bytes() -> anyhow::Result<f64> {
    status("RssAnon")
}

/// All memory that this process has (`VmRSS`), in bytes.
pub(super) fn total_resident_bytes() -> anyhow::Result<f64> {
    status("VmRSS")
}

/// The most memory that this process has had since the last [`reset_peak`] (`VmHWM`), in bytes.
pub(super) fn peak_bytes() -> anyhow::Result<f64> {
    status("VmHWM")
}

/// Lets the most memory count from now on.
pub(super) fn reset_peak() -> anyhow::Result<()> {
    fs::write("/proc/self/clear_refs", "5").context("writing /proc/self/clear_refs")
}

fn status(field: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = kib.with_context(|| format!("the kernel says no {field}"))?;
    let kib: f64 = kib.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0)
}

/// The CPU time that this process has had, its own and the kernel's for it.
pub(super) fn cpu_time() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("reading the CPU time")?;
    let us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(us.try_into()?))
}

/// How many CPUs this process keeps busy, from when it is made.
pub(super) struct Busy {
    since: Instant,
    before: Duration,
}

impl Busy {
    pub(super) fn start() -> anyhow::Result<Self> {
        Ok(Self {
            since: Instant::now(),
            before: cpu_time()?,
        })
    }

    /// The CPU time by the time that has passed: 1 is one CPU all along.
    pub(super) fn cpus(&self) -> anyhow::Result<f64> {
        let took = self.since.elapsed();
        Ok((cpu_time()? - self.before).div_duration_f64(took))
    }
}
