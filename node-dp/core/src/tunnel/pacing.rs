//! When a peer that does not answer is called again, so that many silent ones together are called no more than so often.
//!
//! A handshake costs its initiator a tenth of a millisecond and each peer a datagram. One silent peer is tried every second,
//! as a healed path should be used at once; a thousand that are tried every second, say while another cluster is away, would
//! take a tenth of a processor for nothing.

use std::time::{Duration, Instant};

/// Until a peer that has not answered is called again, while few are silent.
///
/// The protocol's five seconds spare a busy responder; one second stays far below the 50 a second at which the kernel's
/// WireGuard begins to ignore a peer.
pub const RETRY: Duration = Duration::from_secs(1);

/// The least time between two repeated calls, whichever peers they are for: 100 a second.
pub const SPACING: Duration = Duration::from_millis(10);

/// Gives each repeated call a time of its own, in the order in which they are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pacing {
    /// The last time that was given.
    last: Option<Instant>,
}

impl Pacing {
    /// How long a peer waits that has just been called in vain once more.
    pub fn book(&mut self, now: Instant) -> Duration {
        let soonest = now + RETRY;
        let at = self
            .last
            .map_or(soonest, |last| soonest.max(last + SPACING));
        self.last = Some(at);
        at - now
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn one_silent_peer_is_called_every_second() {
        let calls = simulate(1, Duration::from_secs(90));

        assert_eq!(calls.len(), 90);
    }

    #[test]
    fn few_silent_peers_are_called_every_second_each() {
        let calls = simulate(50, Duration::from_secs(10));

        assert_eq!(calls.len(), 50 * 10);
    }

    #[test]
    fn a_thousand_silent_peers_are_called_a_hundred_times_a_second_in_all() {
        let calls = simulate(1000, Duration::from_secs(90));

        let mut by_second: BTreeMap<u64, usize> = BTreeMap::new();
        for (at, _) in &calls {
            *by_second.entry(at.as_secs()).or_default() += 1;
        }
        // The first calls are all due at once.
        by_second.remove(&0);
        assert!(by_second.values().all(|count| *count <= 101));
        assert!(calls.len() > 1000 + 88 * 100);
    }

    #[test]
    fn each_of_a_thousand_silent_peers_has_its_turn() {
        let calls = simulate(1000, Duration::from_secs(90));

        let mut latest: BTreeMap<usize, Duration> = BTreeMap::new();
        for (at, peer) in calls {
            let before = latest.insert(peer, at).unwrap_or_default();
            assert!(at - before <= Duration::from_secs(12), "{peer}: {at:?}");
        }
        assert_eq!(latest.len(), 1000);
    }

    #[test]
    fn what_was_long_ago_holds_up_nobody() {
        let start = Instant::now();
        let mut pacing = Pacing::default();
        for _ in 0..1000 {
            pacing.book(start);
        }

        let wait = pacing.book(start + Duration::from_secs(60));

        assert_eq!(wait, RETRY);
    }

    /// The calls of so many silent peers in so long, each with its time.
    fn simulate(peers: usize, limit: Duration) -> Vec<(Duration, usize)> {
        let start = Instant::now();
        let mut pacing = Pacing::default();
        let mut due: BTreeMap<(Duration, usize), ()> = BTreeMap::new();
        due.extend((0..peers).map(|peer| ((Duration::ZERO, peer), ())));
        let mut calls = Vec::new();
        while let Some(((at, peer), ())) = due.pop_first() {
            if at >= limit {
                break;
            }
            calls.push((at, peer));
            due.insert((at + pacing.book(start + at), peer), ());
        }
        calls
    }
}
