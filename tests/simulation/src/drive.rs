//! Runs one session over one end of a connection, as the link's driver does over QUIC.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use cluster_registry::{
    digest::Summary,
    name::ClusterName,
    store::{Cursor, Epoch},
};
use mesh_gateway_core::{
    convert::Origins,
    instance::Instance,
    pace::PaceLimit,
    question::{Answer, Question},
    reason::{DownReason, GoodbyeReason, Refusal},
    resume::{Generation, Resume},
    session::{Channel, Config, Delivery, Features, Half, Output, Session, Subscription},
};

use crate::{connection::index_of, pipe::Pipe};

/// While more than this waits to be written, the store is not asked for more.
const HIGH_WATER_BYTES: usize = 1024;

/// The number of a session, unique in the world and growing.
pub(crate) type SessionNumber = u64;

/// What a session tells its gateway.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Up { instance: Option<Instance> },
    Subscribed { resumed: bool },
    Delivery(Delivery),
    Compare { theirs: Vec<Summary> },
    Refused(Refusal),
    Down,
}

/// A session at one end of a connection.
#[derive(Debug)]
pub(crate) struct Drive {
    pub(crate) number: SessionNumber,
    pub(crate) peer: ClusterName,
    pub(crate) feed: Epoch,
    /// The right to move the position, once the peer's state was asked for.
    pub(crate) generation: Option<Generation>,
    pub(crate) session: Session,
    pub(crate) waiting: VecDeque<Event>,
    pub(crate) up_since: Option<Instant>,
    pub(crate) is_up_reported: bool,
    /// What its halves ask the store.
    halves: [Asking; 2],
    newest: Option<Cursor>,
}

/// How a session ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) reason: DownReason,
    /// What the other side is told.
    pub(crate) goodbye: Option<GoodbyeReason>,
}

/// What one half of a publisher asks the store.
#[derive(Debug, Default)]
struct Asking {
    wanted: Option<Question>,
    is_asking: bool,
    /// The store's answer, and when it arrives.
    answer: Option<(Duration, Answer)>,
}

/// What a session needs from its gateway to begin.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) feed: Epoch,
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
            subscription: Subscription::Later,
            features: Features::ALL,
        };
        Self {
            number,
            peer: peer.clone(),
            feed: grant.feed,
            generation: None,
            session: Session::new(config, now),
            waiting: VecDeque::new(),
            up_since: None,
            is_up_reported: false,
            halves: Default::default(),
            newest: None,
        }
    }

    /// Does what the session wants, until it wants nothing or has ended.
    pub(crate) fn perform(
        &mut self,
        out: &mut [Pipe; 4],
        now: Instant,
    ) -> Result<Option<Ended>, String> {
        let mut goodbye = None;
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(channel, body) => out[index_of(channel)].push(body),
                Output::Ask(half, question) => self.halves[half as usize].wanted = Some(question),
                Output::Compare { theirs } => self.waiting.push_back(Event::Compare { theirs }),
                Output::Up { instance, .. } => {
                    self.up_since = Some(now);
                    self.waiting.push_back(Event::Up { instance });
                }
                Output::Subscribed { resumed } => {
                    self.waiting.push_back(Event::Subscribed { resumed });
                }
                Output::Deliver(delivery) => self.waiting.push_back(Event::Delivery(delivery)),
                Output::Refused(refusal) => self.waiting.push_back(Event::Refused(refusal)),
                Output::LeftOut { key, length } => {
                    return Err(format!("{key:?} of {length} bytes was left out"));
                }
                Output::Rtt(_) | Output::Split | Output::Slowed(_) => {}
                Output::Close(reason) => goodbye = Some(reason),
                Output::Down(reason) => return Ok(Some(Ended { reason, goodbye })),
            }
        }
        Ok(None)
    }

    /// Asks for the peer's state, once, after what is known of it.
    pub(crate) fn subscribe(&mut self, resume: &mut Resume, pace: Option<PaceLimit>) {
        if self.generation.is_none() {
            if let Some(pace) = pace {
                self.session.limit_pace(pace);
            }
            self.generation = Some(resume.begin());
            self.session.handle_subscribe(resume.offer());
        }
    }

    /// What to ask the store for a half of the publisher, if it is to be asked.
    pub(crate) fn question(&mut self, half: Half, out: &[Pipe; 4]) -> Option<Question> {
        let channels: &[Channel] = match half {
            Half::Live => &[Channel::Urgent, Channel::Updates],
            Half::Bulk => &[Channel::Bulk],
        };
        let waiting = channels.iter().map(|c| out[index_of(*c)].waiting_bytes());
        let asking = &mut self.halves[half as usize];
        if asking.is_asking || waiting.sum::<usize>() > HIGH_WATER_BYTES {
            return None;
        }
        let wanted = asking.wanted.take()?;
        asking.is_asking = true;
        Some(wanted)
    }

    /// The store has answered; it takes a while until the session knows.
    pub(crate) fn expect_answer(&mut self, half: Half, at: Duration, answer: Answer) {
        self.halves[half as usize].answer = Some((at, answer));
    }

    /// When the store's next answer arrives.
    pub(crate) fn answer_at(&self) -> Option<Duration> {
        let answers = self.halves.iter().filter_map(|half| half.answer.as_ref());
        answers.map(|(at, _)| *at).min()
    }

    /// Takes the store's answers that have arrived, and returns whether any had.
    pub(crate) fn take_answers(&mut self, now: Duration) -> bool {
        let mut has_taken = false;
        for asking in &mut self.halves {
            if let Some((_, answer)) = asking.answer.take_if(|(at, _)| *at <= now) {
                asking.is_asking = false;
                has_taken = true;
                self.session.handle_answer(answer);
            }
        }
        has_taken
    }

    /// The store stands here.
    pub(crate) fn handle_newest(&mut self, newest: Cursor) {
        if self.newest != Some(newest) {
            self.newest = Some(newest);
            self.session.handle_newest(newest);
        }
    }

    /// Whether a frame may be taken: of state only once the gateway has taken what was read before.
    pub(crate) fn may_read(&self, channel: Channel) -> bool {
        let waits = channel != Channel::Control && !self.waiting.is_empty();
        !waits && self.session.may_read(channel)
    }
}
