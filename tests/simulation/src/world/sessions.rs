//! What happens next, and what the gateways' sessions, dialers and hubs then do.

use std::time::Duration;

use cluster_registry::store::Epoch;
use mesh_gateway_core::{
    reason::{DownReason, GoodbyeReason},
    session::{Channel, Delivery},
};

use super::World;
use crate::{
    connection::{CHANNELS, Connection, Notice, index_of},
    drive::{Drive, Ended, Event},
    gateway::{Fact, Order, Question, Report},
    scenery::cluster_name,
};

/// A handshake that has not succeeded by then is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(1500);

impl World {
    /// When something happens next.
    pub(super) fn next_time(&self) -> Option<Duration> {
        let mut times: Vec<Duration> = self.starts.values().map(|(at, _)| *at).collect();
        times.extend(self.announces.values());
        for gateway in self.gateways.iter().filter(|g| g.is_running) {
            let dials = gateway
                .peers
                .values()
                .filter_map(|p| p.dialer.as_ref()?.next);
            let timers = dials
                .chain(gateway.next_expiry())
                .map(|at| gateway.clock.when(at));
            let own = timers.chain(gateway.work_at).min();
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
                let next = connection
                    .next_arrival(number)
                    .into_iter()
                    .chain(timeout)
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
        self.connections
            .retain(|_, connection| !connection.is_dead());
    }

    fn advance_gateway(&mut self, number: usize) {
        let now = self.clock(number);
        let expired = self.gateways[number].expire(now);
        for name in &expired {
            self.note_facts(number, name, vec![Fact::Dropped]);
        }
        self.check_expiry(number, &expired);
        self.check_silence(number);
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
        let due = peers.filter(|peer| {
            let next = peer.dialer.as_ref().and_then(|dialer| dialer.next);
            next.is_some_and(|at| at <= now)
        });
        let due: Vec<_> = due.map(|peer| peer.spec.cluster.clone()).collect();
        for name in due {
            if let Some(listener) = self.offers.iter().position(|offer| offer.cluster == name) {
                self.dial(number, listener);
            }
        }
    }

    /// The hub takes what waits for it, in any order of the two queues.
    fn work(&mut self, number: usize) {
        let now = self.clock(number);
        for _ in 0..self.rng.usize(1..=4) {
            let gateway = &mut self.gateways[number];
            if self.rng.bool() {
                gateway.answer();
            } else if let Some((name, facts)) = gateway.take_report(now) {
                self.note_facts(number, &name, facts);
            }
        }
        let gateway = &self.gateways[number];
        if !gateway.reports.is_empty() || !gateway.questions.is_empty() {
            self.schedule_work(number);
        }
        self.settle_all_of(number);
    }

    fn schedule_work(&mut self, number: usize) {
        let delay = match self.rng.u8(0..20) {
            0 => self.rng.u64(10_000..80_000),
            _ => self.rng.u64(0..3000),
        };
        let at = self.now + Duration::from_micros(delay);
        self.gateways[number].work_at.get_or_insert(at);
    }

    fn dial(&mut self, dialler: usize, listener: usize) {
        let started = self.clock(dialler);
        let id = self.number();
        let name = cluster_name(listener);
        let Some(peer) = self.gateways[dialler].peers.get_mut(&name) else {
            return;
        };
        let Some(dialer) = &mut peer.dialer else {
            return;
        };
        dialer.started = started;
        dialer.next = None;
        dialer.connection = Some(id);
        let is_open = self.is_open(dialler, listener) && self.is_open(listener, dialler);
        let succeeds = is_open && self.gateways[listener].is_running;
        let takes = match succeeds {
            true => self.plan.weather.latency * 2,
            false => HANDSHAKE_TIMEOUT,
        };
        let lives = [dialler, listener].map(|number| (number, self.gateways[number].life));
        let connection = Connection::new(lives[0], lives[1], (self.now + takes, succeeds));
        self.connections.insert(id, connection);
    }

    fn is_open(&self, from: usize, to: usize) -> bool {
        !self.blocked.contains(&(from, to))
    }

    fn advance_connection(&mut self, id: u64) {
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

    fn shake_hands(&mut self, id: u64, succeeds: bool) {
        if succeeds {
            self.begin_session(id, 0);
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.ends[0].drive.is_none() {
            let dialler = connection.ends[0].gateway;
            let listener = connection.ends[1].gateway;
            connection.ends.iter_mut().for_each(|end| end.end());
            self.dial_again(id, dialler, listener, None);
        }
        self.settle_end(id, 0);
    }

    /// Begins the session at one end, if its gateway lets it.
    fn begin_session(&mut self, id: u64, number: usize) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let end = &connection.ends[number];
        let peer = cluster_name(connection.ends[Connection::other(number)].gateway);
        let (gateway, life, is_over) = (end.gateway, end.life, end.is_over);
        let (session, now) = (self.number(), self.clock(gateway));
        let gateway = &mut self.gateways[gateway];
        let is_alive = gateway.is_running && gateway.life == life && !is_over;
        if !is_alive {
            return;
        }
        let grant = gateway.admit(&peer, number == 1);
        let what = format!(
            "{} of {peer}: session {session} begins with {grant:?}",
            gateway.cluster
        );
        let drive = grant.map(|grant| Drive::new(session, &gateway.cluster, &peer, &grant, now));
        let newest = drive
            .as_ref()
            .and_then(|drive| gateway.newest_of(drive.feed));
        self.tell(|| what);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ends[number].drive = drive;
            if let (Some(drive), Some(newest)) = (&mut connection.ends[number].drive, newest) {
                drive.handle_newest(newest);
            }
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
        for channel in CHANNELS {
            while self.read(id, number, channel, is_open) {
                is_touched = true;
            }
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
        pipe.decoder.push(&chunk);
        if receiver.drive.is_none() {
            self.begin_session(id, number);
            if self.drive_of(id, number).is_none() {
                self.deny(id, number);
                return false;
            }
        }
        self.decode(id, number, channel);
        true
    }

    fn decode(&mut self, id: u64, number: usize, channel: Channel) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
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
        let Some(drive) = &mut receiver.drive else {
            return;
        };
        let decoder = &mut sender.out[index_of(channel)].decoder;
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => drive.session.handle_frame(channel, frame, now),
                Ok(None) => break,
                Err(error) => return drive.session.handle_malformed(&error),
            }
        }
        self.settle_end(id, number);
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

    fn send_notice(&mut self, id: u64, from: usize, reason: GoodbyeReason) {
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

    fn drive_of(&mut self, id: u64, number: usize) -> Option<&mut Drive> {
        self.connections.get_mut(&id)?.ends[number].drive.as_mut()
    }

    fn settle_all_of(&mut self, gateway: usize) {
        let ends = self.connections.iter().flat_map(|(id, connection)| {
            let own = (0..2).filter(|number| connection.ends[*number].gateway == gateway);
            own.map(|number| (*id, number))
        });
        for (id, number) in ends.collect::<Vec<_>>() {
            self.settle_end(id, number);
        }
    }

    /// Does what a session wants, and passes on what it reports, asks and sends.
    pub(super) fn settle_end(&mut self, id: u64, number: usize) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let is_broken = connection.is_broken;
        let end = &mut connection.ends[number];
        let Some(drive) = &mut end.drive else {
            return;
        };
        let gateway = &mut self.gateways[end.gateway];
        let now = gateway.clock.at(self.now);
        let ended = match drive.perform(&mut end.out, now) {
            Ok(ended) => ended,
            Err(what) => return self.fail(what),
        };
        if let Some(after) = drive.question(&end.out) {
            gateway.questions.push_back(Question {
                session: drive.number,
                feed: drive.feed,
                after,
                limit: self.plan.fetch_limit,
            });
        }
        while gateway.has_room()
            && let Some(event) = drive.waiting.pop_front()
        {
            match &event {
                Event::Up { resumed } => {
                    drive.is_up_reported = true;
                    self.stats.sessions += 1;
                    self.stats.resumed += u64::from(*resumed);
                }
                Event::Delivery(delivery) => note(gateway, drive, delivery),
                Event::Refused(_) | Event::Down(_) => {}
            }
            gateway.reports.push_back(Report {
                session: drive.number,
                peer: drive.peer.clone(),
                event,
            });
        }
        if !is_broken {
            for pipe in &mut end.out {
                pipe.pump(self.now, self.plan.weather, &mut self.rng);
            }
        }
        let number_of_gateway = end.gateway;
        let has_work = !gateway.reports.is_empty() || !gateway.questions.is_empty();
        if has_work {
            self.schedule_work(number_of_gateway);
        }
        if let Some(ended) = ended {
            self.end_session(id, number, ended);
        }
    }

    fn end_session(&mut self, id: u64, number: usize, ended: Ended) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let end = &mut connection.ends[number];
        let (gateway, drive) = (end.gateway, end.drive.take());
        end.end();
        let Some(drive) = drive else {
            return;
        };
        let listener = connection.ends[1].gateway;
        let own = &self.gateways[gateway].cluster;
        let what = format!(
            "{own} of {}: session {} has ended: {}",
            drive.peer, drive.number, ended.reason
        );
        self.tell(|| what);
        match &ended.reason {
            DownReason::ProtocolViolation(_) | DownReason::UnsupportedFeature(_) => {
                let own = &self.gateways[gateway].cluster;
                self.fail(format!("{own} of {}: {}", drive.peer, ended.reason));
            }
            DownReason::Silent
            | DownReason::ConnectionLost(_)
            | DownReason::PeerSaidGoodbye(_)
            | DownReason::EndedHere(_)
            | DownReason::Timeout => {}
        }
        if drive.is_up_reported {
            self.gateways[gateway].reports.push_back(Report {
                session: drive.number,
                peer: drive.peer.clone(),
                event: Event::Down(ended.reason),
            });
            self.schedule_work(gateway);
        }
        if let Some(reason) = ended.goodbye {
            self.send_notice(id, number, reason);
        }
        if number == 0 {
            self.dial_again(id, gateway, listener, drive.up_since);
        }
    }

