//! Runs one session over one end of a connection, as the link's driver does over QUIC.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use cluster_registry::{
    name::ClusterName,
    store::{Batch, Cursor, Epoch, ResumeError},
};
use mesh_gateway_core::{
    convert::Origins,
    instance::Instance,
    reason::{DownReason, GoodbyeReason, Refusal},
    resume::Generation,
    session::{Channel, Config, Delivery, Output, Session, Subscription},
};

use crate::{connection::index_of, pipe::Pipe};

/// While more than this waits to be written, the store is not asked for more.
const HIGH_WATER_BYTES: usize = 1024;

/// The number of a session, unique in the world and growing.
pub(crate) type SessionNumber = u64;

/// What a session tells its gateway.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Up { resumed: bool },
    Delivery(Delivery),
    Refused(Refusal),
    Down,
}

/// A session at one end of a connection.
#[derive(Debug)]
pub(crate) struct Drive {
    pub(crate) number: SessionNumber,
    pub(crate) peer: ClusterName,
    pub(crate) feed: Epoch,
    pub(crate) generation: Generation,
    pub(crate) session: Session,
    pub(crate) waiting: VecDeque<Event>,
    pub(crate) up_since: Option<Instant>,
    pub(crate) is_up_reported: bool,
    wanted: Option<Option<Cursor>>,
    is_asking: bool,
    /// The store's answer, and when it arrives.
    answer: Option<(Duration, Result<Batch, ResumeError>)>,
    newest: Option<Cursor>,
}

/// How a session ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) reason: DownReason,
    /// What the other side is told.
    pub(crate) goodbye: Option<GoodbyeReason>,
}

/// What a session needs from its gateway to begin.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) feed: Epoch,
    pub(crate) generation: Generation,
    pub(crate) resume: Option<Cursor>,
    /// The process that the gateway is.
    pub(crate) instance: Instance,
}

impl Drive {
    pub(crate) fn new(
        number: SessionNumber,
        own: &ClusterName,
        peer: &ClusterName,
        grant: &Grant,
        now: Instant,
    ) -> Self {
        let config = Config {
            cluster: own.clone(),
            instance: grant.instance.clone(),
            peer: peer.clone(),
            origins: Origins::Own,
            heartbeat_interval: crate::HEARTBEAT_INTERVAL,
            detect_multiplier: 3,
            subscription: Subscription::Now(grant.resume),
        };
        Self {
            number,
            peer: peer.clone(),
            feed: grant.feed,
            generation: grant.generation,
            session: Session::new(config, now),
            waiting: VecDeque::new(),
            up_since: None,
            is_up_reported: false,
            wanted: None,
            is_asking: false,
            answer: None,
            newest: None,
        }
    }

    /// Does what the session wants, until it wants nothing or has ended.
    pub(crate) fn perform(
        &mut self,
        out: &mut [Pipe; 2],
        now: Instant,
    ) -> Result<Option<Ended>, String> {
        let mut goodbye = None;
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(channel, body) => out[index_of(channel)].push(body),
                Output::Fetch { after } => self.wanted = Some(after),
                Output::Up { resumed, .. } => {
                    self.up_since = Some(now);
                    self.waiting.push_back(Event::Up { resumed });
                }
                Output::Deliver(delivery) => self.waiting.push_back(Event::Delivery(delivery)),
                Output::Refused(refusal) => self.waiting.push_back(Event::Refused(refusal)),
                Output::LeftOut { key, length } => {
                    return Err(format!("{key:?} of {length} bytes was left out"));
                }
                Output::Rtt(_) | Output::Subscribed { .. } => {}
                Output::Close(reason) => goodbye = Some(reason),
                Output::Down(reason) => return Ok(Some(Ended { reason, goodbye })),
            }
        }
        Ok(None)
    }

    /// What to ask the store, if it is to be asked.
    pub(crate) fn question(&mut self, out: &[Pipe; 2]) -> Option<Option<Cursor>> {
        if self.is_asking || out[index_of(Channel::State)].waiting_bytes() > HIGH_WATER_BYTES {
            return None;
        }
        let wanted = self.wanted.take()?;
        self.is_asking = true;
        Some(wanted)
    }

    /// The store has answered; it takes a while until the session knows.
    pub(crate) fn expect_answer(&mut self, at: Duration, answer: Result<Batch, ResumeError>) {
        self.answer = Some((at, answer));
    }

    /// When the store's answer arrives.
    pub(crate) fn answer_at(&self) -> Option<Duration> {
        self.answer.as_ref().map(|(at, _)| *at)
    }

    /// Takes the store's answer if it has arrived, and returns whether it had.
    pub(crate) fn take_answer(&mut self, now: Duration) -> bool {
        let Some((_, answer)) = self.answer.take_if(|(at, _)| *at <= now) else {
            return false;
        };
        self.is_asking = false;
        self.session.handle_batch(answer);
        true
    }

    /// The store stands here.
    pub(crate) fn handle_newest(&mut self, newest: Cursor) {
        if self.newest != Some(newest) {
            self.newest = Some(newest);
            self.session.handle_newest(newest);
        }
    }

    /// Whether state may be read: only once the session is up, and the gateway has taken what was read before.
    pub(crate) fn may_read(&self, channel: Channel) -> bool {
        match channel {
            Channel::Control => true,
            Channel::State => self.session.may_read_state() && self.waiting.is_empty(),
        }
    }
}
