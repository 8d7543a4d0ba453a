//! Changes at a fixed pace, whether the other side keeps up or not.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::time::interval;

use super::{
    Found, Size,
    ends::{Publisher, Subscriber},
    stamps::{Stamp, delays},
    world::World,
};
use crate::task::{
    bench::report::quantile,
    load::usage::{Busy, resident_bytes},
};

/// The changes a second that are tried, until one is not carried in time.
const RATES: [u32; 12] = [
    5_000, 10_000, 20_000, 30_000, 40_000, 60_000, 80_000, 120_000, 160_000, 240_000, 320_000,
    480_000,
];

/// How long each of them is tried.
const TRIAL: Duration = Duration::from_secs(2);

/// What 99 of 100 changes may take at a rate that counts as sustained.
const IN_TIME_MS: f64 = 50.0;

/// The time between two lots of changes.
const TICK: Duration = Duration::from_millis(1);

/// The peers of one gateway.
const PEERS: u32 = 250;

/// The changes a second of all peers together.
const PEERS_RATE: u32 = 325;

/// How many seconds these go on, also for a quick look.
const PEERS_SECONDS: u32 = 10;
const QUICK_PEERS_SECONDS: u32 = 5;

/// The most changes a second that one session carries in time.
pub(super) async fn sustained(size: Size) -> anyhow::Result<Found> {
    let world = World::create()?;
    let publisher = Publisher::start(&world, 0, size)?;
    let mut subscriber = Subscriber::new()?;
    subscriber.dial(&world, &publisher, publisher.address)?;
    subscriber.until(publisher.newest()).await?;
    let mut found = vec![("sustained_changes_per_s", 0.0)];
    let mut first = 0;
    for rate in RATES {
        let changes = tokio::spawn(change_at(publisher.clone(), rate, first));
        first += rate * u32::try_from(TRIAL.as_secs())?;
        let (sent, arrived) = subscriber.follow(changes).await?;
        let p99 = quantile(&delays(&sent, &arrived), 0.99).context("nothing has changed")?;
        if p99 >= IN_TIME_MS {
            break;
        }
        found = vec![
            ("sustained_changes_per_s", f64::from(rate)),
            ("sustained_p99_ms", p99),
        ];
    }
    Ok(found)
}

/// Many peers with changes of all: how long each is on its way, and the memory and CPU time that it takes.
pub(super) async fn peers(size: Size) -> anyhow::Result<Found> {
    let world = World::create()?;
    let publishers: Vec<Publisher> = (0..PEERS)
        .map(|number| Publisher::start(&world, number, size))
        .collect::<anyhow::Result<_>>()?;
    let before = resident_bytes()?;
    let mut subscriber = Subscriber::new()?;
    for publisher in &publishers {
        subscriber.dial(&world, publisher, publisher.address)?;
    }
    subscriber.until_all(&publishers).await?;
    let busy = Busy::start()?;
    let seconds = size.times(PEERS_SECONDS, QUICK_PEERS_SECONDS);
    let changes = tokio::spawn(change_in_turn(publishers, seconds));
    let (sent, arrived) = subscriber.follow(changes).await?;
    let cpus = busy.cpus()?;
    let took = delays(&sent, &arrived).into_iter();
    let mut found: Found = took.map(|ms| ("change_to_view_ms", ms)).collect();
    let mib = (resident_bytes()? - before) / f64::from(1 << 20);
    found.push(("gateway_rss_mib", mib));
    found.push(("gateway_cpus", cpus));
    Ok(found)
}

/// A lot of changes each tick, counted on from the first: no endpoint twice before all have had their turn.
async fn change_at(publisher: Publisher, rate: u32, first: u32) -> anyhow::Result<Vec<Stamp>> {
    let mut ticks = interval(TICK);
    let per_tick = rate / 1000;
    let mut sent = Vec::new();
    let mut before = publisher.newest().revision.0;
    for lot in 0..u32::try_from(TRIAL.as_millis())? {
        // When a tick is late, the change was due nevertheless.
        let at = ticks.tick().await.into_std();
        let start = first + lot * per_tick;
        let cursor = publisher.change(start..start + per_tick).await?;
        // What changes nothing would be carried at any rate.
        let made = cursor.revision.0 - before;
        ensure!(
            made == u64::from(per_tick),
            "{made} changes of {per_tick} were any"
        );
        before = cursor.revision.0;
        sent.push(Stamp {
            cluster: publisher.cluster.clone(),
            revision: cursor.revision,
            at,
        });
    }
    Ok(sent)
}

/// One change at a time, of one peer after the other.
async fn change_in_turn(publishers: Vec<Publisher>, seconds: u32) -> anyhow::Result<Vec<Stamp>> {
    let mut ticks = interval(Duration::from_secs(1) / PEERS_RATE);
    let count = PEERS_RATE * seconds;
    let mut sent = Vec::new();
    for (number, publisher) in (0..count).zip(publishers.iter().cycle()) {
        ticks.tick().await;
        // The timer is up to a millisecond late, which is no part of the way; at this rate nothing else is.
        let at = Instant::now();
        let cursor = publisher.change([number]).await?;
        sent.push(Stamp {
            cluster: publisher.cluster.clone(),
            revision: cursor.revision,
            at,
        });
    }
    Ok(sent)
}