    fn dial_again(
        &mut self,
        id: u64,
        dialler: usize,
        listener: usize,
        up_since: Option<std::time::Instant>,
    ) {
        let now = self.clock(dialler);
        let peer = self.gateways[dialler]
            .peers
            .get_mut(&cluster_name(listener));
        let Some(dialer) = peer.and_then(|peer| peer.dialer.as_mut()) else {
            return;
        };
        if dialer.connection == Some(id) {
            dialer.connection = None;
            dialer.next = Some(dialer.backoff.next_start(dialer.started, up_since, now));
        }
    }

    /// Tells the sessions of a gateway what its hub wants of them.
    pub(super) fn obey(&mut self, gateway: usize) {
        for order in std::mem::take(&mut self.gateways[gateway].orders) {
            match order {
                Order::Close(session, reason) => {
                    self.shut_sessions(gateway, reason, |drive| drive.number == session);
                }
                Order::EndFeed(feed) => self.end_feed(gateway, feed),
                Order::Answer(session, answer) => {
                    let drives = self.connections.values_mut().flat_map(|c| &mut c.ends);
                    let mut own = drives.filter_map(|end| end.drive.as_mut());
                    if let Some(drive) = own.find(|drive| drive.number == session) {
                        drive.handle_answer(answer);
                    }
                }
            }
        }
        self.settle_all_of(gateway);
    }

