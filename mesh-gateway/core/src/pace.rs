//! How fast a peer may say what it has: beyond it, its streams of state are left unread for a while.
//!
//! A peer that is not read is held up by the transport's flow control; an honest one conflates meanwhile what it has to say, so
//! that nothing is lost and what it says next is newer. Other peers are read as before.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

/// How many updates are taken from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceLimit {
    /// In a second, in the long run.
    pub per_second: NonZeroU32,
    /// At once, after a time in which it said little: all that it may share, so that no snapshot is held up.
    pub burst: u32,
}

impl PaceLimit {
    fn time_of(self, updates: u32) -> Duration {
        Duration::from_secs(1) * updates / self.per_second.get()
    }
}

/// Whether a peer is read (the generic cell rate algorithm).
#[derive(Debug)]
pub(crate) struct Pace {
    limit: PaceLimit,
    /// When all that it has said would have been said at the pace that is allowed.
    paid_until: Option<Instant>,
    /// Until when it is not read.
    halted_until: Option<Instant>,
    is_slowed: bool,
}

impl Pace {
    pub(crate) fn new(limit: PaceLimit) -> Self {
        Self {
            limit,
            paid_until: None,
            halted_until: None,
            is_slowed: false,
        }
    }

    /// Takes that it said some updates; says whether it has become too fast by that.
    pub(crate) fn take(&mut self, updates: u32, now: Instant) -> bool {
        let since = self.paid_until.map_or(now, |paid| paid.max(now));
        let paid = since + self.limit.time_of(updates);
        self.paid_until = Some(paid);
        let ahead = paid.saturating_duration_since(now);
        let Some(too_far) = ahead.checked_sub(self.limit.time_of(self.limit.burst)) else {
            return false;
        };
        if !too_far.is_zero() {
            self.halted_until = Some(now + too_far);
        }
        !too_far.is_zero() && !std::mem::replace(&mut self.is_slowed, true)
    }

    /// The time has come that [`Self::poll_timeout`] named; says whether it has been slow enough again for long enough.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        self.halted_until = self.halted_until.filter(|until| *until > now);
        let is_paid = self.paid_until.is_none_or(|paid| paid <= now);
        is_paid && std::mem::take(&mut self.is_slowed)
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted_until.is_some()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let paid = self.paid_until.filter(|_| self.is_slowed);
        self.halted_until.or(paid)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(per_second: u32, burst: u32) -> Pace {
        Pace::new(PaceLimit {
            per_second: NonZeroU32::new(per_second).unwrap(),
            burst,
        })
    }

    #[test]
    fn a_burst_passes_and_what_is_beyond_it_waits_its_time() {
        let now = Instant::now();
        let mut pace = pace(100, 500);

        assert!(!pace.take(500, now));
        assert!(!pace.is_halted());
        assert!(pace.take(50, now), "it has become too fast");

        assert!(pace.is_halted());
        assert_eq!(pace.poll_timeout(), Some(now + Duration::from_millis(500)));
        assert!(!pace.handle_timeout(now + Duration::from_millis(499)));
        assert!(pace.is_halted());
        assert!(!pace.handle_timeout(now + Duration::from_millis(500)));
        assert!(!pace.is_halted());
        // Said once, until all that it said is paid for.
        assert!(!pace.take(50, now + Duration::from_millis(500)));
        assert!(pace.handle_timeout(now + Duration::from_secs(6)));
        assert_eq!(pace.poll_timeout(), None);
    }

    proptest! {
        /// Whatever a peer says, in no time more is taken than the burst and that time's share, and one frame.
        #[test]
        fn no_more_is_taken_than_the_limit_allows(
            steps in prop::collection::vec((0..200u64, 1..400u32), 1..200),
            per_second in 1..2_000u32,
            burst in 0..1_000u32,
        ) {
            let begin = Instant::now();
            let (mut now, mut taken) = (begin, 0u64);
            let mut pace = pace(per_second, burst);
            for (pause, updates) in steps {
                now += Duration::from_millis(pause);
                pace.handle_timeout(now);
                if pace.is_halted() {
                    prop_assert!(pace.poll_timeout() > Some(now));
                    continue;
                }
                pace.take(updates, now);
                taken += u64::from(updates);
                let passed = (now - begin).as_secs_f64();
                let allowed = f64::from(burst) + passed * f64::from(per_second) + 400.0;
                prop_assert!(taken as f64 <= allowed + 1.0, "{} of {}", taken, allowed);
            }
        }
    }
}
