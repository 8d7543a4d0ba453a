//! Waits for a condition instead of for a time.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Generous: what is waited for comes within seconds, on a machine that has little else to do.
const DEADLINE: Duration = Duration::from_secs(60);

/// Looks until it is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        thread::yield_now();
    }
}
