//! The session with one peer: both sides publish to each other and watch each other's life.
//!
//! The parts are alone in their files: coming up (`opening`), what we tell the peer (`publisher`), what it tells us
//! (`subscriber`), and whether it lives (`crate::liveness`). Here they are joined.

mod opening;
mod publisher;
mod subscriber;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use cluster_registry::{
    name::ClusterName,
    resource::Key,
    store::{Batch, Cursor, ResumeError},
};

use self::{opening::Heard, publisher::Publisher, subscriber::Subscriber};
use crate::{
    codec::DecodeError,
    convert::{Origins, encode_position},
    instance::Instance,
    limits::OPENING_TIMEOUT,
    liveness::{self, Liveness},
    reason::{DownReason, GoodbyeReason, Refusal, Violation},
    update::Update,
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
}

/// From when on a peer shall tell its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscription {
    /// From the start, after the position up to which its announcements are known.
    Now(Option<Cursor>),
    /// From [`Session::handle_subscribe`] on: what it has is known from another session.
    Later,
}

impl Subscription {
    fn resume(self) -> Option<Cursor> {
        match self {
            Self::Now(resume) => resume,
            Self::Later => None,
        }
    }
}

/// The stream that a frame travels on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// How the session comes up, subscriptions and heartbeats, never held up by state.
    Control,
    /// Snapshots and updates.
    State,
}

/// What the peer says of its resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Everything that the peer has follows.
    SnapshotBegin,
    /// The newest state of some keys.
    Updates(Vec<Update>),
    /// The peer has said everything that it has.
    SnapshotEnd,
    /// Everything up to here was delivered.
    Progress(Cursor),
}

/// What the shell must do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send a frame.
    Send(Channel, Body),
    /// Ask the store for the changes after a position, and answer with [`Session::handle_batch`].
    Fetch {
        /// Where to read on; `None` reads from the very beginning.
        after: Option<Cursor>,
    },
    /// Both sides have accepted each other.
    Up {
        /// Whether what is known of the peer still counts.
        resumed: bool,
        /// The process that the peer is; `None` if it is of a version that does not tell.
        instance: Option<Instance>,
    },
    /// The peer has begun to tell its state, as [`Session::handle_subscribe`] asked.
    Subscribed {
        /// Whether what is known of the peer still counts.
        resumed: bool,
    },
    /// Pass on what the peer says.
    Deliver(Delivery),
    /// One update was not taken.
    Refused(Refusal),
    /// One of our own resources is longer than any update may be, and was left out.
    LeftOut {
        /// Its key.
        key: Key,
        /// How long it would be.
        length: usize,
    },
    /// The smoothed round-trip time.
    Rtt(Duration),
    /// End the connection with this code.
    Close(GoodbyeReason),
    /// The session has ended; nothing follows.
    Down(DownReason),
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
/// Frames of the state stream may only be handed in while [`Self::may_read_state`]: until then the peer's WELCOME or
/// SUBSCRIBED may still be on its way on the other stream. `handle_frame` may produce any output; `handle_batch` and `handle_newest` produce
/// `Send`, `Fetch` and `LeftOut`; `handle_timeout` produces `Send`, `Close` and `Down`; the others `Close` and `Down`.
#[derive(Debug)]
pub struct Session {
    config: Config,
    state: State,
    liveness: Liveness,
    publisher: Publisher,
    subscriber: Subscriber,
    outputs: VecDeque<Output>,
}

impl Session {
    /// A session over a connection that has just been made; says HELLO.
    pub fn new(config: Config, now: Instant) -> Self {
        let interval_ms = config.heartbeat_interval.as_millis();
        let hello = wire::Hello {
            required_features: Vec::new(),
            optional_features: opening::FEATURES.iter().map(|f| (*f).to_owned()).collect(),
            resume: config.subscription.resume().map(encode_position),
            deferred: config.subscription == Subscription::Later,
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

    /// The store's answer to [`Output::Fetch`].
    pub fn handle_batch(&mut self, answer: Result<Batch, ResumeError>) {
        if self.state != State::Closed {
            self.publisher.handle_batch(answer, &mut self.outputs);
        }
    }

    /// The store now stands here.
    pub fn handle_newest(&mut self, newest: Cursor) {
        if self.state != State::Closed {
            self.publisher.handle_newest(newest, &mut self.outputs);
        }
    }

    /// From now on the peer's state is wanted, after the position up to which it is known; asks once.
    pub fn handle_subscribe(&mut self, resume: Option<Cursor>) {
        if self.is_up() {
            self.subscriber.subscribe(resume, &mut self.outputs);
        }
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

    /// Whether frames of the state stream may be handed in.
    pub fn may_read_state(&self) -> bool {
        self.is_up() && self.subscriber.is_subscribed()
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// When [`Self::handle_timeout`] must next be called; `None` once the session has ended.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Opening { deadline, .. } => Some(deadline.min(self.liveness.poll_timeout())),
            State::Up => Some(self.liveness.poll_timeout()),
        }
    }

    /// What the shell must do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn dispatch(&mut self, channel: Channel, body: Body, now: Instant) -> Result<(), DownReason> {
        let may_read_state = self.may_read_state();
        let outputs = &mut self.outputs;
        match (channel, body) {
            (Channel::Control, Body::Hello(hello)) => self.hear_hello(&hello, now),
            (Channel::Control, Body::Welcome(welcome)) => self.hear_welcome(&welcome, now),
            (Channel::Control, Body::Heartbeat(heartbeat)) => self.hear_heartbeat(&heartbeat, now),
            (Channel::Control, Body::Subscribe(subscribe)) => self.hear_subscribe(&subscribe),
            (Channel::Control, Body::Subscribed(subscribed)) => {
                self.subscriber.hear_subscribed(&subscribed, outputs)
            }
            (Channel::State, _) if !may_read_state => Err(Violation::EarlyState.into()),
            (Channel::State, Body::SnapshotBegin(_)) => self.subscriber.begin_snapshot(outputs),
            (Channel::State, Body::Updates(wire::Updates { updates })) => {
                self.subscriber.take_updates(updates, outputs)
            }
            (Channel::State, Body::SnapshotEnd(_)) => self.subscriber.end_snapshot(outputs),
            (Channel::State, Body::Progress(progress)) => {
                self.subscriber.progress(&progress, outputs)
            }
            (Channel::Control | Channel::State, _) => Err(Violation::WrongChannel.into()),
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
