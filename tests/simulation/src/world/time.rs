//! What happens next, and what the gateways do then of their own accord.

use std::time::Duration;

use super::World;
use crate::{connection::Connection, drive::Drive, gateway::Fact};

impl World {
    /// When something happens next.
    pub(super) fn next_time(&self) -> Option<Duration> {
        let mut times: Vec<Duration> = self.starts.values().map(|(at, _)| *at).collect();
        times.extend(self.announces.values());
        for (number, gateway) in self.gateways.iter().enumerate() {
            if !gateway.is_running {
                continue;
            }
            let dialers = gateway.peers.values().flat_map(|p| p.dialers.values());
            let dials = dialers.filter_map(|dialer| dialer.next);
            let timers = dials
                .chain(gateway.next_expiry())
                .map(|at| gateway.clock.when(at));
            let word = self.words[number].front().map(|word| word.at);
            let own = timers.chain(gateway.work_at).chain(word).min();
            times.extend(own.map(|at| at.max(gateway.busy_until)));
        }
        for connection in self.connections.values() {
            if let Some((at, _)) = connection.handshake {
                times.push(at);
                continue;
            }
            for (number, end) in connection
                .ends
                .iter()
                .enumerate()
                .filter(|(_, e)| !e.is_over)
            {
                let gateway = &self.gateways[end.gateway];
                let timeout = end
                    .drive
                    .as_ref()
                    .and_then(|drive| drive.session.poll_timeout());
                let timeout = timeout.map(|at| gateway.clock.when(at));
                let answer = end.drive.as_ref().and_then(Drive::answer_at);
                let next = connection
                    .next_arrival(number)
                    .into_iter()
                    .chain(timeout)
                    .chain(answer)
                    .min();
                times.extend(next.map(|at| at.max(gateway.busy_until)));
            }
        }
        times.into_iter().min()
    }

    /// Does everything that is due.
    pub(super) fn advance(&mut self) {
        let is_due = |at: Duration, now: Duration| at <= now;
        let starts: Vec<usize> = self
            .starts
            .iter()
            .filter(|(_, s)| is_due(s.0, self.now))
            .map(|(g, _)| *g)
            .collect();
        for number in starts {
            if let Some((_, remains)) = self.starts.remove(&number) {
                self.start(number, remains);
            }
        }
        let announces: Vec<usize> = self
            .announces
            .iter()
            .filter(|(_, at)| is_due(**at, self.now))
            .map(|(g, _)| *g)
            .collect();
        for number in announces {
            self.announces.remove(&number);
            self.announce(number);
        }
        for number in 0..self.gateways.len() {
            let gateway = &self.gateways[number];
            if gateway.is_running && gateway.busy_until <= self.now {
                self.advance_gateway(number);
            }
        }
        let connections: Vec<u64> = self.connections.keys().copied().collect();
        for id in connections {
            self.advance_connection(id);
        }
        self.look_around();
        if self.connections.values().any(Connection::is_dead) {
            self.connections
                .retain(|_, connection| !connection.is_dead());
        }
    }

    fn advance_gateway(&mut self, number: usize) {
        let now = self.clock(number);
        let expired = self.gateways[number].expire(now);
        for name in &expired {
            self.note_facts(number, name, vec![Fact::Dropped]);
        }
        self.check_expiry(number, &expired);
        self.hear(number);
        if self.gateways[number]
            .work_at
            .is_some_and(|at| at <= self.now)
        {
            self.gateways[number].work_at = None;
            self.work(number);
            self.publish(number);
        }
        self.obey(number);
        let peers = self.gateways[number].peers.values();
        let dialers = peers.flat_map(|peer| &peer.dialers);
        let due = dialers.filter(|(_, dialer)| dialer.next.is_some_and(|at| at <= now));
        let due: Vec<usize> = due.map(|(listener, _)| *listener).collect();
        for listener in due {
            self.dial(number, listener);
        }
    }

    /// The hub takes what waits for it, in any order of the two queues.
    pub(super) fn work(&mut self, number: usize) {
        let now = self.clock(number);
        for _ in 0..self.rng.usize(1..=4) {
            let gateway = &mut self.gateways[number];
            if self.rng.bool() {
                gateway.answer();
            } else if let Some((name, facts)) = gateway.take_report(now) {
                let peer = gateway.peers.get(&name);
                if peer.is_some_and(|peer| !peer.seat.is_empty()) {
                    self.lost_since.remove(&(number, name.clone()));
                }
                self.note_facts(number, &name, facts);
            }
        }
        let gateway = &self.gateways[number];
        if !gateway.reports.is_empty() || !gateway.questions.is_empty() {
            self.schedule_work(number);
        }
        self.settle_all_of(number);
    }

    pub(super) fn schedule_work(&mut self, number: usize) {
        let delay = match self.rng.u8(0..20) {
            0 => self.rng.u64(10_000..80_000),
            _ => self.rng.u64(0..3000),
        };
        let at = self.now + Duration::from_micros(delay);
        self.gateways[number].work_at.get_or_insert(at);
    }
}
