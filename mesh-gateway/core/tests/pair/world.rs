//! Two sessions joined by a simulated connection, under a simulated clock.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::end::End;
use bytes::BytesMut;
use cluster_registry::{
    name::{ClusterName, ServiceName},
    resource::{Key, Resource, ResourceId},
    service::{Protocol, Service, ServicePort},
    store::{Epoch, Store},
};
use mesh_gateway_core::{
    codec,
    convert::Origins,
    instance::{Incarnation, Instance, InstanceId},
    session::{Channel, Config, Output, Session, Subscription},
};

/// How long a frame travels.
pub(crate) const LATENCY: Duration = Duration::from_millis(20);

/// The time between two heartbeats.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

/// Small, so that a snapshot takes several parts.
const FETCH_LIMIT: usize = 3;

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    East,
    West,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::East, Self::West];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::East => Self::West,
            Self::West => Self::East,
        }
    }

    fn instance(self) -> Instance {
        let number = match self {
            Self::East => 1,
            Self::West => 2,
        };
        let id = InstanceId([number; 16]);
        Instance::try_new(id, Incarnation(number.into()), "only").unwrap()
    }

    fn cluster(self) -> ClusterName {
        let name = match self {
            Self::East => "east",
            Self::West => "west",
        };
        ClusterName::parse(name).unwrap()
    }
}

struct InFlight {
    at: Instant,
    to: Side,
    channel: Channel,
    bytes: Vec<u8>,
}

