//! What the hub of a gateway does with the reports of its sessions, and when it drops what lost peers said.

use std::time::Instant;

use cluster_registry::{
    cluster::Control,
    name::ClusterName,
    resource::{Key, ResourceId},
};
use mesh_gateway_core::{
    peering::Seating, reason::GoodbyeReason, session::Delivery, update::Update,
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
        let is_current = peer.seat.is_of(session);
        let mut facts = Vec::new();
        match event {
            Event::Up { resumed } => self.seat(&name, session, resumed),
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
            Event::Down => {
                if peer.seat.leave(session) {
                    peer.holding.lose(now);
                    self.registry.set_control(&name, Control::Lost);
                }
            }
            Event::Delivery(_) | Event::Compare { .. } | Event::Refused(_) => {}
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
            let session = peer.seat.live();
            let close = session.map(|session| Order::Close(session, GoodbyeReason::LinkChanged));
            self.orders.extend(close);
        }
    }

    fn seat(&mut self, name: &ClusterName, session: SessionNumber, resumed: bool) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        if let Err(reason) = peer.holding.check(resumed) {
            self.orders.push(Order::Close(session, reason));
            return;
        }
        match peer.seat.take(session) {
            Seating::Refused(reason) => self.orders.push(Order::Close(session, reason)),
            Seating::Taken { replaced } => {
                let closed = replaced.map(|old| Order::Close(old, GoodbyeReason::Replaced));
                self.orders.extend(closed);
                peer.holding.connect(resumed);
                self.registry.set_control(name, Control::Connected);
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
