//! The session with one peer: both sides publish to each other and watch each other's life.
//!
//! The parts are alone in their files: coming up (`opening`), what we tell the peer (`publisher`), what it tells us
//! (`subscriber`), and whether it lives (`crate::liveness`). Here they are joined.

mod exchange;
mod opening;
mod order;
mod output;
mod publisher;
mod subscriber;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use cluster_registry::{digest::Step, name::ClusterName, store::Cursor};

pub use self::{
    opening::Features,
    output::{Channel, Delivery, Half, Output},
};
use self::{opening::Heard, publisher::Publisher, subscriber::Subscriber};
use crate::{
    codec::DecodeError,
    convert::{Origins, encode_position},
    instance::Instance,
    limits::OPENING_TIMEOUT,
    liveness::{self, Liveness},
    pace::{Pace, PaceLimit},
    question::Answer,
    reason::{DownReason, GoodbyeReason, Violation},
    resume::Offer,
    wire::{self, Body, Frame},
};

/// What a session needs to know before it begins.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster that this side speaks for.
    pub cluster: ClusterName,
    /// The process that this side is.
    pub instance: Instance,
    /// The cluster that the peer's certificate names.
    pub peer: ClusterName,
    /// Whose resources the peer may announce.
    pub origins: Origins,
    /// The time between two heartbeats.
    pub heartbeat_interval: Duration,
    /// The number of silent intervals after which the peer is down.
    pub detect_multiplier: u32,
    /// From when on the peer shall tell its state.
    pub subscription: Subscription,
    /// What this side can do beyond the protocol's first version.
    pub features: Features,
}

impl Config {
    /// What the peer is offered to continue from, as the session begins.
    fn offer(&self) -> Offer {
        match self.subscription {
            Subscription::Now(offer) => self.features.limit(offer),
            Subscription::Later => Offer::default(),
        }
    }
}

/// From when on a peer shall tell its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscription {
    /// From the start, after what of its announcements is known.
    Now(Offer),
    /// From [`Session::handle_subscribe`] on: what it has is known from another session.
    Later,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Opening {
        /// The peer's HELLO, once it was accepted.
        heard: Option<Heard>,
        /// The peer accepted our HELLO, and resumed or not.
        welcomed: Option<bool>,
        deadline: Instant,
    },
    Up,
    Closed,
}

/// The session with one peer.
///
/// ```text
///            HELLO accepted both ways                 silence, violation, shutdown, goodbye, loss
///  Opening ────────────────────────────► Up ───────────────────────────────────────────────────► Closed
///     └──────────────── refused feature, timeout, and all that ends Up ────────────────────────────►┘
/// ```
///
/// After each call, [`Self::poll_output`] until it is empty, then wait until [`Self::poll_timeout`] at the longest.
/// A frame may only be handed in while its stream [`Self::may_read`]: what it refers to may still be on its way on another.
/// `handle_frame` may produce any output; `handle_answer` and `handle_newest` produce `Send`, `Ask` and `LeftOut`;
/// `handle_subscribe` produces `Send` and `Subscribed`, `handle_compared` `Send`; `handle_timeout` produces `Send`, `Slowed`,
/// `Close` and `Down`; the others `Close` and `Down`.
#[derive(Debug)]
pub struct Session {
    config: Config,
    state: State,
    liveness: Liveness,
    publisher: Publisher,
    subscriber: Subscriber,
    /// How fast the peer is read, where that is limited.
    pace: Option<Pace>,
    outputs: VecDeque<Output>,
}

impl Session {
    /// A session over a connection that has just been made; says HELLO.
    pub fn new(config: Config, now: Instant) -> Self {
        let interval_ms = config.heartbeat_interval.as_millis();
        let hello = wire::Hello {
            required_features: Vec::new(),
            optional_features: config.features.names(),
            resume: config.offer().cursor.map(encode_position),
            deferred: config.subscription == Subscription::Later,
            compare: config.offer().compare,
            heartbeat_interval_ms: u32::try_from(interval_ms).unwrap_or(u32::MAX),
            instance: config.instance.id().0.to_vec(),
            incarnation_us: config.instance.incarnation().0,
            replica: config.instance.replica().to_owned(),
        };
        Self {
            state: State::Opening {
                heard: None,
                welcomed: None,
                deadline: now + OPENING_TIMEOUT,
            },
            liveness: Liveness::new(config.heartbeat_interval, now),
            publisher: Publisher::new(config.cluster.clone()),
            subscriber: Subscriber::new(&config),
            pace: None,
            outputs: VecDeque::from([Output::Send(Channel::Control, Body::Hello(hello))]),
            config,
        }
    }

