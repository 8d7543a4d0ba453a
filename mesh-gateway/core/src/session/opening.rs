//! How a session comes up: each side says HELLO, and WELCOME to the other's.

use std::time::{Duration, Instant};

use super::{Output, Session, State};
use crate::{
    convert::decode_position,
    instance::{Incarnation, Instance, InstanceId},
    limits::{
        MAX_DETECTION, MAX_FEATURE_BYTES, MAX_FEATURES, MAX_HEARTBEAT_INTERVAL,
        MIN_HEARTBEAT_INTERVAL,
    },
    liveness::Echo,
    reason::{DownReason, Violation},
    wire,
};

/// The features that this version has beyond the protocol's first one.
pub(super) const FEATURES: &[&str] = &[SUBSCRIBE];

/// Sessions may be made whose state is asked for later.
const SUBSCRIBE: &str = "subscribe";

/// What the peer's HELLO said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    /// The time between two of its heartbeats.
    interval: Duration,
    instance: Option<Instance>,
    /// Whether it waits to be asked for its state, if it was told to.
    can_defer: bool,
}

impl Session {
    pub(super) fn hear_hello(
        &mut self,
        hello: &wire::Hello,
        now: Instant,
    ) -> Result<(), DownReason> {
        let State::Opening { heard: None, .. } = self.state else {
            return Err(Violation::SecondHello.into());
        };
        let accepted = check_hello(hello)?;
        if let State::Opening { heard, .. } = &mut self.state {
            *heard = Some(accepted);
        }
        if hello.deferred {
            self.publisher.defer(&mut self.outputs);
        } else {
            let resume = hello.resume.as_ref().map(decode_position);
            self.publisher.begin(resume, &mut self.outputs);
        }
        self.come_up(now);
        Ok(())
    }

    pub(super) fn hear_welcome(
        &mut self,
        welcome: &wire::Welcome,
        now: Instant,
    ) -> Result<(), DownReason> {
        if welcome.resumed && self.config.subscription.resume().is_none() {
            return Err(Violation::UnexpectedWelcome.into());
        }
        match &mut self.state {
            State::Opening { heard: None, .. } => return Err(Violation::HelloMissing.into()),
            State::Opening {
                welcomed: welcomed @ None,
                ..
            } => *welcomed = Some(welcome.resumed),
            State::Opening { .. } | State::Up | State::Closed => {
                return Err(Violation::UnexpectedWelcome.into());
            }
        }
        self.come_up(now);
        Ok(())
    }

    pub(super) fn hear_subscribe(&mut self, message: &wire::Subscribe) -> Result<(), DownReason> {
        let resume = message.resume.as_ref().map(decode_position);
        self.publisher.subscribe(resume, &mut self.outputs)
    }

    pub(super) fn hear_heartbeat(
        &mut self,
        heartbeat: &wire::Heartbeat,
        now: Instant,
    ) -> Result<(), DownReason> {
        if let State::Opening { heard: None, .. } = self.state {
            return Err(Violation::HelloMissing.into());
        }
        let echo = (heartbeat.echo_seq != 0).then(|| Echo {
            seq: heartbeat.echo_seq,
            delay: Duration::from_micros(heartbeat.echo_delay_us),
        });
        self.liveness.handle_heartbeat(heartbeat.seq, echo, now);
        self.drain_liveness();
        Ok(())
    }

    fn come_up(&mut self, now: Instant) {
        let State::Opening {
            heard:
                Some(Heard {
                    interval,
                    instance,
                    can_defer,
                }),
            welcomed: Some(resumed),
            ..
        } = &mut self.state
        else {
            return;
        };
        let (interval, resumed, can_defer) = (*interval, *resumed, *can_defer);
        let instance = instance.take();
        // Whoever sends more slowly sets the pace: a peer is not silent while it keeps its own interval.
        let pace = interval.max(self.config.heartbeat_interval);
        let detection = pace
            .saturating_mul(self.config.detect_multiplier.max(1))
            .min(MAX_DETECTION);
        self.liveness.watch(detection, now);
        self.state = State::Up;
        self.subscriber.come_up(resumed, can_defer);
        self.outputs.push_back(Output::Up { resumed, instance });
    }
}

/// What the peer's HELLO says, if it can be accepted.
fn check_hello(hello: &wire::Hello) -> Result<Heard, DownReason> {
    let mut features = hello
        .required_features
        .iter()
        .chain(&hello.optional_features);
    let count = hello.required_features.len() + hello.optional_features.len();
    if count > MAX_FEATURES || features.any(|f| f.len() > MAX_FEATURE_BYTES) {
        return Err(Violation::BadHello.into());
    }
    let missing = hello
        .required_features
        .iter()
        .find(|f| !FEATURES.contains(&f.as_str()));
    if let Some(feature) = missing {
        let printable = feature.escape_debug().to_string();
        return Err(DownReason::UnsupportedFeature(printable));
    }
    let interval = Duration::from_millis(u64::from(hello.heartbeat_interval_ms));
    if !(MIN_HEARTBEAT_INTERVAL..=MAX_HEARTBEAT_INTERVAL).contains(&interval) {
        return Err(Violation::BadHello.into());
    }
    Ok(Heard {
        interval,
        instance: instance_of(hello)?,
        can_defer: hello.optional_features.iter().any(|f| f == SUBSCRIBE),
    })
}

/// The process that the peer says it is; versions that do not tell send none of the fields.
fn instance_of(hello: &wire::Hello) -> Result<Option<Instance>, Violation> {
    if hello.instance.is_empty() {
        return Ok(None);
    }
    let id = hello.instance.as_slice().try_into();
    let id = InstanceId(id.map_err(|_not_16_bytes| Violation::BadHello)?);
    let incarnation = Incarnation(hello.incarnation_us);
    let instance = Instance::try_new(id, incarnation, &hello.replica);
    Ok(Some(instance.map_err(|_bad_replica| Violation::BadHello)?))
}
