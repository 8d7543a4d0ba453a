//! What arrives at the ends of connections: bytes, notices of the other end, and deadlines.

use mesh_gateway_core::{reason::GoodbyeReason, session::Channel};

use super::World;
use crate::connection::{Connection, Notice, index_of};

impl World {
    pub(super) fn advance_connection(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if let Some((at, succeeds)) = connection.handshake {
            if at <= self.now {
                connection.handshake = None;
                self.shake_hands(id, succeeds);
            }
            return;
        }
        for end in 0..2 {
            self.advance_end(id, end);
        }
    }

    fn advance_end(&mut self, id: u64, number: usize) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let end = &connection.ends[number];
        let gateway = end.gateway;
        if end.is_over || self.gateways[gateway].busy_until > self.now {
            return;
        }
        let is_open = self.is_open(connection.ends[Connection::other(number)].gateway, gateway);
        let mut is_touched = false;
        if let Some((at, notice)) = end.notice
            && at <= self.now
        {
            is_touched = true;
            self.take_notice(id, number, notice);
        }
        for channel in Channel::ALL {
            while self.read(id, number, channel, is_open) {
                is_touched = true;
            }
        }
        let world = self.now;
        if let Some(drive) = self.drive_of(id, number) {
            is_touched |= drive.take_answers(world);
        }
        let now = self.clock(gateway);
        if let Some(drive) = self.drive_of(id, number)
            && drive.session.poll_timeout().is_some_and(|at| at <= now)
        {
            is_touched = true;
            drive.session.handle_timeout(now);
        }
        if is_touched {
            self.settle_end(id, number);
            // There is room again on the way of the other side.
            self.settle_end(id, Connection::other(number));
        }
    }

    fn take_notice(&mut self, id: u64, number: usize, notice: Notice) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let end = &mut connection.ends[number];
        end.notice = None;
        match (&mut end.drive, notice) {
            (Some(drive), Notice::Goodbye(reason)) => drive.session.handle_goodbye(reason),
            (Some(drive), Notice::Reset) => drive.session.handle_lost("reset".to_owned()),
            (None, _) => end.end(),
        }
    }

    /// Reads what has arrived next, and returns whether there was anything.
    fn read(&mut self, id: u64, number: usize, channel: Channel, is_open: bool) -> bool {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        let [first, second] = &mut connection.ends;
        let (receiver, sender) = if number == 0 {
            (first, second)
        } else {
            (second, first)
        };
        let pipe = &mut sender.out[index_of(channel)];
        if receiver.is_over
            || !receiver.may_read(channel)
            || pipe.next_arrival().is_none_or(|at| at > now)
        {
            return false;
        }
        if !is_open {
            pipe.lose(now);
            return false;
        }
        let Some(chunk) = pipe.arrive(now) else {
            return false;
        };
        self.chunks += 1;
        receiver.heard_at = now;
        pipe.decoder.push(&chunk);
        if receiver.drive.is_none() {
            self.begin_session(id, number);
            if self.drive_of(id, number).is_none() {
                self.deny(id, number);
                return false;
            }
        }
        while self.hand_on(id, number, channel) {}
        self.settle_end(id, number);
        true
    }

    /// Hands the next frame that has arrived to the session, if it takes one; returns whether it did.
    pub(super) fn hand_on(&mut self, id: u64, number: usize, channel: Channel) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        let now = self.gateways[connection.ends[number].gateway]
            .clock
            .at(self.now);
        let [first, second] = &mut connection.ends;
        let (receiver, sender) = if number == 0 {
            (first, second)
        } else {
            (second, first)
        };
        let Some(drive) = receiver
            .drive
            .as_mut()
            .filter(|drive| drive.may_read(channel))
        else {
            return false;
        };
        match sender.out[index_of(channel)].decoder.next_frame() {
            Ok(Some(frame)) => drive.session.handle_frame(channel, frame, now),
            Ok(None) => return false,
            Err(error) => drive.session.handle_malformed(&error),
        }
        true
    }

    /// The listener has no session for whoever dialled.
    fn deny(&mut self, id: u64, number: usize) {
        let end = self.connections.get(&id).map(|c| c.ends[number].gateway);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ends[number].end();
        }
        if end.is_some_and(|gateway| self.gateways[gateway].is_running) {
            self.send_notice(id, number, GoodbyeReason::NotAuthorised);
        }
    }

    pub(super) fn send_notice(&mut self, id: u64, from: usize, reason: GoodbyeReason) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let (sender, receiver) = (
            connection.ends[from].gateway,
            connection.ends[Connection::other(from)].gateway,
        );
        let is_lost = self.blocked.contains(&(sender, receiver)) || self.rng.u8(0..20) == 0;
        if !is_lost && !connection.is_broken {
            let at = self.now + self.plan.weather.latency;
            connection.ends[Connection::other(from)].notice = Some((at, Notice::Goodbye(reason)));
        }
    }
}
