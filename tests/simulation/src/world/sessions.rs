//! How sessions begin and end, and what they make their gateways do: dial, listen, dial again.

use std::time::{Duration, Instant};

use mesh_gateway_core::{
    reason::DownReason,
    session::{Channel, Delivery, Half},
};

use super::World;
use crate::{
    connection::Connection,
    drive::{Drive, Ended, Event},
    gateway::{Gateway, Question, Report},
    scenery::cluster_name,
};

/// A handshake that has not succeeded by then is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(1500);

impl World {
    pub(super) fn dial(&mut self, dialler: usize, listener: usize) {
        let started = self.clock(dialler);
        let id = self.number();
        let name = cluster_name(self.cluster_of(listener));
        let Some(peer) = self.gateways[dialler].peers.get_mut(&name) else {
            return;
        };
        let Some(dialer) = peer.dialers.get_mut(&listener) else {
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

    pub(super) fn is_open(&self, from: usize, to: usize) -> bool {
        !self.blocked.contains(&(from, to))
    }

    pub(super) fn shake_hands(&mut self, id: u64, succeeds: bool) {
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
    pub(super) fn begin_session(&mut self, id: u64, number: usize) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let end = &connection.ends[number];
        let other = connection.ends[Connection::other(number)].gateway;
        let peer = cluster_name(self.cluster_of(other));
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

    /// Does what a session wants, and passes on what it reports, asks and sends, until nothing that has arrived is left to
    /// be taken.
    pub(super) fn settle_end(&mut self, id: u64, number: usize) {
        self.settle_once(id, number);
        while Channel::ALL
            .into_iter()
            .any(|channel| self.hand_on(id, number, channel))
        {
            self.settle_once(id, number);
        }
    }

    fn settle_once(&mut self, id: u64, number: usize) {
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
        for half in [Half::Live, Half::Bulk] {
            let asked = drive.question(half, &end.out);
            gateway.questions.extend(asked.map(|asked| Question {
                session: drive.number,
                feed: drive.feed,
                half,
                asked,
                limit: self.plan.fetch_limit,
            }));
        }
        while gateway.has_room()
            && let Some(event) = drive.waiting.pop_front()
        {
            match &event {
                Event::Up { .. } => {
                    drive.is_up_reported = true;
                    self.stats.sessions += 1;
                }
                Event::Subscribed { resumed } => self.stats.resumed += u64::from(*resumed),
                Event::Delivery(delivery) => note(gateway, drive, delivery),
                Event::Compare { .. } | Event::Refused(_) | Event::Down => {}
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
                event: Event::Down,
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

    fn dial_again(&mut self, id: u64, dialler: usize, listener: usize, up_since: Option<Instant>) {
        let now = self.clock(dialler);
        let name = cluster_name(self.cluster_of(listener));
        let peer = self.gateways[dialler].peers.get_mut(&name);
        let Some(dialer) = peer.and_then(|peer| peer.dialers.get_mut(&listener)) else {
            return;
        };
        if dialer.connection == Some(id) {
            dialer.connection = None;
            dialer.next = Some(dialer.backoff.next_start(dialer.started, up_since, now));
        }
    }

    pub(super) fn drive_of(&mut self, id: u64, number: usize) -> Option<&mut Drive> {
        self.connections.get_mut(&id)?.ends[number].drive.as_mut()
    }
}

/// The position moves with what the hub is about to get.
fn note(gateway: &mut Gateway, drive: &Drive, delivery: &Delivery) {
    if let Some(peer) = gateway.peers.get_mut(&drive.peer)
        && let Some(generation) = drive.generation
    {
        peer.resume.note(generation, delivery);
    }
}
