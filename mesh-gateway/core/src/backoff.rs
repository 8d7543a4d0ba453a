//! Decides when to dial next: exponentially later, with jitter, so that peers do not dial in step.

use std::time::{Duration, Instant};

/// How long a session must have been up to count as a success; two processes that replace each other's sessions back off.
const GOOD_SESSION: Duration = Duration::from_secs(1);

/// The delays between the starts of attempts.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
    random: u64,
}

impl Backoff {
    /// Delays that grow from `first` to `max`; the seed sets the jitter.
    pub fn new(first: Duration, max: Duration, seed: u64) -> Self {
        Self {
            first,
            max,
            failures: 0,
            random: seed,
        }
    }

    /// The delay before the next attempt: between half of and the whole of a bound that doubles with each call.
    pub fn next_delay(&mut self) -> Duration {
        let factor = 2u32.saturating_pow(self.failures.min(31));
        let bound = self.first.saturating_mul(factor).min(self.max);
        self.failures = self.failures.saturating_add(1);
        let half = bound / 2;
        half + half.mul_f64(self.next_fraction())
    }

    /// Begins anew, after an attempt that succeeded.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// When to dial next, after an attempt that began at `started`, and the session, if it came to one, at `up_since`.
    pub fn next_start(
        &mut self,
        started: Instant,
        up_since: Option<Instant>,
        now: Instant,
    ) -> Instant {
        let Some(since) = up_since else {
            return started + self.next_delay();
        };
        if now.saturating_duration_since(since) >= GOOD_SESSION {
            self.reset();
        }
        now + self.next_delay()
    }

    /// A number in `0.0..1.0` (`SplitMix64`, of which the upper half is used).
    fn next_fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let upper = u32::try_from(mixed >> 32).unwrap_or(u32::MAX);
        f64::from(upper) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(2);

    #[test]
    fn delays_double_up_to_the_maximum_and_stay_there() {
        let mut backoff = Backoff::new(FIRST, MAX, 1);
        let mut bound = FIRST;

        for _ in 0..100 {
            let delay = backoff.next_delay();
            assert!(
                delay >= bound / 2 && delay <= bound,
                "{delay:?} of {bound:?}"
            );
            bound = (bound * 2).min(MAX);
        }
    }

    #[test]
    fn success_makes_the_next_delay_short_again() {
        let mut backoff = Backoff::new(FIRST, MAX, 1);
        for _ in 0..10 {
            backoff.next_delay();
        }

        backoff.reset();

        assert!(backoff.next_delay() <= FIRST);
    }

    #[test]
    fn only_a_session_that_lasted_counts_as_success() {
        let now = Instant::now();
        let mut backoff = Backoff::new(FIRST, MAX, 1);
        for _ in 0..10 {
            backoff.next_start(now, None, now);
        }

        let after_a_short_one = backoff.next_start(now, Some(now), now + GOOD_SESSION / 2);
        assert!(after_a_short_one >= now + GOOD_SESSION / 2 + MAX / 2);

        let after_a_long_one = backoff.next_start(now, Some(now), now + GOOD_SESSION);
        assert!(after_a_long_one <= now + GOOD_SESSION + FIRST);
    }

    #[test]
    fn different_seeds_give_different_delays() {
        let delays = |seed| {
            let mut backoff = Backoff::new(FIRST, MAX, seed);
            [backoff.next_delay(), backoff.next_delay()]
        };

        assert_ne!(delays(1), delays(2));
        assert_eq!(delays(1), delays(1));
    }
}