/// Everything.
pub(crate) struct World {
    pub(crate) now: Instant,
    ends: [End; 2],
    in_flight: VecDeque<InFlight>,
    is_cut: bool,
    /// How many frames were carried.
    pub(crate) carried: usize,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            now: Instant::now(),
            ends: [End::new(1), End::new(2)],
            in_flight: VecDeque::new(),
            is_cut: false,
            carried: 0,
        }
    }

    pub(crate) fn end(&self, side: Side) -> &End {
        match side {
            Side::East => &self.ends[0],
            Side::West => &self.ends[1],
        }
    }

    pub(crate) fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::East => &mut self.ends[0],
            Side::West => &mut self.ends[1],
        }
    }

    /// Makes a connection, in place of any other.
    pub(crate) fn connect(&mut self) {
        self.begin(|end| Subscription::Now(end.resume.offer()));
    }

    /// Makes a connection on which neither side asks for the other's state yet.
    pub(crate) fn connect_deferred(&mut self) {
        self.begin(|_| Subscription::Later);
    }

    /// A side asks for the other's state.
    pub(crate) fn subscribe(&mut self, side: Side) {
        let end = self.end_mut(side);
        if let Some(session) = &mut end.session {
            session.handle_subscribe(end.resume.offer());
        }
        self.settle();
    }

    pub(crate) fn is_up(&self, side: Side) -> bool {
        let session = self.end(side).session.as_ref();
        session.is_some_and(Session::is_up)
    }

    fn begin(&mut self, subscription: impl Fn(&End) -> Subscription) {
        self.lose();
        self.is_cut = false;
        for side in Side::BOTH {
            let now = self.now;
            let end = self.end_mut(side);
            let config = Config {
                cluster: side.cluster(),
                instance: side.instance(),
                peer: side.other().cluster(),
                origins: Origins::Own,
                heartbeat_interval: INTERVAL,
                detect_multiplier: 3,
                subscription: subscription(end),
                features: end.features,
            };
            end.generation = end.resume.begin();
            end.session = Some(Session::new(config, now));
            end.decoders = Default::default();
        }
        self.settle();
    }

    /// Ends the connection so that both sides notice at once; what was under way is gone.
    pub(crate) fn lose(&mut self) {
        self.in_flight.clear();
        for side in Side::BOTH {
            if let Some(session) = &mut self.end_mut(side).session {
                session.handle_lost("lost".to_owned());
            }
        }
        self.settle();
    }

    /// From now on nothing arrives, and nobody is told.
    pub(crate) fn cut(&mut self) {
        self.is_cut = true;
        self.in_flight.clear();
    }

    /// Sets or removes a service of a side.
    pub(crate) fn change(&mut self, side: Side, name: &str, port: Option<u16>) {
        let key = service_key(side, name);
        let end = self.end_mut(side);
        match port {
            Some(port) => end.store.put(key, service(port), None),
            None => end.store.delete(&key, None),
        };
        let newest = end.store.cursor();
        if let Some(session) = &mut end.session {
            session.handle_newest(newest);
        }
        self.settle();
    }

    /// A side starts anew: its store has another epoch, and it remembers nothing of the other.
    pub(crate) fn restart(&mut self, side: Side, epoch: u64) {
        self.lose();
        let end = self.end_mut(side);
        let mut store = Store::new(Epoch(epoch));
        for (key, value) in end.store.iter() {
            store.put(key, value, None);
        }
        *end = End {
            features: end.features,
            delays: end.delays,
            store,
            ..End::new(epoch)
        };
    }

    /// Goes on until something happens, and says whether anything but the next heartbeats may still happen.
    pub(crate) fn step(&mut self) {
        let arrival = self.in_flight.front().map(|frame| frame.at);
        let deadlines = Side::BOTH.iter().filter_map(|side| {
            let session = self.end(*side).session.as_ref()?;
            session.poll_timeout()
        });
        let Some(next) = deadlines.chain(arrival).min() else {
            return;
        };
        self.now = self.now.max(next);
        if arrival.is_some_and(|at| at <= self.now)
            && let Some(frame) = self.in_flight.pop_front()
        {
            self.carried += 1;
            self.arrive(frame);
        }
        let now = self.now;
        for side in Side::BOTH {
            let end = self.end_mut(side);
            if let Some(session) = &mut end.session
                && session.poll_timeout().is_some_and(|at| at <= now)
            {
                session.handle_timeout(now);
            }
        }
        self.settle();
    }

    /// Goes on until a time.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end && self.ends.iter().any(|end| end.session.is_some()) {
            self.step();
        }
    }

    fn arrive(&mut self, frame: InFlight) {
        let now = self.now;
        let end = self.end_mut(frame.to);
        let Some(session) = &mut end.session else {
            return;
        };
        end.decoders[index(frame.channel)].push(&frame.bytes);
        let mut has_read = true;
        while std::mem::take(&mut has_read) {
            for channel in Channel::ALL {
                while session.may_read(channel)
                    && let Ok(Some(decoded)) = end.decoders[index(channel)].next_frame()
                {
                    session.handle_frame(channel, decoded, now);
                    has_read = true;
                }
            }
        }
    }

    fn fly(&mut self, frame: InFlight) {
        let behind = self.in_flight.partition_point(|other| other.at <= frame.at);
        self.in_flight.insert(behind, frame);
    }

    /// Performs all outputs, and the stores' answers to them.
    fn settle(&mut self) {
        for side in Side::BOTH {
            while let Some(output) = self.poll(side) {
                self.perform(side, output);
            }
        }
    }

    fn poll(&mut self, side: Side) -> Option<Output> {
        self.end_mut(side).session.as_mut()?.poll_output()
    }

    fn perform(&mut self, side: Side, output: Output) {
        let now = self.now;
        let is_cut = self.is_cut;
        let end = self.end_mut(side);
        match output {
            Output::Send(channel, body) => {
                let mut bytes = BytesMut::new();
                codec::encode(body, &mut bytes);
                if channel != Channel::Control {
                    end.state_bytes += bytes.len();
                }
                let at = now + LATENCY + end.delays[index(channel)];
                if !is_cut {
                    self.fly(InFlight {
                        at,
                        to: side.other(),
                        channel,
                        bytes: bytes.to_vec(),
                    });
                }
            }
            Output::Ask(_, question) => {
                let answer = end.reader.answer(&end.store, &question, FETCH_LIMIT);
                if let Some(session) = &mut end.session {
                    session.handle_answer(answer);
                }
            }
            Output::Compare { theirs } => {
                let step = end.compare(&theirs);
                if let Some(session) = &mut end.session {
                    session.handle_compared(step);
                }
            }
            Output::Split => {}
            Output::Up { resumed, instance } => {
                assert_eq!(instance, Some(side.other().instance()));
                end.ups.push(resumed);
            }
            Output::Subscribed { resumed } => end.ups.push(resumed),
            Output::Deliver(delivery) => end.take(delivery),
            Output::Refused(refusal) => panic!("an honest peer is refused: {refusal}"),
            Output::LeftOut { key, .. } => panic!("{key:?} is left out"),
            Output::Slowed(_) => panic!("no pace was set"),
            Output::Rtt(rtt) => assert_eq!(rtt, LATENCY * 2),
            Output::Close(_) => {}
            Output::Down(reason) => {
                end.downs.push((now, reason));
                end.session = None;
            }
        }
    }
}

/// The place of a channel.
pub(crate) fn index(channel: Channel) -> usize {
    Channel::ALL
        .iter()
        .position(|other| *other == channel)
        .unwrap()
}

fn service_key(side: Side, name: &str) -> Key {
    Key {
        cluster: side.cluster(),
        id: ResourceId::Service(ServiceName::parse("shop", name).unwrap()),
    }
}

fn service(port: u16) -> Resource {
    Resource::from(Service {
        ports: vec![ServicePort::new(None, Protocol::Tcp, port)],
        ..Service::default()
    })
}
