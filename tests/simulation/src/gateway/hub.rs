//! What the hub of a gateway does with the reports of its sessions, and when it drops what lost peers said.

use std::time::Instant;

use cluster_registry::{
    cluster::Control,
    name::ClusterName,
    resource::{Key, ResourceId},
};
use mesh_gateway_core::{
    instance::Instance, reason::GoodbyeReason, session::Delivery, update::Update,
};

use super::{Fact, Gateway, Order, Peer, Report};
use crate::drive::{Event, SessionNumber};

impl Gateway {
    /// Takes the oldest report.
    pub(crate) fn take_report(&mut self, now: Instant) -> Option<(ClusterName, Vec<Fact>)> {
        let Report {
            session,
            peer: name,
            event,
        } = self.reports.pop_front()?;
        let Some(peer) = self.peers.get_mut(&name) else {
            if let Event::Up { .. } = event {
                self.orders
                    .push(Order::Close(session, GoodbyeReason::NotAuthorised));
            }
            return Some((name, Vec::new()));
        };
        let is_current = peer.seat.is_lead(session);
        let mut facts = Vec::new();
        match event {
            Event::Up { instance } => self.seat(&name, session, instance),
            Event::Subscribed { resumed } if is_current => self.note_subscribed(&name, resumed),
            Event::Delivery(delivery) if is_current => {
                match &delivery {
                    Delivery::SnapshotBegin(_) => peer.holding.handle_snapshot_begin(),
                    Delivery::SnapshotEnd => peer.holding.handle_snapshot_end(),
                    Delivery::Progress(cursor) => peer.holding.handle_progress(*cursor),
                    Delivery::Updates(_) => {}
                }
                let is_progress = matches!(delivery, Delivery::Progress(_));
                self.take(&name, delivery, &mut facts);
                if is_progress {
                    self.ask_again_if_there_is_room(&name);
                }
            }
            Event::Compare { theirs } if is_current => {
                let step = self.registry.compare_imports(&name, &theirs);
                let answer = step.map(|step| Order::Compared(session, step));
                self.orders.extend(answer);
            }
            Event::Refused(refusal) if is_current => {
                facts.push(Fact::Broken(format!("an update is unreadable: {refusal}")));
            }
            Event::Down => self.unseat(&name, session, now),
            Event::Subscribed { .. }
            | Event::Delivery(_)
            | Event::Compare { .. }
            | Event::Refused(_) => {}
        }
        Some((name, facts))
    }

    fn ask_again_if_there_is_room(&mut self, name: &ClusterName) {
        if !self.registry.take_room_again(name) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(name) {
            peer.holding.ask_for_everything();
            peer.resume.clear();
            let lead = peer.seat.lead();
            let close = lead.map(|lead| Order::Close(lead, GoodbyeReason::LinkChanged));
            self.orders.extend(close);
        }
    }

    fn seat(&mut self, name: &ClusterName, session: SessionNumber, instance: Option<Instance>) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        let dialled = peer.dialled(&self.cluster);
        let was_connected = !peer.seat.is_empty();
        peer.seat.handle_up(session, instance, dialled);
        self.orders.extend(peer.orders());
        if peer.seat.holds(session) && !was_connected {
            self.registry.set_control(name, Control::Connected);
        }
    }

    fn unseat(&mut self, name: &ClusterName, session: SessionNumber, now: Instant) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        let was_held = peer.seat.holds(session);
        peer.seat.handle_down(session);
        self.orders.extend(peer.orders());
        if was_held && peer.seat.is_empty() {
            peer.holding.lose(now);
            self.registry.set_control(name, Control::Lost);
        }
    }

    /// The lead has begun to say what it has; one that continues what was dropped meanwhile is of no use.
    fn note_subscribed(&mut self, name: &ClusterName, resumed: bool) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        match peer.holding.check(resumed) {
            Ok(()) => peer.holding.connect(resumed),
            Err(reason) => {
                let lead = peer.seat.lead();
                self.orders
                    .extend(lead.map(|lead| Order::Close(lead, reason)));
            }
        }
    }

    /// Does with what a peer says what the hub does with it.
    pub(crate) fn take(&mut self, name: &ClusterName, delivery: Delivery, facts: &mut Vec<Fact>) {
        match delivery {
            Delivery::SnapshotBegin(ranges) => self.registry.handle_import_begin(name, &ranges),
            Delivery::Updates(updates) => {
                facts.extend(updates.into_iter().map(|update| self.import(name, update)));
            }
            Delivery::SnapshotEnd => {
                let before: Vec<Key> = self.imports_of(name).collect();
                self.registry.handle_import_end(name);
                let gone = before
                    .into_iter()
                    .filter(|key| self.registry.feed().get(key).is_none());
                facts.extend(gone.map(|key| Fact::Gone(key.id)));
            }
            Delivery::Progress(cursor) => facts.push(Fact::Progress(cursor)),
        }
    }

    fn import(&mut self, name: &ClusterName, update: Update) -> Fact {
        let Update { key, value, trace } = update;
        let id = key.id.clone();
        let (shown, is_present) = (key.clone(), value.is_some());
        let before = self.registry.feed().cursor();
        match self.registry.handle_import(name, key, value.clone(), trace) {
            Ok(()) => Fact::Taken {
                id,
                value,
                has_effect: self.registry.feed().cursor() != before,
                is_shown: self.registry.feed().get(&shown).is_some() == is_present,
            },
            Err(refusal) => Fact::Refused { id, value, refusal },
        }
    }

    /// What is known of a peer.
    pub(crate) fn imports_of(&self, name: &ClusterName) -> impl Iterator<Item = Key> {
        let known = self.registry.feed().iter_of(name).map(|(key, _)| key);
        known.filter(|key| key.id != ResourceId::Cluster)
    }

    /// Whether all that a peer said is shown, and so remembered.
    pub(crate) fn knows_all_of(&self, name: &ClusterName) -> bool {
        let summary = self.registry.peer_summary(name);
        summary.is_some_and(|s| s.withheld == 0 && s.over_limit.is_none())
    }

    /// When it next drops what a lost peer said.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let expiries = self.peers.values();
        expiries
            .filter_map(|peer| peer.holding.expires(self.hold_time))
            .min()
    }

    /// Drops what was held for long enough.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<ClusterName> {
        let is_due = |peer: &Peer| {
            peer.holding
                .expires(self.hold_time)
                .is_some_and(|at| at <= now)
        };
        let due: Vec<ClusterName> = self
            .peers
            .iter()
            .filter(|(_, peer)| is_due(peer))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &due {
            self.registry.drop_peer_state(name);
            if let Some(peer) = self.peers.get_mut(name) {
                peer.holding.forget();
                peer.resume.clear();
            }
        }
        due
    }
}
