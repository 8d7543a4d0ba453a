//! A gateway and one peer of its that says whatever it likes, over a session with a valid certificate.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use cluster_registry::{
    cluster::Control,
    link::LinkSpec,
    name::ClusterName,
    resource::{Key, Resource, ResourceId},
    service::Timestamp,
    store::{Change, Revision},
};
use mesh_gateway_core::{
    codec::{self, Decoder},
    convert::{Origins, encode_change},
    reason::DownReason,
    resume::Offer,
    session::{Channel, Config, Features, Output, Session, Subscription},
    wire::{self, Body},
};

use crate::{
    clock::Clock,
    gateway::{Fact, Gateway},
    scenery::cluster_name,
    truth::Picture,
};

/// The victim's own cluster, the hostile peer and an honest one.
pub(crate) const OWN: usize = 0;
pub(crate) const HOSTILE: usize = 1;
pub(crate) const HONEST: usize = 2;

/// When all this is, in seconds since 1970.
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000);

/// The gateway, its session with the peer, and what became of what the peer said.
pub(crate) struct Victim {
    pub(crate) gateway: Gateway,
    session: Session,
    decoders: [Decoder; 4],
    now: Instant,
    /// Why something was not taken, by label.
    pub(crate) refused: Vec<&'static str>,
    pub(crate) ended: Option<DownReason>,
}

impl Victim {
    /// A gateway whose peer has a link of its own, and has said that everything follows.
    pub(crate) fn new(link: LinkSpec) -> Self {
        let now = Instant::now();
        let clock = Clock::new(now, 1_000_000);
        let own = cluster_name(OWN);
        let mut gateway = Gateway::new((own.clone(), 0), 1, clock, Duration::from_secs(60));
        gateway.registry.set_time(NOW);
        gateway.add_link(
            LinkSpec::new(cluster_name(HONEST)),
            [HONEST].into_iter(),
            1,
            now,
        );
        gateway.add_link(link, [HOSTILE].into_iter(), 1, now);
        for peer in [HOSTILE, HONEST] {
            gateway
                .registry
                .set_control(&cluster_name(peer), Control::Connected);
        }
        let mut victim = Self {
            gateway,
            session: session(&own, now),
            decoders: Default::default(),
            now,
            refused: Vec::new(),
            ended: None,
        };
        victim.open();
        victim
    }

    /// Another session of the same peer, with nothing said in it yet.
    #[cfg(test)]
    fn reconnect(&mut self) {
        self.session = session(&self.gateway.cluster, self.now);
        self.decoders = Default::default();
        self.open();
    }

    fn open(&mut self) {
        let hello = wire::Hello {
            heartbeat_interval_ms: 100,
            ..wire::Hello::default()
        };
        self.say(Channel::Control, Body::Hello(hello));
        self.say(
            Channel::Control,
            Body::Welcome(wire::Welcome { resumed: false }),
        );
        self.say(
            Channel::Bulk,
            Body::SnapshotBegin(wire::SnapshotBegin::default()),
        );
    }

    /// The peer has said everything.
    pub(crate) fn end_snapshot(&mut self) {
        self.say(
            Channel::Bulk,
            Body::SnapshotEnd(wire::SnapshotEnd::default()),
        );
    }

    /// The peer sends a message.
    pub(crate) fn say(&mut self, channel: Channel, body: Body) {
        let mut bytes = BytesMut::new();
        codec::encode(body, &mut bytes);
        self.send(channel, &bytes);
    }

    /// The peer announces something, or that it is gone, as of any cluster.
    pub(crate) fn announce(&mut self, of: usize, id: ResourceId, value: Option<Resource>) {
        let update = update(of, id, value);
        let updates = vec![update];
        self.say(
            Channel::Bulk,
            Body::Updates(wire::Updates { updates, batch: 0 }),
        );
    }

    /// The peer sends bytes.
    pub(crate) fn send(&mut self, channel: Channel, bytes: &[u8]) {
        let decoder = &mut self.decoders[crate::connection::index_of(channel)];
        decoder.push(bytes);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => self.session.handle_frame(channel, frame, self.now),
                Ok(None) => break,
                Err(error) => {
                    self.session.handle_malformed(&error);
                    break;
                }
            }
        }
        self.perform();
    }

    fn perform(&mut self) {
        let hostile = cluster_name(HOSTILE);
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Deliver(delivery) => {
                    let mut facts = Vec::new();
                    self.gateway.take(&hostile, delivery, &mut facts);
                    self.refused.extend(facts.iter().filter_map(refusal_label));
                }
                Output::Refused(refusal) => self.refused.push(refusal.label()),
                Output::Down(reason) => self.ended = Some(reason),
                Output::Send(..)
                | Output::Ask(..)
                | Output::Compare { .. }
                | Output::Split
                | Output::Up { .. }
                | Output::Subscribed { .. }
                | Output::LeftOut { .. }
                | Output::Slowed(_)
                | Output::Rtt(_)
                | Output::Close(_) => {}
            }
        }
    }

    /// The honest peer announces something.
    pub(crate) fn honest_says(&mut self, id: ResourceId, value: Resource) {
        let cluster = cluster_name(HONEST);
        let key = Key {
            cluster: cluster.clone(),
            id,
        };
        let taken = self
            .gateway
            .registry
            .handle_import(&cluster, key, Some(value), None);
        assert!(taken.is_ok(), "an honest peer is refused: {taken:?}");
    }

    /// This cluster has something.
    pub(crate) fn have(&mut self, id: &ResourceId, value: Resource) {
        match (id, &value) {
            (ResourceId::Tunnel(node), Resource::Tunnel(tunnel)) => {
                self.gateway
                    .registry
                    .apply_tunnel(node, Some(tunnel.clone()), None);
            }
            _object => self.gateway.registry.apply_local(id, Some(value), None),
        }
    }

    /// What this cluster sees.
    pub(crate) fn picture(&mut self) -> Picture {
        Picture::of_view(&self.gateway.registry.view())
    }
}

fn refusal_label(fact: &Fact) -> Option<&'static str> {
    match fact {
        Fact::Refused { refusal, .. } => Some(refusal.label()),
        Fact::Taken { .. }
        | Fact::Gone(_)
        | Fact::Dropped
        | Fact::Progress(_)
        | Fact::Broken(_) => None,
    }
}

/// An update of the hostile peer.
pub(crate) fn update(of: usize, id: ResourceId, value: Option<Resource>) -> wire::Update {
    let change = Change {
        key: Key {
            cluster: cluster_name(of),
            id,
        },
        value,
        revision: Revision(1),
        trace: None,
    };
    encode_change(&change, &cluster_name(HOSTILE))
}

fn session(own: &ClusterName, now: Instant) -> Session {
    let config = Config {
        cluster: own.clone(),
        instance: crate::gateway::instance_of(0, 1),
        peer: cluster_name(HOSTILE),
        origins: Origins::Own,
        heartbeat_interval: crate::HEARTBEAT_INTERVAL,
        detect_multiplier: 3,
        subscription: Subscription::Now(Offer::default()),
        features: Features::ALL,
    };
    Session::new(config, now)
}

#[cfg(test)]
mod tests;
