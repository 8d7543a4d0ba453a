//! The clock of one gateway: runs a little fast or slow against the world's, and jumps when its machine was suspended.

use std::time::{Duration, Instant};

const MILLION: u128 = 1_000_000;

/// A gateway's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    base: Instant,
    /// Millionths of a second that pass on it in a second of the world.
    rate: u32,
    jumped: Duration,
}

impl Clock {
    /// A clock that begins with the world.
    pub(crate) fn new(base: Instant, rate: u32) -> Self {
        Self {
            base,
            rate,
            jumped: Duration::ZERO,
        }
    }

    /// What it shows at a time of the world.
    pub(crate) fn at(&self, world: Duration) -> Instant {
        self.base + self.jumped + scale(world, u128::from(self.rate), MILLION)
    }

    /// When in the world it shows this or more.
    pub(crate) fn when(&self, shown: Instant) -> Duration {
        let run = shown.saturating_duration_since(self.base + self.jumped);
        let mut world = scale(run, MILLION, u128::from(self.rate));
        while self.at(world) < shown {
            world += Duration::from_nanos(1);
        }
        world
    }

    /// Its machine was suspended for a time that the world did not take.
    pub(crate) fn jump(&mut self, by: Duration) {
        self.jumped += by;
    }
}

fn scale(time: Duration, times: u128, by: u128) -> Duration {
    let scaled = time.as_nanos() * times / by;
    Duration::from_nanos(u64::try_from(scaled).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_that_jumped_shows_more_than_the_world() {
        let base = Instant::now();
        let mut clock = Clock::new(base, 1_100_000);
        clock.jump(Duration::from_secs(5));

        assert_eq!(
            clock.at(Duration::from_secs(10)),
            base + Duration::from_secs(16)
        );
        let world = clock.when(base + Duration::from_nanos(7_000_000_001));
        assert!(clock.at(world) >= base + Duration::from_nanos(7_000_000_001));
        assert!(
            clock.at(world - Duration::from_nanos(1)) < base + Duration::from_nanos(7_000_000_001)
        );
    }
}
