//! Watches what readers are told, and calls the world broken when that breaks a promise.

use std::time::Duration;

use cluster_registry::{
    name::ClusterName,
    resource::{Resource, ResourceId},
    store::Cursor,
};

use super::World;
use crate::{
    gateway::{Fact, life_of},
    truth::{self, Picture},
};

impl World {
    /// Notes what a cluster shows from here on.
    pub(super) fn note_exports(&mut self, cluster: usize) {
        let gateway = &self.gateways[cluster];
        let at = gateway.registry.exports().cursor().revision;
        let shows = self.offers[cluster].exports();
        self.histories[cluster].note(shows, gateway.life, at);
    }

    /// Holds what a reader was told against what was.
    pub(super) fn note_facts(&mut self, reader: usize, from: &ClusterName, facts: Vec<Fact>) {
        for fact in facts {
            let own = self.gateways[reader].cluster.clone();
            self.tell(|| format!("{own} of {from}: {fact:?}"));
            if let Err(what) = self.note_fact(reader, from, fact) {
                let reader = &self.gateways[reader].cluster;
                self.fail(format!("{reader} of {from}: {what}"));
            }
        }
    }

    fn note_fact(&mut self, reader: usize, from: &ClusterName, fact: Fact) -> Result<(), String> {
        let Some(publisher) = self.offers.iter().position(|offer| offer.cluster == *from) else {
            return Err("it is nobody".to_owned());
        };
        let history = &self.histories[publisher];
        let reading = self.readings[reader].entry(from.clone()).or_default();
        match fact {
            Fact::Taken {
                id,
                value,
                has_effect,
            } => {
                self.stats.updates += 1;
                let known = reading.knows(history, &id);
                reading.note(history, &id, value.as_ref())?;
                if has_effect && known == Some(value.as_ref()) {
                    return Err(format!("{id:?} took effect twice as {value:?}"));
                }
                Ok(())
            }
            Fact::Refused { id, value, reason } => {
                self.stats.refused += 1;
                reading.forget_key(&id);
                self.check_refusal(reader, from, &id, value.as_ref(), &reason)
            }
            Fact::Gone(id) => {
                let own = &self.gateways[reader].cluster;
                let hides = |(by, to, scope): &(usize, ClusterName, _)| {
                    *by == publisher && to == own && !truth::is_told(scope, &id)
                };
                if self.scopes.values().any(hides) {
                    reading.forget_key(&id);
                    return Ok(());
                }
                reading.note(history, &id, None)
            }
            Fact::Dropped => {
                self.stats.expired += 1;
                reading.forget();
                Ok(())
            }
            Fact::Progress(cursor) => self.check_progress(reader, publisher, cursor),
            Fact::Broken(what) => Err(what),
        }
    }

    fn check_refusal(
        &self,
        reader: usize,
        from: &ClusterName,
        id: &ResourceId,
        value: Option<&Resource>,
        reason: &str,
    ) -> Result<(), String> {
        let link = self.offers[reader].links.get(from);
        let is_granted =
            value.is_none_or(|value| link.is_some_and(|l| truth::is_granted(l, id, value)));
        if is_granted {
            return Err(format!("{id:?} is refused though it is granted: {reason}"));
        }
        Ok(())
    }

    /// Everything up to a position must have been said, of what the reader may know and takes.
    fn check_progress(
        &self,
        reader: usize,
        publisher: usize,
        cursor: Cursor,
    ) -> Result<(), String> {
        let from = &self.offers[publisher].cluster;
        let Some(peer) = self.gateways[reader].peers.get(from) else {
            return Ok(());
        };
        // A session that began before the link was changed was told, and took, what the link said then.
        if !peer.holding.has_said_all() {
            return Ok(());
        }
        let Some((_, _, scope)) = self.scopes.get(&cursor.epoch) else {
            return Err(format!("{cursor:?} is of no feed"));
        };
        let Some(reading) = self.readings[reader].get(from) else {
            return Ok(());
        };
        let concerns = |id: &ResourceId, value: &Resource| {
            truth::is_told(scope, id) && truth::is_granted(&peer.spec, id, value)
        };
        let position = (life_of(cursor.epoch), cursor.revision);
        reading.check(&self.histories[publisher], position, concerns)
    }

    /// What a peer said long ago may be in no view.
    pub(super) fn check_expiry(&mut self, reader: usize, expired: &[ClusterName]) {
        for name in expired {
            let gateway = &mut self.gateways[reader];
            let picture = Picture::of_view(&gateway.registry.view());
            let is_held = gateway.imports_of(name).next().is_some();
            if is_held || picture.has_endpoints_of(name) {
                let what = format!("{} still shows {name}, which has expired", gateway.cluster);
                self.fail(what);
            }
        }
    }

    /// A gateway that has heard nothing of a peer for the hold time may not show it, whatever its timers say.
    pub(super) fn check_silence(&mut self, reader: usize) {
        let gateway = &mut self.gateways[reader];
        let now = gateway.clock.at(self.now);
        let overdue = gateway.next_expiry();
        let slack = Duration::from_millis(1);
        if overdue.is_some_and(|at| at + slack < now) && gateway.busy_until < self.now {
            let what = format!("{} holds what it should have dropped", gateway.cluster);
            self.fail(what);
        }
    }

    pub(super) fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }
}
