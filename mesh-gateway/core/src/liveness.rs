//! Decides whether a peer is alive from what is heard of it, and measures the round trip with the same heartbeats.
//!
//! Silence, not an error, is how a remote cluster usually fails. Anything heard counts as a sign of life; heartbeats
//! only make sure that there is something to hear.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How many of the newest heartbeats' send times are kept for measuring: more than fit into any detection time in use.
const MAX_UNANSWERED: usize = 32;

/// How often the round trip is told.
const RTT_INTERVAL: Duration = Duration::from_secs(1);

/// The weight of a new sample in the smoothed round trip is one in this many (RFC 6298, section 2).
const RTT_SMOOTHING: u32 = 8;

/// What the peer's newest heartbeat was, for the next of ours to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// Its number.
    pub seq: u64,
    /// How long it has waited for the answer.
    pub delay: Duration,
}

/// What the caller must now do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Send a heartbeat.
    SendHeartbeat {
        /// Its number.
        seq: u64,
        /// The peer's heartbeat that it answers, if there is one.
        echo: Option<Echo>,
    },
    /// The smoothed round trip is this.
    Rtt(Duration),
    /// The peer has been silent for the detection time.
    Silent,
}

/// The liveness of one peer: heartbeats go out from the start, and silence counts from [`Self::watch`].
///
/// [`Self::handle_timeout`] may produce `SendHeartbeat` and `Silent` (once), [`Self::handle_heartbeat`] may produce `Rtt`.
#[derive(Debug)]
pub struct Liveness {
    interval: Duration,
    detection: Duration,
    next_send: Instant,
    next_seq: u64,
    /// `None` before the watch begins and once the peer was declared silent.
    expires: Option<Instant>,
    unanswered: VecDeque<(u64, Instant)>,
    newest_heard: Option<(u64, Instant)>,
    rtt: Option<Duration>,
    next_rtt: Instant,
    outputs: VecDeque<Output>,
}

