//! Waits for a condition instead of for a time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(20);

/// Looks at a condition until it holds or the time is over; an error counts as "not yet" and is reported at the end.
pub fn wait_until(
    within: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    wait_for(within, what, || {
        condition().map(|holds| holds.then_some(()))
    })
}

/// The same for a value that appears.
pub fn wait_for<T>(
    within: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        let seen = look();
        if let Ok(Some(value)) = seen {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            let failure = anyhow!("not within {within:?}: {what}");
            return Err(match seen {
                Ok(_) => failure,
                Err(error) => error.context(failure),
            });
        }
        thread::sleep(STEP);
    }
}
