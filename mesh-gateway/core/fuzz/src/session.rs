//! A session between a hostile peer, a store that changes, and a clock that jumps.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use cluster_registry::{
    digest::{Digest, KeyRange, Level, Part, Step, Summary},
    endpoint::{Conditions, Endpoint},
    name::{ClusterName, ServiceName},
    resource::{Key, Resource, ResourceId},
    store::{Change, Cursor, Epoch, ResumeError, Revision, Store},
};
use mesh_gateway_core::{
    codec::Decoder,
    convert::{
        Origins, decode_position, encode_change, encode_position, encode_range, encode_summary,
    },
    instance::{Incarnation, Instance, InstanceId},
    question::{Answer, Reader},
    reason::{GoodbyeReason, Violation},
    resume::{Offer, Resume},
    session::{Channel, Config, Features, Half, Session, Subscription},
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
    reader: Reader,
    watch: Watch,
    now: Instant,
}

impl World {
    fn new(tape: &mut Tape<'_>) -> Self {
        let now = Instant::now();
        let subscription = match tape.byte() % 4 {
            1 => Subscription::Now(Resume::from(cursor(tape)).offer()),
            2 => Subscription::Later,
            _ => Subscription::Now(Offer::default()),
        };
        let config = Config {
            cluster: name("east"),
            instance: instance(),
            peer: name("west"),
            origins: Origins::Own,
            heartbeat_interval: Duration::from_millis(100),
            detect_multiplier: 3,
            subscription,
            features: Features::ALL,
        };
        Self {
            session: Session::new(config, now),
            store: Store::new(Epoch(1)),
            reader: Reader::new(None),
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
        match step % 20 {
            0 => self.hear_bytes(Channel::Control, tape.bytes()),
            1 => self.hear_bytes(channel(tape), tape.bytes()),
            16 => self.compare(tape),
            17 | 18 => self.digests(tape),
            19 => {
                let batch = u64::from(tape.byte() % 4);
                let updates = wire::Updates {
                    batch,
                    ..updates(tape)
                };
                self.hear_if_read(Channel::Urgent, Body::Updates(updates));
            }
            2 => self.hear_hello(tape),
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
            5 => self.begin_snapshot(tape),
            6 => {
                let more = tape.byte() % 3 == 1;
                let end = wire::SnapshotEnd { more };
                self.hear_if_read(Channel::Bulk, Body::SnapshotEnd(end));
            }
            7 => {
                let position = self.position(tape);
                let progress = wire::Progress {
                    position,
                    urgent_frames: u64::from(tape.byte() % 4),
                };
                self.hear_if_read(channel(tape), Body::Progress(progress));
            }
            8 => {
                let updates = updates(tape);
                self.hear_if_read(channel(tape), Body::Updates(updates));
            }
            9 => self.wait(Duration::from_millis(tape.short().into())),
            10 => self.answer(tape),
            12 if self.session.is_up() => self.subscribe(tape),
            11 => self.change(tape),
            end => self.end(end, tape),
        }
    }

    fn hear_hello(&mut self, tape: &mut Tape<'_>) {
        let heartbeat_interval_ms = tape.short().into();
        let hello = wire::Hello {
            heartbeat_interval_ms,
            resume: self.position(tape),
            // Of the right length, too long, or none.
            instance: vec![1; usize::from(heartbeat_interval_ms.to_le_bytes()[0] % 18)],
            replica: "west-1".to_owned(),
            optional_features: features(tape),
            compare: tape.byte() % 2 == 1,
            deferred: tape.byte() % 4 == 1,
            ..wire::Hello::default()
        };
        self.hear(Channel::Control, Body::Hello(hello));
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
        let half = usize::from(tape.byte() % 2);
        let answer = match self.watch.wanted[half].take() {
            Some(question) => self.reader.answer(&self.store, &question, limit),
            // One that fits a question on its way would be the answer to it.
            None if limit == 1 && self.watch.wanted[Half::Live as usize].is_none() => {
                Answer::Changes(Err(ResumeError::Compacted))
            }
            None => return,
        };
        self.session.handle_answer(answer);
    }

    /// What is known of the peer was compared, or an answer comes unasked.
    fn compare(&mut self, tape: &mut Tape<'_>) {
        self.watch.compares = false;
        let step = match tape.byte() % 3 {
            0 => Step::Same,
            1 => Step::Differ(vec![KeyRange::default()]),
            _ => Step::Finer(vec![summary(tape)]),
        };
        self.session.handle_compared(step);
    }

    fn begin_snapshot(&mut self, tape: &mut Tape<'_>) {
        let partial = tape.byte() % 2 == 1;
        let ranges = vec![encode_range(&range(tape), &name("west"))];
        let begin = wire::SnapshotBegin { partial, ranges };
        self.hear_if_read(channel(tape), Body::SnapshotBegin(begin));
    }

    /// The peer speaks of its digests, or of ranges that differ.
    fn digests(&mut self, tape: &mut Tape<'_>) {
        let more = tape.byte() % 4 == 1;
        if tape.byte().is_multiple_of(3) {
            let ranges = vec![encode_range(&range(tape), &name("east"))];
            let differing = wire::Differing { ranges, more };
            return self.hear(Channel::Control, Body::Differing(differing));
        }
        let summaries = wire::Summaries {
            level: u32::from(tape.byte() % 6),
            summaries: vec![encode_summary(&summary(tape), &name("west"))],
            more,
            of_sender: tape.byte() % 2 == 1,
        };
        self.hear(Channel::Control, Body::Summaries(summaries));
    }

    /// A frame that is not sent while the session does not read its stream.
    fn hear_if_read(&mut self, channel: Channel, body: Body) {
        let waits = self.session.is_up() && !self.session.may_read(channel);
        if !waits {
            self.hear(channel, body);
        }
    }

    /// Either side subscribes, or the peer accepts.
    fn subscribe(&mut self, tape: &mut Tape<'_>) {
        let resume = self.position(tape);
        let resumed = tape.byte() % 2 == 1;
        match tape.byte() % 4 {
            0 => {
                let offer = Offer {
                    cursor: resume.as_ref().map(decode_position),
                    compare: resumed,
                };
                self.session.handle_subscribe(offer);
            }
            1 => self.hear(
                Channel::Control,
                Body::Subscribe(wire::Subscribe {
                    resume,
                    compare: resumed,
                }),
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
        batch: 0,
    }
}

fn channel(tape: &mut Tape<'_>) -> Channel {
    [
        Channel::Urgent,
        Channel::Updates,
        Channel::Bulk,
        Channel::Bulk,
    ][usize::from(tape.byte() % 4)]
}

fn features(tape: &mut Tape<'_>) -> Vec<String> {
    let chosen = tape.byte();
    let names = ["subscribe", "digests", "streams", "zstd"]
        .into_iter()
        .enumerate();
    let names = names.filter(|(bit, _)| chosen & (1 << bit) != 0);
    names.map(|(_, name)| name.to_owned()).collect()
}

fn range(tape: &mut Tape<'_>) -> KeyRange {
    let mut key = || {
        let number = Some(tape.byte()).filter(|number| *number > 0);
        number.map(|number| endpoint("west", number).0)
    };
    KeyRange {
        from: key(),
        until: key(),
    }
}

fn summary(tape: &mut Tape<'_>) -> Summary {
    let range = range(tape);
    let mut parts = vec![Part {
        from: range.from.clone(),
        digest: Digest([tape.byte(); 16]),
    }];
    for _ in 0..tape.byte() % 4 {
        parts.push(Part {
            from: Some(endpoint("west", tape.byte()).0),
            digest: Digest([tape.byte(); 16]),
        });
    }
    Summary {
        level: Level::from_number(tape.byte() % 5).unwrap_or(Level::ROOT),
        range,
        parts,
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