    fn end_feed(&mut self, gateway: usize, feed: Epoch) {
        self.shut_sessions(gateway, GoodbyeReason::ShuttingDown, |drive| {
            drive.feed == feed
        });
    }

    /// Ends some sessions of a gateway.
    pub(super) fn shut_sessions(
        &mut self,
        gateway: usize,
        reason: GoodbyeReason,
        which: impl Fn(&Drive) -> bool,
    ) {
        let drives = self.connections.values_mut().flat_map(|c| &mut c.ends);
        for end in drives.filter(|end| end.gateway == gateway) {
            if let Some(drive) = end.drive.as_mut().filter(|drive| which(drive)) {
                drive.session.handle_shutdown(reason);
            }
        }
        self.settle_all_of(gateway);
    }

    /// Tells the sessions of a gateway where its store stands.
    pub(super) fn publish(&mut self, gateway: usize) {
        let drives = self.connections.values_mut().flat_map(|c| &mut c.ends);
        for end in drives.filter(|end| end.gateway == gateway) {
            if let Some(drive) = &mut end.drive
                && let Some(newest) = self.gateways[gateway].newest_of(drive.feed)
            {
                drive.handle_newest(newest);
            }
        }
        self.settle_all_of(gateway);
    }
}

/// The position moves with what the hub is about to get.
fn note(gateway: &mut crate::gateway::Gateway, drive: &Drive, delivery: &Delivery) {
    if let Some(peer) = gateway.peers.get_mut(&drive.peer) {
        peer.resume.note(drive.generation, delivery);
    }
}
