//! Many subscribers of one publisher: what an idle one takes, and how soon a change is with all.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::Context;
use cluster_registry::store::Cursor;
use mesh_link::event::{PeerEvent, Report, SessionId};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Found, Size,
    ends::{PATIENCE, Publisher, dialer},
    millis,
    world::World,
};
use crate::task::load::usage::{Busy, resident_bytes};

/// The subscribers.
const SUBSCRIBERS: usize = 1000;

/// How many of them dial at once, so that none is turned away.
const AT_ONCE: usize = 50;

/// How long they are left alone, but for heartbeats.
const IDLE: Duration = Duration::from_secs(3);

/// Changes, one after the other, also for a quick look.
const CHANGES: u32 = 100;
const QUICK_CHANGES: u32 = 50;

/// The time between two changes.
const PAUSE: Duration = Duration::from_millis(50);

/// What they take and how soon all of them have a change.
pub(super) async fn subscribers(size: Size) -> anyhow::Result<Found> {
    let world = World::create()?;
    let publisher = Publisher::start(&world, 0, size)?;
    let (events, reports) = mpsc::channel(4 * SUBSCRIBERS);
    let mut crowd = Crowd::new(reports);
    let newest = publisher.newest();
    let before = resident_bytes()?;
    for batch in 1..=SUBSCRIBERS / AT_ONCE {
        for _ in 0..AT_ONCE {
            let (cluster, address) = (&publisher.cluster, publisher.address);
            let dialer = dialer(&world, cluster, address, events.clone())?;
            tokio::spawn(dialer.run(CancellationToken::new()));
        }
        crowd.until(batch * AT_ONCE, newest).await?;
    }
    let each = (resident_bytes()? - before) / SUBSCRIBERS as f64;
    let busy = Busy::start()?;
    tokio::time::sleep(IDLE).await;
    let mut found = vec![
        ("bytes_per_idle_session", each),
        ("idle_sessions_cpus", busy.cpus()?),
    ];
    for number in 0..size.times(CHANGES, QUICK_CHANGES) {
        tokio::time::sleep(PAUSE).await;
        let started = Instant::now();
        let newest = publisher.change([number]).await?;
        crowd.until(SUBSCRIBERS, newest).await?;
        found.push(("fanout_ms", millis(started.elapsed())));
    }
    found.push(("fanout_lost_sessions", f64::from(crowd.lost)));
    Ok(found)
}

/// The sessions of all subscribers. One that ends is dialled anew: on a busy machine heartbeats may come too late.
struct Crowd {
    reports: mpsc::Receiver<Report>,
    /// How far each living session is.
    cursor_by_session: BTreeMap<SessionId, Cursor>,
    /// How many have ended.
    lost: u32,
}

impl Crowd {
    fn new(reports: mpsc::Receiver<Report>) -> Self {
        Self {
            reports,
            cursor_by_session: BTreeMap::new(),
            lost: 0,
        }
    }

    /// Waits until so many living sessions have told everything up to a position.
    async fn until(&mut self, count: usize, wanted: Cursor) -> anyhow::Result<()> {
        let cursors = self.cursor_by_session.iter();
        let have = cursors.filter(|(_, cursor)| **cursor == wanted);
        let mut have: BTreeSet<SessionId> = have.map(|(session, _)| *session).collect();
        let waited = timeout(PATIENCE, async {
            while have.len() < count {
                let Report { session, event, .. } =
                    self.reports.recv().await.context("the sessions are gone")?;
                self.take(session, &event);
                if self.cursor_by_session.get(&session) == Some(&wanted) {
                    have.insert(session);
                } else {
                    have.remove(&session);
                }
            }
            anyhow::Ok(())
        });
        waited.await.context("waiting for all subscribers")?
    }
    fn take(&mut self, session: SessionId, event: &PeerEvent) {
        if let PeerEvent::Progress(cursor) = event {
            self.cursor_by_session.insert(session, *cursor);
        } else if matches!(event, PeerEvent::Down { .. }) {
            self.cursor_by_session.remove(&session);
            self.lost += 1;
        }
    }
}