    /// A frame came from the peer.
    pub fn handle_frame(&mut self, channel: Channel, frame: Frame, now: Instant) {
        if self.state == State::Closed {
            return;
        }
        self.liveness.handle_sign_of_life(now);
        // A body that this version does not know is ignored; what may not be, its sender requires as a feature.
        let Some(body) = frame.body else {
            return;
        };
        if let Err(reason) = self.dispatch(channel, body, now) {
            let goodbye = match reason {
                DownReason::UnsupportedFeature(_) => GoodbyeReason::UnsupportedFeature,
                DownReason::Silent
                | DownReason::ConnectionLost(_)
                | DownReason::PeerSaidGoodbye(_)
                | DownReason::EndedHere(_)
                | DownReason::ProtocolViolation(_)
                | DownReason::Timeout => GoodbyeReason::ProtocolViolation,
            };
            self.end(Some(goodbye), reason);
        }
    }

    /// Bytes came from the peer that are not a frame.
    pub fn handle_malformed(&mut self, error: &DecodeError) {
        self.handle_violation(error.violation());
    }

    /// The peer did something with its streams that the protocol does not have.
    pub fn handle_violation(&mut self, violation: Violation) {
        self.end(
            Some(GoodbyeReason::ProtocolViolation),
            DownReason::ProtocolViolation(violation),
        );
    }

    /// The store's answer to [`Output::Ask`].
    pub fn handle_answer(&mut self, answer: Answer) {
        if self.state != State::Closed {
            self.publisher.handle_answer(answer, &mut self.outputs);
        }
    }

    /// What is known of the peer was compared, as [`Output::Compare`] asked.
    pub fn handle_compared(&mut self, step: Step) {
        if self.state != State::Closed {
            self.subscriber.handle_compared(step, &mut self.outputs);
        }
    }

    /// The store now stands here.
    pub fn handle_newest(&mut self, newest: Cursor) {
        if self.state != State::Closed {
            self.publisher.handle_newest(newest, &mut self.outputs);
        }
    }

    /// From now on the peer's state is wanted, after what is known of it; asks once.
    pub fn handle_subscribe(&mut self, offer: Offer) {
        if self.is_up() {
            let offer = self.config.features.limit(offer);
            self.subscriber.subscribe(offer, &mut self.outputs);
        }
    }

    /// From now on the peer is read no faster than this.
    pub fn limit_pace(&mut self, limit: PaceLimit) {
        self.pace = Some(Pace::new(limit));
    }

