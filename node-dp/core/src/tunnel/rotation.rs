//! When a node's tunnel key gives way to a new one.
//!
//! A new key is announced some time before it is used, so that every peer takes a handshake with it by then.

use std::time::{Duration, Instant};

use cluster_registry::node::PublicKey;

/// How long a key is announced before it is used: its way to all nodes of all clusters takes well under a second, and
/// many times that where a gateway is just handed over.
pub const NOTICE: Duration = Duration::from_secs(10);

/// What the caller must now do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make a new key and announce it beside the old one.
    Announce,
    /// Use the announced key, and announce it alone.
    Switch,
}

/// The life of a node's key.
///
/// ```text
///          due, or asked for                 after the notice
///   InUse ───────────────────► Announced ─────────────────────► InUse (the new key)
/// ```
///
/// [`Self::handle_timeout`] gives a [`Step`] whenever the time of [`Self::poll_timeout`] has come.
#[derive(Debug)]
pub struct Rotation {
    lifetime: Option<Duration>,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    InUse { due: Option<Instant> },
    Announced { switch: Instant },
}

impl Rotation {
    /// For a key of some age; without a lifetime it is used until it is asked to go.
    pub fn new(lifetime: Option<Duration>, key: &PublicKey, age: Duration, now: Instant) -> Self {
        let due = lifetime.map(|lifetime| now + spread(lifetime, key).saturating_sub(age));
        Self {
            lifetime,
            state: State::InUse { due },
        }
    }

    /// A new key is wanted now; one that is announced already is the one.
    pub fn handle_request(&mut self, now: Instant) {
        match self.state {
            State::InUse { .. } => self.state = State::InUse { due: Some(now) },
            State::Announced { .. } => {}
        }
    }

    /// The new key could not be made or stored: it is tried again after a while.
    pub fn handle_failure(&mut self, now: Instant) {
        self.state = State::InUse {
            due: Some(now + NOTICE),
        };
    }

    /// The announced key is in use from now on.
    pub fn handle_switched(&mut self, key: &PublicKey, now: Instant) {
        let due = self.lifetime.map(|lifetime| now + spread(lifetime, key));
        self.state = State::InUse { due };
    }

    /// What is to be done; to be asked when [`Self::poll_timeout`] says.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Step> {
        match self.state {
            State::InUse { due: Some(due) } if due <= now => {
                let switch = now + NOTICE;
                self.state = State::Announced { switch };
                Some(Step::Announce)
            }
            State::Announced { switch } if switch <= now => Some(Step::Switch),
            State::InUse { .. } | State::Announced { .. } => None,
        }
    }

    /// When [`Self::handle_timeout`] must next be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::InUse { due } => due,
            State::Announced { switch } => Some(switch),
        }
    }
}

/// The lifetime less up to a tenth, by the key, so that nodes that began together do not shake hands together for ever.
fn spread(lifetime: Duration, key: &PublicKey) -> Duration {
    lifetime - lifetime / 10 * u32::from(key.0[0]) / 256
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn a_key_is_announced_when_it_is_old_and_used_after_the_notice() {
        let now = Instant::now();
        let mut rotation = Rotation::new(Some(DAY), &key(0), DAY / 4, now);
        let due = now + DAY * 3 / 4;

        assert_eq!(rotation.poll_timeout(), Some(due));
        assert_eq!(rotation.handle_timeout(due - NOTICE), None);
        assert_eq!(rotation.handle_timeout(due), Some(Step::Announce));
        assert_eq!(rotation.handle_timeout(due), None);
        assert_eq!(rotation.handle_timeout(due + NOTICE), Some(Step::Switch));

        rotation.handle_switched(&key(0), due + NOTICE);
        assert_eq!(rotation.poll_timeout(), Some(due + NOTICE + DAY));
    }

    #[test]
    fn a_key_that_is_older_than_its_lifetime_is_due_at_once() {
        let now = Instant::now();
        let mut rotation = Rotation::new(Some(DAY), &key(9), DAY * 400, now);

        assert_eq!(rotation.handle_timeout(now), Some(Step::Announce));
    }

    #[test]
    fn without_a_lifetime_a_key_goes_only_when_it_is_asked_to() {
        let now = Instant::now();
        let mut rotation = Rotation::new(None, &key(0), DAY, now);
        assert_eq!(rotation.poll_timeout(), None);

        rotation.handle_request(now);
        assert_eq!(rotation.handle_timeout(now), Some(Step::Announce));
        rotation.handle_request(now);
        assert_eq!(rotation.handle_timeout(now), None, "it is under way");

        rotation.handle_switched(&key(1), now + NOTICE);
        assert_eq!(rotation.poll_timeout(), None);
    }

    #[test]
    fn a_key_that_cannot_be_made_is_tried_again() {
        let now = Instant::now();
        let mut rotation = Rotation::new(None, &key(0), DAY, now);
        rotation.handle_request(now);
        rotation.handle_timeout(now);

        rotation.handle_failure(now);

        assert_eq!(rotation.handle_timeout(now), None);
        assert_eq!(rotation.handle_timeout(now + NOTICE), Some(Step::Announce));
    }

    #[test]
    fn keys_of_one_age_are_not_due_together() {
        let due: Vec<Duration> = [0, 100, 255].map(|n| spread(DAY, &key(n))).into();

        assert_eq!(due[0], DAY);
        assert!(due[1] < due[0] && due[2] < due[1] && due[2] > DAY * 9 / 10);
    }

    fn key(first: u8) -> PublicKey {
        let mut bytes = [7; 32];
        bytes[0] = first;
        PublicKey(bytes)
    }
}