impl Liveness {
    /// A peer that need not say anything yet; heartbeats to it are sent at this interval.
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            detection: Duration::MAX,
            next_send: now,
            next_seq: 1,
            expires: None,
            unanswered: VecDeque::new(),
            newest_heard: None,
            rtt: None,
            next_rtt: now,
            outputs: VecDeque::new(),
        }
    }

    /// From now on the peer may not be silent for this long.
    pub fn watch(&mut self, detection: Duration, now: Instant) {
        self.detection = detection;
        self.expires = Some(now + detection);
    }

    /// Anything came from the peer.
    pub fn handle_sign_of_life(&mut self, now: Instant) {
        if self.expires.is_some() {
            self.expires = Some(now + self.detection);
        }
    }

    /// A heartbeat came from the peer.
    pub fn handle_heartbeat(&mut self, seq: u64, echo: Option<Echo>, now: Instant) {
        self.handle_sign_of_life(now);
        if self.newest_heard.is_none_or(|(newest, _)| newest < seq) {
            self.newest_heard = Some((seq, now));
        }
        if let Some(echo) = echo {
            self.measure(echo, now);
        }
    }

    /// The time has come that [`Self::poll_timeout`] named.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_send <= now {
            self.forgive_own_stall(now);
            self.next_send = now + self.interval;
            self.send(now);
        }
        if self.expires.is_some_and(|at| at <= now) {
            self.expires = None;
            self.outputs.push_back(Output::Silent);
        }
    }

    /// When [`Self::handle_timeout`] must next be called.
    pub fn poll_timeout(&self) -> Instant {
        self.expires
            .map_or(self.next_send, |at| at.min(self.next_send))
    }

    /// What the caller must now do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A process that was not scheduled for an interval cannot tell its own silence from the peer's: what the peer sent
    /// meanwhile has yet to be read, so the time of the stall does not count against it. Nor does it count for it: where
    /// something was read since, the peer has no more time than after any sign of life.
    fn forgive_own_stall(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.next_send);
        if late >= self.interval {
            self.expires = self.expires.map(|at| (at + late).min(now + self.detection));
        }
    }

    fn send(&mut self, now: Instant) {
        let seq = self.next_seq;
        self.next_seq += 1;
        if self.unanswered.len() == MAX_UNANSWERED {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back((seq, now));
        let echo = self.newest_heard.map(|(seq, at)| Echo {
            seq,
            delay: now.saturating_duration_since(at),
        });
        self.outputs.push_back(Output::SendHeartbeat { seq, echo });
    }

    /// A repeated echo measures nothing new, so answered heartbeats are forgotten with all before them.
    fn measure(&mut self, echo: Echo, now: Instant) {
        let Some(at) = self.unanswered.iter().position(|(seq, _)| *seq == echo.seq) else {
            return;
        };
        let Some((_, sent)) = self.unanswered.drain(..=at).next_back() else {
            return;
        };
        let elapsed = now.saturating_duration_since(sent);
        let sample = elapsed.saturating_sub(echo.delay);
        let rtt = match self.rtt {
            None => sample,
            Some(rtt) => (rtt * (RTT_SMOOTHING - 1) + sample) / RTT_SMOOTHING,
        };
        self.rtt = Some(rtt);
        if self.next_rtt <= now {
            self.next_rtt = now + RTT_INTERVAL;
            self.outputs.push_back(Output::Rtt(rtt));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_peer_is_declared_so_after_the_detection_time_and_once() {
        let start = Instant::now();
        let mut liveness = watched(start);
        liveness.handle_sign_of_life(start + INTERVAL / 2);

        let outputs = run_until(&mut liveness, start + INTERVAL * 100);

        let silences: Vec<Instant> = outputs
            .iter()
            .filter(|(_, o)| *o == Output::Silent)
            .map(|(at, _)| *at)
            .collect();
        assert_eq!(silences, [start + INTERVAL / 2 + DETECTION]);
    }

    #[test]
    fn anything_heard_keeps_a_peer_alive() {
        let start = Instant::now();
        let mut liveness = watched(start);

        for step in 1..100 {
            let now = start + DETECTION * step / 2;
            let outputs = run_until(&mut liveness, now);
            assert!(outputs.iter().all(|(_, o)| *o != Output::Silent));
            liveness.handle_sign_of_life(now);
        }
    }

    #[test]
    fn a_stall_of_this_process_is_not_held_against_the_peer() {
        let start = Instant::now();
        let mut liveness = watched(start);
        run_until(&mut liveness, start);
        let woken = start + DETECTION * 2;

        liveness.handle_timeout(woken);
        let on_waking: Vec<Output> = std::iter::from_fn(|| liveness.poll_output()).collect();
        let later = run_until(&mut liveness, woken + DETECTION);

        assert!(!on_waking.contains(&Output::Silent));
        assert!(later.iter().any(|(_, o)| *o == Output::Silent));
    }

    #[test]
    fn a_dead_peer_whose_last_words_were_read_after_a_stall_does_not_live_on_for_as_long_as_the_stall()
     {
        let start = Instant::now();
        let mut liveness = watched(start);
        run_until(&mut liveness, start);
        let woken = start + DETECTION * 100;

        liveness.handle_sign_of_life(woken);
        liveness.handle_timeout(woken);
        let outputs = run_until(&mut liveness, woken + DETECTION);

        let silence = outputs.iter().find(|(_, o)| *o == Output::Silent);
        assert_eq!(silence, Some(&(woken + DETECTION, Output::Silent)));
    }

    #[test]
    fn the_round_trip_leaves_out_the_time_that_the_peer_waited() {
        let start = Instant::now();
        let mut liveness = watched(start);
        liveness.handle_timeout(start);
        assert!(matches!(
            liveness.poll_output(),
            Some(Output::SendHeartbeat { seq: 1, echo: None })
        ));

        let echo = Echo {
            seq: 1,
            delay: Duration::from_millis(70),
        };
        liveness.handle_heartbeat(1, Some(echo), start + Duration::from_millis(90));

        let expected = Output::Rtt(Duration::from_millis(20));
        assert_eq!(liveness.poll_output(), Some(expected));
    }

    #[test]
    fn an_echo_of_what_was_never_sent_measures_nothing() {
        let start = Instant::now();
        let mut liveness = watched(start);

        let echo = Echo {
            seq: 99,
            delay: Duration::MAX,
        };
        liveness.handle_heartbeat(u64::MAX, Some(echo), start);

        assert_eq!(liveness.poll_output(), None);
    }

    #[test]
    fn a_heartbeat_answers_the_newest_one_heard() {
        let start = Instant::now();
        let mut liveness = watched(start);
        liveness.handle_heartbeat(7, None, start);
        liveness.handle_heartbeat(6, None, start);

        liveness.handle_timeout(start + Duration::from_millis(5));

        let echo = Some(Echo {
            seq: 7,
            delay: Duration::from_millis(5),
        });
        let expected = Output::SendHeartbeat { seq: 1, echo };
        assert_eq!(liveness.poll_output(), Some(expected));
    }

    const INTERVAL: Duration = Duration::from_millis(100);
    const DETECTION: Duration = Duration::from_millis(300);

    fn watched(now: Instant) -> Liveness {
        let mut liveness = Liveness::new(INTERVAL, now);
        liveness.watch(DETECTION, now);
        liveness
    }

    /// Jumps from deadline to deadline, as a driver would, without sleeping.
    fn run_until(liveness: &mut Liveness, end: Instant) -> Vec<(Instant, Output)> {
        let mut outputs = Vec::new();
        while liveness.poll_timeout() <= end {
            let now = liveness.poll_timeout();
            liveness.handle_timeout(now);
            outputs.extend(std::iter::from_fn(|| liveness.poll_output()).map(|o| (now, o)));
        }
        outputs
    }
}
