//! A session between a hostile peer, a store that changes, and a clock that jumps.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use cluster_registry::{
    endpoint::{Conditions, Endpoint},
    name::{ClusterName, ServiceName},
    resource::{Key, Resource, ResourceId},
    store::{Change, Cursor, Epoch, ResumeError, Revision, Store},
};
use mesh_gateway_core::{
    codec::Decoder,
    convert::{Origins, decode_position, encode_change, encode_position},
    instance::{Incarnation, Instance, InstanceId},
    reason::{GoodbyeReason, Violation},
    session::{Channel, Config, Session, Subscription},
    wire::{self, Body, Frame},
};

use super::{tape::Tape, watch::Watch};

/// The byte that must follow a step which ends the session: without it, most histories would be short.
const REALLY: u8 = 0xff;

/// Runs the history that the bytes spell.
pub fn session(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    let mut world = World::new(&mut tape);
    world.drain();
    while let Some(step) = tape.step() {
        world.take(step, &mut tape);
        world.drain();
    }
}

struct World {
    session: Session,
    store: Store,
    watch: Watch,
    now: Instant,
}

impl World {
    fn new(tape: &mut Tape<'_>) -> Self {
        let now = Instant::now();
        let subscription = match tape.byte() % 4 {
            1 => Subscription::Now(Some(cursor(tape))),
            2 => Subscription::Later,
            _ => Subscription::Now(None),
        };
        let config = Config {
            cluster: name("east"),
            instance: instance(),
            peer: name("west"),
            origins: Origins::Own,
            heartbeat_interval: Duration::from_millis(100),
            detect_multiplier: 3,
            subscription,
        };
        Self {
            session: Session::new(config, now),
            store: Store::new(Epoch(1)),
            watch: Watch::new(name("west"), subscription == Subscription::Later),
            now,
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            self.watch.take(output);
        }
        assert_eq!(self.session.is_closed(), self.watch.is_down());
        assert_eq!(self.session.poll_timeout().is_none(), self.watch.is_down());
    }

    fn take(&mut self, step: u8, tape: &mut Tape<'_>) {
        match step % 16 {
            0 => self.hear_bytes(Channel::Control, tape.bytes()),
            1 => self.hear_bytes(Channel::State, tape.bytes()),
            2 => {
                let heartbeat_interval_ms = tape.short().into();
                let hello = wire::Hello {
                    heartbeat_interval_ms,
                    resume: self.position(tape),
                    // Of the right length, too long, or none.
                    instance: vec![1; usize::from(heartbeat_interval_ms.to_le_bytes()[0] % 18)],
                    replica: "west-1".to_owned(),
                    optional_features: [vec![], vec!["subscribe".to_owned()]]
                        [usize::from(tape.byte() % 2)]
                    .clone(),
                    deferred: tape.byte() % 4 == 1,
                    ..wire::Hello::default()
                };
                self.hear(Channel::Control, Body::Hello(hello));
            }
            3 => {
                let resumed = tape.byte() % 2 == 1;
                self.hear(Channel::Control, Body::Welcome(wire::Welcome { resumed }));
            }
            4 => {
                let heartbeat = wire::Heartbeat {
                    seq: tape.byte().into(),
                    echo_seq: tape.byte().into(),
                    echo_delay_us: tape.short().into(),
                };
                self.hear(Channel::Control, Body::Heartbeat(heartbeat));
            }
            5 => self.hear(Channel::State, Body::SnapshotBegin(wire::SnapshotBegin {})),
            6 => self.hear(Channel::State, Body::SnapshotEnd(wire::SnapshotEnd {})),
            7 => {
                let position = self.position(tape);
                self.hear(Channel::State, Body::Progress(wire::Progress { position }));
            }
            8 => self.hear(Channel::State, Body::Updates(updates(tape))),
            9 => self.wait(Duration::from_millis(tape.short().into())),
            10 => self.answer(tape),
            12 if self.session.is_up() => self.subscribe(tape),
            11 => self.change(tape),
            end => self.end(end, tape),
        }
    }

    fn hear_bytes(&mut self, channel: Channel, bytes: &[u8]) {
        let mut decoder = Decoder::default();
        let length = u32::try_from(bytes.len()).expect("at most 255 bytes");
        decoder.push(&length.to_be_bytes());
        decoder.push(bytes);
        match decoder.next_frame() {
            Ok(Some(frame)) => self.session.handle_frame(channel, frame, self.now),
            Ok(None) => panic!("the frame is whole"),
            Err(error) => self.session.handle_malformed(&error),
        }
    }

