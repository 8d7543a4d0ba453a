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
    resume::Offer,
    wire,
};

/// Sessions may be made whose state is asked for later.
const SUBSCRIBE: &str = "subscribe";

/// What a subscriber knows is compared by digests, where it cannot be continued.
const DIGESTS: &str = "digests";

/// State is told on streams by kind.
const STREAMS: &str = "streams";

/// Snapshots are compressed.
const ZSTD: &str = "zstd";

/// What a side can do beyond the protocol's first version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// It waits to be asked for its state, if it is told to.
    pub subscribe: bool,
    /// It compares digests.
    pub digests: bool,
    /// It reads and writes state on streams by kind.
    pub streams: bool,
    /// It unpacks and packs snapshots.
    pub zstd: bool,
}

impl Features {
    /// All that this version can.
    pub const ALL: Self = Self {
        subscribe: true,
        digests: true,
        streams: true,
        zstd: true,
    };

    /// What the protocol's first version could; a session that has them speaks as it did.
    pub const FIRST: Self = Self {
        subscribe: false,
        digests: false,
        streams: false,
        zstd: false,
    };

    /// How HELLO names them.
    pub(super) fn names(self) -> Vec<String> {
        let named = [
            (self.subscribe, SUBSCRIBE),
            (self.digests, DIGESTS),
            (self.streams, STREAMS),
            (self.zstd, ZSTD),
        ];
        let present = named.iter().filter(|(is_there, _)| *is_there);
        present.map(|(_, name)| (*name).to_owned()).collect()
    }

    /// What both sides have.
    fn shared(self, hello: &wire::Hello) -> Self {
        let features = &hello.optional_features;
        let has = |name: &str| features.iter().any(|feature| feature == name);
        Self {
            subscribe: self.subscribe && has(SUBSCRIBE),
            digests: self.digests && has(DIGESTS),
            streams: self.streams && has(STREAMS),
            zstd: self.zstd && has(ZSTD),
        }
    }

    fn has(self, name: &str) -> bool {
        self.names().iter().any(|feature| feature == name)
    }

    /// What may be offered of what is known.
    pub(super) fn limit(self, offer: Offer) -> Offer {
        Offer {
            compare: offer.compare && self.digests,
            ..offer
        }
    }
}

/// What the peer's HELLO said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    /// The time between two of its heartbeats.
    interval: Duration,
    instance: Option<Instance>,
    /// What both sides can do.
    shared: Features,
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
        let accepted = check_hello(hello, self.config.features)?;
        let shared = accepted.shared;
        if let State::Opening { heard, .. } = &mut self.state {
            *heard = Some(accepted);
        }
        if shared.zstd {
            self.publisher.pack();
        }
        if shared.streams {
            self.publisher.split();
            self.outputs.push_back(Output::Split);
        }
        if hello.deferred && shared.subscribe {
            self.publisher.defer(&mut self.outputs);
        } else {
            let offer = Offer {
                cursor: hello.resume.as_ref().map(decode_position),
                compare: hello.compare && shared.digests,
            };
            self.publisher.begin(offer, &mut self.outputs);
        }
        self.come_up(now);
        Ok(())
    }

    pub(super) fn hear_welcome(
        &mut self,
        welcome: &wire::Welcome,
        now: Instant,
    ) -> Result<(), DownReason> {
        if welcome.resumed && self.subscriber.offered().cursor.is_none() {
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
        let offer = Offer {
            cursor: message.resume.as_ref().map(decode_position),
            compare: message.compare && self.config.features.digests,
        };
        self.publisher.subscribe(offer, &mut self.outputs)
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
                    shared,
                }),
            welcomed: Some(resumed),
            ..
        } = &mut self.state
        else {
            return;
        };
        let (interval, resumed, shared) = (*interval, *resumed, *shared);
        let instance = instance.take();
        // Whoever sends more slowly sets the pace: a peer is not silent while it keeps its own interval.
        let pace = interval.max(self.config.heartbeat_interval);
        let detection = pace
            .saturating_mul(self.config.detect_multiplier.max(1))
            .min(MAX_DETECTION);
        self.liveness.watch(detection, now);
        self.state = State::Up;
        self.subscriber.come_up(resumed, shared);
        self.outputs.push_back(Output::Up { resumed, instance });
    }
}

/// What the peer's HELLO says, if it can be accepted.
fn check_hello(hello: &wire::Hello, own: Features) -> Result<Heard, DownReason> {
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
        .find(|feature| !own.has(feature));
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
        shared: own.shared(hello),
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
