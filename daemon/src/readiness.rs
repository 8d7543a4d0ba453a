//! Whether a daemon may serve: only once every subsystem has dropped its guard, and no longer once it drains.
//!
//! Subsystems that forget their guard keep the daemon "not ready", so a mistake shows itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The readiness of one daemon; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// How many guards are held, by subsystem.
    pending: BTreeMap<&'static str, usize>,
    is_draining: bool,
}

/// Keeps the daemon "not ready" until it is dropped.
#[derive(Debug)]
#[must_use = "a dropped guard says that its subsystem is ready"]
pub struct ReadyGuard {
    subsystem: &'static str,
    state: Arc<Mutex<State>>,
}

impl Readiness {
    /// Ready at once, until somebody takes a guard.
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds readiness back on behalf of a subsystem.
    pub fn guard(&self, subsystem: &'static str) -> ReadyGuard {
        *lock(&self.state).pending.entry(subsystem).or_default() += 1;
        ReadyGuard {
            subsystem,
            state: Arc::clone(&self.state),
        }
    }

    /// Ends readiness for good: the daemon drains.
    pub fn drain(&self) {
        lock(&self.state).is_draining = true;
    }

    /// Whether the daemon may serve.
    pub fn is_ready(&self) -> bool {
        let state = lock(&self.state);
        state.pending.is_empty() && !state.is_draining
    }

    /// What it still waits for; "draining" when it shuts down.
    pub fn waiting_for(&self) -> Vec<&'static str> {
        let state = lock(&self.state);
        let mut reasons: Vec<&'static str> = state.pending.keys().copied().collect();
        if state.is_draining {
            reasons.push("draining");
        }
        reasons
    }
}

impl Drop for ReadyGuard {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if let Some(count) = state.pending.get_mut(self.subsystem) {
            *count -= 1;
            if *count == 0 {
                state.pending.remove(self.subsystem);
            }
        }
    }
}

/// Each change of the state is complete in itself, so what a panicked holder left behind is good.
fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_ready_once_the_last_guard_is_dropped() {
        let readiness = Readiness::new();
        let source = readiness.guard("source");
        let dns = readiness.guard("dns");

        assert_eq!(readiness.waiting_for(), ["dns", "source"]);
        drop(source);
        assert!(!readiness.is_ready());
        drop(dns);
        assert!(readiness.is_ready());
    }

    #[test]
    fn two_guards_of_one_subsystem_both_count() {
        let readiness = Readiness::new();
        let first = readiness.guard("listener");
        let second = readiness.guard("listener");

        drop(first);
        assert!(!readiness.is_ready());
        drop(second);
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_draining_daemon_is_never_ready_again() {
        let readiness = Readiness::new();

        readiness.drain();
        drop(readiness.guard("late"));

        assert!(!readiness.is_ready());
        assert_eq!(readiness.waiting_for(), ["draining"]);
    }
}