    fn hear(&mut self, channel: Channel, body: Body) {
        let frame = Frame { body: Some(body) };
        self.session.handle_frame(channel, frame, self.now);
    }

    /// None, the store's own, or any.
    fn position(&self, tape: &mut Tape<'_>) -> Option<wire::Position> {
        match tape.byte() % 3 {
            0 => None,
            1 => Some(encode_position(self.store.cursor())),
            _ => Some(encode_position(cursor(tape))),
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now);
    }

    /// The store answers what it was asked, or speaks unasked.
    fn answer(&mut self, tape: &mut Tape<'_>) {
        let limit = 1 + usize::from(tape.byte() % 8);
        let answer = match self.watch.wanted.take() {
            Some(after) => self.store.changes_after(after, limit),
            None if limit == 1 => Err(ResumeError::Compacted),
            None => self.store.changes_after(None, limit),
        };
        self.session.handle_batch(answer);
    }

    /// Either side subscribes, or the peer accepts.
    fn subscribe(&mut self, tape: &mut Tape<'_>) {
        let resume = self.position(tape);
        let resumed = tape.byte() % 2 == 1;
        match tape.byte() % 4 {
            0 => self
                .session
                .handle_subscribe(resume.as_ref().map(decode_position)),
            1 => self.hear(
                Channel::Control,
                Body::Subscribe(wire::Subscribe { resume }),
            ),
            2 => self.hear(
                Channel::Control,
                Body::Subscribed(wire::Subscribed { resumed }),
            ),
            _ => self.session.handle_goodbye(GoodbyeReason::ShuttingDown),
        }
    }

    fn change(&mut self, tape: &mut Tape<'_>) {
        let (key, value) = endpoint("east", tape.byte());
        match tape.byte() % 4 {
            0 => drop(self.store.delete(&key, None)),
            1 => self.store.compact(self.store.cursor().revision),
            _ => drop(self.store.put(key, value, None)),
        }
        self.session.handle_newest(self.store.cursor());
    }

    fn end(&mut self, step: u8, tape: &mut Tape<'_>) {
        let reason = GoodbyeReason::from_code(tape.byte().into());
        if tape.byte() != REALLY {
            return;
        }
        match step {
            12 => self.session.handle_goodbye(reason),
            13 => self.session.handle_lost("the line is cut".to_owned()),
            14 => self.session.handle_shutdown(reason),
            _ => self.session.handle_violation(Violation::MalformedFrame),
        }
    }
}

/// A few updates of the peer's endpoints, some in the name of another cluster.
fn updates(tape: &mut Tape<'_>) -> wire::Updates {
    let count = tape.byte() % 4;
    let updates = (0..count).map(|_| {
        let number = tape.byte();
        let origin = ["west", "east"][usize::from(number.is_multiple_of(7))];
        let (key, value) = endpoint(origin, number);
        let change = Change {
            key,
            value: (!tape.byte().is_multiple_of(3)).then_some(value),
            revision: Revision(1),
            trace: None,
        };
        encode_change(&change, &name("west"))
    });
    wire::Updates {
        updates: updates.collect(),
    }
}

fn endpoint(cluster: &str, number: u8) -> (Key, Resource) {
    let service = ServiceName::parse("shop", "web").expect("a good name");
    let address = IpAddr::from(Ipv4Addr::new(10, 1, 0, number));
    let key = Key {
        cluster: name(cluster),
        id: ResourceId::Endpoint(service, address),
    };
    let endpoint = Endpoint {
        ports: [].into(),
        conditions: Conditions::READY,
        node: None,
        zone: None,
        hostname: None,
        hints: None,
    };
    (key, endpoint.into())
}

fn cursor(tape: &mut Tape<'_>) -> Cursor {
    Cursor::at(Epoch(tape.byte().into()), Revision(tape.byte().into()))
}

fn instance() -> Instance {
    Instance::try_new(InstanceId([1; 16]), Incarnation(1), "east-1").expect("a good name")
}

fn name(text: &str) -> ClusterName {
    ClusterName::parse(text).expect("a good name")
}
