//! Watches what readers are told, and calls the world broken when that breaks a promise.

use std::time::Duration;

use cluster_registry::{
    import::Refusal,
    link::Limits,
    name::ClusterName,
    resource::{Resource, ResourceId},
    store::Cursor,
};

use ipnet::IpNet;

use super::World;
use crate::{
    gateway::{Fact, life_of},
    truth::{self, Picture},
};

/// How often the world is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How late a gateway may be.
const SLACK: Duration = Duration::from_millis(50);

/// The time in which silence must be noticed by the slowest clock, and looked at.
const DETECTION: Duration = Duration::from_millis(350);

impl World {
    /// Notes what a gateway shows from here on.
    pub(super) fn note_exports(&mut self, number: usize) {
        let gateway = &self.gateways[number];
        let at = gateway.registry.exports().cursor().revision;
        let cluster = self.cluster_of(number);
        let shows = truth::exports(&self.objects[number], &self.tunnels[number]);
        self.histories[cluster].note(number, shows, (gateway.life, at));
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
        let tellers: Vec<usize> = self.gateways_of(publisher).collect();
        let reading = self.readings[reader].entry(from.clone()).or_default();
        match fact {
            Fact::Taken {
                id,
                is_shown: false,
                ..
            } => {
                reading.forget_key(&id);
                Ok(())
            }
            Fact::Taken {
                id,
                value,
                has_effect,
                is_shown: true,
            } => {
                self.stats.updates += 1;
                let known = reading.knows(history, &id);
                reading.note(history, &id, value.as_ref())?;
                if has_effect && known == Some(value.as_ref()) {
                    return Err(format!("{id:?} took effect twice as {value:?}"));
                }
                Ok(())
            }
            Fact::Refused { id, value, refusal } => {
                self.stats.refused += 1;
                reading.forget_key(&id);
                self.check_refusal(reader, from, &id, value.as_ref(), &refusal)
            }
            Fact::Gone(id) => {
                let own = &self.gateways[reader].cluster;
                let hides = |(by, to, scope): &(usize, ClusterName, _)| {
                    tellers.contains(by) && to == own && !truth::is_told(scope, &id)
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
        refusal: &Refusal,
    ) -> Result<(), String> {
        let link = self.offers[self.cluster_of(reader)].links.get(from);
        let is_granted =
            value.is_none_or(|value| link.is_some_and(|l| truth::is_granted(l, id, value)));
        let is_limited = link.is_some_and(|l| l.limits != Limits::default());
        let is_disputed = value.is_some_and(|value| self.is_disputed(id, value));
        if is_granted && !is_limited && !is_disputed {
            return Err(format!("{id:?} is refused though it is granted: {refusal}"));
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
        let Some((teller, _, scope)) = self.scopes.get(&cursor.epoch) else {
            return Err(format!("{cursor:?} is of no feed"));
        };
        let Some(reading) = self.readings[reader].get(from) else {
            return Ok(());
        };
        if peer.spec.limits != Limits::default() {
            return Ok(());
        }
        let concerns = |id: &ResourceId, value: &Resource| {
            truth::is_told(scope, id) && truth::is_granted(&peer.spec, id, value)
        };
        let position = (life_of(cursor.epoch), cursor.revision);
        let is_open = |id: &ResourceId, value: &Resource| !self.is_disputed(id, value);
        let shown = (&self.histories[publisher], *teller);
        reading.check(shown, position, concerns, is_open)
    }

    /// Whether two clusters have laid claim to what a resource needs: who has it depends on who came first.
    fn is_disputed(&self, id: &ResourceId, value: &Resource) -> bool {
        let ranges = truth::ranges_of(id, value);
        let overlap = |one: &IpNet, other: &IpNet| one.contains(other) || other.contains(one);
        ranges.iter().any(|range| {
            self.disputed
                .iter()
                .any(|disputed| overlap(range, disputed))
        })
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

    /// Looks for what no timer of the gateways may be trusted with.
    pub(super) fn look_around(&mut self) {
        if self.now < self.look_at {
            return;
        }
        self.look_at = self.now + LOOK;
        for reader in 0..self.gateways.len() {
            let gateway = &self.gateways[reader];
            if gateway.is_running && gateway.busy_until <= self.now {
                self.check_lost(reader);
            }
        }
        self.check_silence();
    }

    /// A gateway that has had no session with a peer for the hold time may not show anything of it.
    fn check_lost(&mut self, reader: usize) {
        let gateway = &self.gateways[reader];
        let now = gateway.clock.at(self.now);
        let hold = gateway.hold_time + SLACK;
        let mut overdue = None;
        for (name, peer) in &gateway.peers {
            let key = (reader, name.clone());
            if !peer.seat.is_empty() {
                self.lost_since.remove(&key);
                continue;
            }
            let since = *self.lost_since.entry(key).or_insert(now);
            let is_held = || gateway.imports_of(name).next().is_some();
            if now.saturating_duration_since(since) > hold && is_held() {
                overdue = Some(name.clone());
            }
        }
        if let Some(name) = overdue {
            let own = &self.gateways[reader].cluster;
            self.fail(format!(
                "{own} still holds what {name} said, which it lost long ago"
            ));
        }
    }

    /// A session in which nothing arrives may not stay up.
    fn check_silence(&mut self) {
        let mut silent = None;
        for end in self.connections.values().flat_map(|c| &c.ends) {
            let gateway = &self.gateways[end.gateway];
            let is_halted = gateway.busy_until > self.now;
            let Some(drive) = end
                .drive
                .as_ref()
                .filter(|d| d.session.is_up() && !is_halted)
            else {
                continue;
            };
            let since = end.heard_at.max(gateway.disturbed_at);
            if self.now.saturating_sub(since) > DETECTION {
                silent = Some(format!(
                    "{} still has session {}, in which nothing arrives",
                    gateway.cluster, drive.number
                ));
            }
        }
        if let Some(what) = silent {
            self.fail(what);
        }
    }

    pub(super) fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }
}
