//! What it costs to sync one peer's state, over loopback and real QUIC, in a process of its own; prints a name and a number a
//! line.

mod crowd;
mod ends;
mod handshakes;
mod memory;
mod pace;
mod relay;
mod stamps;
mod world;

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::Context;
use cluster_registry::store::Epoch;

use ends::{Publisher, Subscriber};
use relay::Relay;
use world::World;

use super::usage::cpu_time;

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Measure {
    /// One peer: all that it has, one change at a time, and what a reconnect finds.
    Peer,
    /// What the first sync of one peer takes of memory at its height.
    Memory,
    /// The most changes a second that one peer's session carries in time.
    Sustained,
    /// As many peers as one gateway may have, with changes of all.
    Peers,
    /// As many subscribers as one gateway may have, idle and then with changes.
    Subscribers,
    /// The time of a session's start against that of a bare QUIC connection.
    Handshakes,
}

/// What the peer shares, and how often it is measured.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Size {
    /// Services.
    #[arg(long, default_value_t = 500)]
    services: u32,
    /// Endpoints of each.
    #[arg(long, default_value_t = 500)]
    backends: u32,
    /// Fewer repetitions of what takes long.
    #[arg(long)]
    quick: bool,
}

impl Size {
    /// So many repetitions, or fewer for a quick look.
    fn times(self, often: u32, quick: u32) -> u32 {
        if self.quick { quick } else { often }
    }
}

/// Changes whose way is measured one by one.
const CHANGES: u32 = 200;

/// Changes that a reconnect finds.
const MISSED: u32 = 100;

/// How many seconds the path is cut, also for a quick look.
const CUT_S: u32 = 10;
const QUICK_CUT_S: u32 = 2;

/// The time between two changes, in which the path falls silent.
const PAUSE: Duration = Duration::from_millis(7);

/// Measures, and prints what it found.
pub(crate) fn run(measure: Measure, size: Size) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let found = match measure {
        Measure::Peer => runtime.block_on(peer(size)),
        Measure::Memory => runtime.block_on(memory::extra(size)),
        Measure::Sustained => runtime.block_on(pace::sustained(size)),
        Measure::Peers => runtime.block_on(pace::peers(size)),
        Measure::Subscribers => runtime.block_on(crowd::subscribers(size)),
        Measure::Handshakes => runtime.block_on(handshakes::ratios(size)),
    }?;
    let mut out = std::io::stdout().lock();
    for (name, number) in found {
        writeln!(out, "{name} {number}").context("printing")?;
    }
    Ok(())
}

/// A name and a number each.
type Found = Vec<(&'static str, f64)>;

async fn peer(size: Size) -> anyhow::Result<Found> {
    let endpoints = f64::from(size.services) * f64::from(size.backends);
    let world = World::create()?;
    let publisher = Publisher::start(&world, 0, size)?;
    let relay = Relay::start(publisher.address).await?;
    let (started, busy) = (Instant::now(), cpu_time()?);
    let mut subscriber = Subscriber::new()?;
    subscriber.dial(&world, &publisher, relay.address)?;
    subscriber.until(publisher.newest()).await?;
    let mut found = vec![
        ("full_sync_seconds", started.elapsed().as_secs_f64()),
        ("full_sync_cpu_seconds", (cpu_time()? - busy).as_secs_f64()),
        ("wire_bytes_per_endpoint", relay.bytes() / endpoints),
    ];
    for number in 0..CHANGES {
        tokio::time::sleep(PAUSE).await;
        let before = relay.bytes();
        let started = Instant::now();
        let newest = publisher.change([number]).await?;
        subscriber.until(newest).await?;
        found.push(("change_to_view_ms", millis(started.elapsed())));
        found.push(("wire_bytes_one_change", relay.bytes() - before));
    }
    found.extend(resume(&publisher, &mut subscriber, &relay, size).await?);
    found.extend(resync(&publisher, &mut subscriber, &relay).await?);
    Ok(found)
}

/// Some of the state changes while the path is cut, and the path heals.
async fn resume(
    publisher: &Publisher,
    subscriber: &mut Subscriber,
    relay: &Relay,
    size: Size,
) -> anyhow::Result<Found> {
    relay.cut();
    let healed_at = Instant::now() + Duration::from_secs(size.times(CUT_S, QUICK_CUT_S).into());
    let newest = publisher.change(CHANGES..CHANGES + MISSED).await?;
    tokio::time::sleep_until(healed_at.into()).await;
    let before = relay.bytes();
    relay.heal();
    let started = Instant::now();
    subscriber.until(newest).await?;
    Ok(vec![
        ("resume_ms", millis(started.elapsed())),
        ("resume_bytes", relay.bytes() - before),
    ])
}

/// The publisher begins a new life in which some of its state has changed, and the session comes back.
async fn resync(
    publisher: &Publisher,
    subscriber: &mut Subscriber,
    relay: &Relay,
) -> anyhow::Result<Found> {
    let missed = CHANGES + 2 * MISSED;
    let newest = publisher.restart(Epoch(2), missed).await?;
    let before = relay.bytes();
    let (started, busy) = (Instant::now(), cpu_time()?);
    subscriber.close();
    subscriber.until(newest).await?;
    Ok(vec![
        ("epoch_resync_ms", millis(started.elapsed())),
        ("epoch_resync_cpu_ms", millis(cpu_time()? - busy)),
        ("epoch_resync_bytes", relay.bytes() - before),
    ])
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
