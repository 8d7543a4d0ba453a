//! One cut and its heal, under new connections at a fixed pace.

use std::{
    net::IpAddr,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use multicluster::{Direction, Lab};

use crate::task::{
    demo::outcome::{Cut, Outcome},
    load::Attempt,
};

/// The pod that calls.
pub(crate) const CLIENT: &str = "east/client";

/// The caller's cluster.
pub(crate) const HOME: &str = "east";

/// The cluster that is cut off.
pub(crate) const LOST: &str = "west";

/// When the cut and the heal come, and when the attempts end, from their start.
const CUT_AFTER: Duration = Duration::from_millis(1500);
const HEAL_AFTER: Duration = Duration::from_millis(4500);
const END_AFTER: Duration = Duration::from_millis(8500);

/// An address of a service in a cluster.
pub(crate) fn cluster_ip(
    lab: &Lab,
    cluster: &str,
    namespace: &str,
    name: &str,
    ipv6: bool,
) -> anyhow::Result<IpAddr> {
    let status = lab.gateway_status(cluster)?;
    let services = status["services"].as_array();
    let service = services
        .into_iter()
        .flatten()
        .find(|service| service["namespace"] == namespace && service["name"] == name)
        .with_context(|| {
            format!("{cluster}'s gateway does not know the service {namespace}/{name}")
        })?;
    let addresses = service["cluster_ips"].as_array();
    addresses
        .into_iter()
        .flatten()
        .filter_map(|address| address.as_str()?.parse().ok())
        .find(|address: &IpAddr| address.is_ipv6() == ipv6)
        .with_context(|| format!("{namespace}/{name} has no such address in {cluster}"))
}

/// Cuts `west` off silently and heals it, while the client opens new connections; `load` is this program.
pub(crate) fn one_cut(
    lab: &Lab,
    load: &Path,
    mut tell: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<Outcome> {
    let target = format!("{}:80", cluster_ip(lab, HOME, "shop", "web", false)?);
    let for_ms = END_AFTER.as_millis().to_string();
    let argv = ["load", "attempts", "--target", &target, "--for-ms", &for_ms];
    let argv = std::iter::once(load.as_os_str()).chain(argv.iter().map(AsRef::as_ref));
    let start = Instant::now();
    let attempts = lab.spawn(CLIENT, argv)?;
    sleep_until(start + CUT_AFTER);
    tell("cutting west off, silently")?;
    let cut_unix_ms = unix_ms();
    lab.cut(HOME, LOST, Direction::Both)?;
    sleep_until(start + HEAL_AFTER);
    tell("healing the cut")?;
    lab.heal(HOME, LOST, Direction::Both)?;
    let healed_unix_ms = unix_ms();
    let output = attempts.wait()?;
    ensure!(
        output.status.success(),
        "the client's load failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let attempts = parse(&output.stdout)?;
    ensure!(!attempts.is_empty(), "the client's load made no attempt");
    let cut = Cut {
        cut_unix_ms,
        healed_unix_ms,
    };
    Ok(Outcome::of(&attempts, cut, LOST))
}

fn parse(lines: &[u8]) -> anyhow::Result<Vec<Attempt>> {
    lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).context("reading the client's attempts"))
        .collect()
}

/// The script of a run has times, not conditions: it is what is measured.
fn sleep_until(at: Instant) {
    thread::sleep(at.saturating_duration_since(Instant::now()));
}

fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