    /// The time has come that [`Self::poll_timeout`] named.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Closed => return,
            State::Opening { deadline, .. } if deadline <= now => {
                self.end(Some(GoodbyeReason::Timeout), DownReason::Timeout);
                return;
            }
            State::Opening { .. } | State::Up => self.liveness.handle_timeout(now),
        }
        if self.pace.as_mut().is_some_and(|p| p.handle_timeout(now)) {
            self.outputs.push_back(Output::Slowed(false));
        }
        self.drain_liveness();
    }

    /// This side ends the session.
    pub fn handle_shutdown(&mut self, reason: GoodbyeReason) {
        self.end(Some(reason), DownReason::EndedHere(reason));
    }

    /// The peer ended the session.
    pub fn handle_goodbye(&mut self, reason: GoodbyeReason) {
        self.end(None, DownReason::PeerSaidGoodbye(reason));
    }

    /// The transport lost the connection.
    pub fn handle_lost(&mut self, description: String) {
        self.end(None, DownReason::ConnectionLost(description));
    }

    /// Whether both sides have accepted each other, and neither has ended the session.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Whether the next frame of a stream may be handed in.
    pub fn may_read(&self, channel: Channel) -> bool {
        match channel {
            Channel::Control => self.state != State::Closed,
            Channel::Urgent | Channel::Updates | Channel::Bulk => {
                let is_halted = self.pace.as_ref().is_some_and(Pace::is_halted);
                self.is_up() && !is_halted && self.subscriber.may_read(channel)
            }
        }
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// When [`Self::handle_timeout`] must next be called; `None` once the session has ended.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let liveness = self.liveness.poll_timeout();
        match self.state {
            State::Closed => None,
            State::Opening { deadline, .. } => Some(deadline.min(liveness)),
            State::Up => {
                let pace = self.pace.as_ref().and_then(Pace::poll_timeout);
                Some(pace.map_or(liveness, |pace| pace.min(liveness)))
            }
        }
    }

    /// What the shell must do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn dispatch(&mut self, channel: Channel, body: Body, now: Instant) -> Result<(), DownReason> {
        if !self.may_read(channel) {
            return Err(Violation::EarlyState.into());
        }
        match channel {
            Channel::Control => self.dispatch_control(body, now),
            Channel::Urgent | Channel::Updates | Channel::Bulk => {
                let before = self.outputs.len();
                self.dispatch_state(channel, body)?;
                self.note_pace(before, now);
                Ok(())
            }
        }
    }

    fn dispatch_control(&mut self, body: Body, now: Instant) -> Result<(), DownReason> {
        let outputs = &mut self.outputs;
        match body {
            Body::Hello(hello) => self.hear_hello(&hello, now),
            Body::Welcome(welcome) => self.hear_welcome(&welcome, now),
            Body::Heartbeat(heartbeat) => self.hear_heartbeat(&heartbeat, now),
            Body::Subscribe(subscribe) => self.hear_subscribe(&subscribe),
            Body::Subscribed(subscribed) => self.subscriber.hear_subscribed(&subscribed, outputs),
            Body::Summaries(summaries) if summaries.of_sender => {
                self.subscriber.hear_summaries(summaries, outputs)
            }
            Body::Summaries(summaries) => self.publisher.hear_summaries(summaries, outputs),
            Body::Differing(differing) => self.publisher.hear_differing(differing, outputs),
            Body::SnapshotBegin(_)
            | Body::Updates(_)
            | Body::SnapshotEnd(_)
            | Body::Packed(_)
            | Body::Progress(_) => Err(Violation::WrongChannel.into()),
        }
    }

    fn dispatch_state(&mut self, channel: Channel, body: Body) -> Result<(), DownReason> {
        let outputs = &mut self.outputs;
        match body {
            Body::SnapshotBegin(begin) => self.subscriber.begin_snapshot(channel, begin, outputs),
            Body::Updates(updates) => self.subscriber.take_updates(channel, updates, outputs),
            Body::Packed(packed) => self.subscriber.take_packed(channel, &packed, outputs),
            Body::SnapshotEnd(end) => self.subscriber.end_snapshot(channel, end, outputs),
            Body::Progress(progress) => self.subscriber.progress(channel, &progress, outputs),
            Body::Hello(_)
            | Body::Welcome(_)
            | Body::Heartbeat(_)
            | Body::Subscribe(_)
            | Body::Subscribed(_)
            | Body::Summaries(_)
            | Body::Differing(_) => Err(Violation::WrongChannel.into()),
        }
    }

    /// Counts a frame and the updates that came of it, which are the outputs from `before` on.
    fn note_pace(&mut self, before: usize, now: Instant) {
        let Some(pace) = &mut self.pace else { return };
        let taken = |output: &Output| {
            if let Output::Deliver(Delivery::Updates(updates)) = output {
                return updates.len();
            }
            usize::from(matches!(output, Output::Refused(_)))
        };
        let said = 1 + self.outputs.iter().skip(before).map(taken).sum::<usize>();
        if pace.take(u32::try_from(said).unwrap_or(u32::MAX), now) {
            self.outputs.push_back(Output::Slowed(true));
        }
    }

    fn drain_liveness(&mut self) {
        while let Some(output) = self.liveness.poll_output() {
            match output {
                liveness::Output::SendHeartbeat { seq, echo } => {
                    let body = Body::Heartbeat(wire::Heartbeat {
                        seq,
                        echo_seq: echo.map_or(0, |echo| echo.seq),
                        echo_delay_us: echo.map_or(0, |echo| {
                            u64::try_from(echo.delay.as_micros()).unwrap_or(u64::MAX)
                        }),
                    });
                    self.outputs.push_back(Output::Send(Channel::Control, body));
                }
                liveness::Output::Rtt(rtt) => self.outputs.push_back(Output::Rtt(rtt)),
                liveness::Output::Silent => {
                    self.end(Some(GoodbyeReason::Silent), DownReason::Silent);
                }
            }
        }
    }

    fn end(&mut self, goodbye: Option<GoodbyeReason>, reason: DownReason) {
        if self.state == State::Closed {
            return;
        }
        self.state = State::Closed;
        if let Some(goodbye) = goodbye {
            self.outputs.push_back(Output::Close(goodbye));
        }
        self.outputs.push_back(Output::Down(reason));
    }
}
