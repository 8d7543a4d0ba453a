//! Decides which of the gateway's replicas writes, from the Lease object and the time.
//!
//! A pure machine: [`Election::handle_lease`] for each reading of the object, and [`Election::handle_written`] when
//! what it decided was written. Clocks are not compared between machines: a lease is over when it was not seen to change
//! for its duration.

use std::time::{Duration, Instant};

/// How long others wait without hearing of the holder.
pub(super) const LEASE_DURATION: Duration = Duration::from_secs(15);

/// How often the holder says that it is there, and others look.
pub(super) const RENEW_INTERVAL: Duration = Duration::from_secs(5);

/// How long the holder writes without having said so: less than others wait, so that two never write at once.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// What the Lease object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Who holds it; empty when it was given back.
    pub(super) holder: String,
    /// How long it lasts without being renewed.
    pub(super) duration: Duration,
    /// When it was renewed, as the object says it.
    pub(super) renewed: String,
    /// How often it changed hands.
    pub(super) transitions: i32,
}

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// There is no lease: make it.
    Create,
    /// It is ours: say that we are there.
    Renew,
    /// It is over or given back: take it, and count this many transitions.
    Take(i32),
    /// Another holds it.
    Wait,
}

/// One replica's view of the election.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    /// What was seen last, and since when it looks like that.
    seen: Option<(Record, Instant)>,
    /// When what made us the holder, or said that we are there, was begun to be written.
    renewed: Option<Instant>,
}

impl Election {
    pub(super) fn new(identity: String) -> Self {
        Self {
            identity,
            seen: None,
            renewed: None,
        }
    }

    /// Takes what the Lease object says, `None` when there is none.
    pub(super) fn handle_lease(&mut self, record: Option<Record>, now: Instant) -> Decision {
        let Some(record) = record else {
            self.seen = None;
            self.renewed = None;
            return Decision::Create;
        };
        let since = match &self.seen {
            Some((seen, since)) if *seen == record => *since,
            Some(_) | None => now,
        };
        let is_over = record.holder.is_empty() || now >= since + record.duration;
        let decision = if record.holder == self.identity {
            Decision::Renew
        } else if is_over {
            self.renewed = None;
            Decision::Take(record.transitions.saturating_add(1))
        } else {
            self.renewed = None;
            Decision::Wait
        };
        self.seen = Some((record, since));
        decision
    }

    /// Takes that what was decided has been written, which began at a time.
    pub(super) fn handle_written(&mut self, began: Instant) {
        self.renewed = Some(began);
    }

    /// Until when this replica may write; `None` when it may not.
    pub(super) fn leads_until(&self, now: Instant) -> Option<Instant> {
        let until = self.renewed? + RENEW_DEADLINE;
        (now < until).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_finds_no_lease_makes_it_and_leads() {
        let now = Instant::now();
        let mut election = Election::new("a".to_owned());
        assert_eq!(election.handle_lease(None, now), Decision::Create);
        assert_eq!(election.leads_until(now), None);
        election.handle_written(now);
        assert!(election.leads_until(now).is_some());
    }

    #[test]
    fn a_lease_that_is_renewed_is_never_taken() {
        let mut now = Instant::now();
        let mut election = Election::new("b".to_owned());
        for renewal in 0..10 {
            let record = record("a", &renewal.to_string());
            assert_eq!(election.handle_lease(Some(record), now), Decision::Wait);
            now += LEASE_DURATION - Duration::from_millis(1);
        }
    }

    #[test]
    fn a_lease_that_stands_still_for_its_duration_is_taken() {
        let now = Instant::now();
        let mut election = Election::new("b".to_owned());
        let stale = || Some(record("a", "1"));
        assert_eq!(election.handle_lease(stale(), now), Decision::Wait);
        let later = now + LEASE_DURATION;
        assert_eq!(election.handle_lease(stale(), later), Decision::Take(4));
    }

    #[test]
    fn a_holder_whose_clock_is_wrong_keeps_its_lease() {
        let now = Instant::now();
        let mut election = Election::new("b".to_owned());
        let ancient = Some(record("a", "1970-01-01T00:00:00Z"));
        assert_eq!(election.handle_lease(ancient, now), Decision::Wait);
    }

    #[test]
    fn a_lease_that_was_given_back_is_taken_at_once() {
        let now = Instant::now();
        let mut election = Election::new("b".to_owned());
        let decision = election.handle_lease(Some(record("", "1")), now);
        assert_eq!(decision, Decision::Take(4));
    }

    #[test]
    fn a_holder_that_cannot_renew_stops_before_others_take_over() {
        let now = Instant::now();
        let mut election = Election::new("a".to_owned());
        assert_eq!(
            election.handle_lease(Some(record("a", "1")), now),
            Decision::Renew
        );
        election.handle_written(now);
        let until = election.leads_until(now).unwrap();
        assert!(until < now + LEASE_DURATION);
        assert_eq!(election.leads_until(until), None);
    }

    #[test]
    fn whoever_sees_another_holder_stops_at_once() {
        let now = Instant::now();
        let mut election = Election::new("a".to_owned());
        election.handle_lease(None, now);
        election.handle_written(now);
        election.handle_lease(Some(record("b", "2")), now);
        assert_eq!(election.leads_until(now), None);
    }

    fn record(holder: &str, renewed: &str) -> Record {
        Record {
            holder: holder.to_owned(),
            duration: LEASE_DURATION,
            renewed: renewed.to_owned(),
            transitions: 3,
        }
    }
}
