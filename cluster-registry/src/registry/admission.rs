//! Decides what becomes of what a peer announces: shown, withheld until it may be shown, or dropped.
//!
//! What only the link's grants or somebody else's claim keep back is withheld and not lost: the peer will not say it
//! again. Nothing that one peer announces takes anything away from another one.

use super::{
    Registry,
    claims::Claim,
    peer::{Counts, Withheld},
};
use crate::{
    import::{self, Refusal},
    name::ClusterName,
    resource::{Key, Resource, ResourceId},
    trace::TraceContext,
};

/// What becomes of what a peer announced under a key.
#[derive(Debug)]
pub(super) enum Outcome {
    Shown(Resource),
    Withheld(Withheld),
    Gone,
}

impl Registry {
    /// Takes a value of a good form that a peer announces; says why, if it is not shown.
    pub(super) fn admit(
        &mut self,
        key: Key,
        value: Resource,
        was_held: bool,
        trace: Option<TraceContext>,
    ) -> Result<(), Refusal> {
        match self.judge(&key, &value) {
            Ok(()) => {
                self.set_held(key, was_held, Outcome::Shown(value), trace);
                Ok(())
            }
            Err((refusal, awaits)) => {
                self.count_refused(&key.cluster, &refusal);
                let withheld = Withheld { value, awaits };
                self.set_held(key, was_held, Outcome::Withheld(withheld), trace);
                Err(refusal)
            }
        }
    }

    /// Whether what a peer announces may be shown; if a claim stands in the way, which.
    fn judge(&self, key: &Key, value: &Resource) -> Result<(), (Refusal, Option<Claim>)> {
        if let Some(peer) = self.peers.get(&key.cluster) {
            import::check_grants(&peer.grants, &key.id, value)
                .map_err(|refusal| (refusal, None))?;
        }
        match self.claims.blocker(key, value) {
            Some((claim, refusal)) => Err((refusal, Some(claim))),
            None => Ok(()),
        }
    }

    pub(super) fn count_refused(&mut self, cluster: &ClusterName, refusal: &Refusal) {
        if let Some(peer) = self.peers.get_mut(cluster) {
            peer.count_refused(refusal);
        }
    }

    /// Whether anything is held under a key, shown or not.
    pub(super) fn holds(&mut self, key: &Key) -> bool {
        let peer = self.peers.get(&key.cluster);
        peer.is_some_and(|peer| peer.withheld.contains_key(&key.id)) || self.feed.seek(key)
    }

    pub(super) fn set_import(&mut self, key: Key, outcome: Outcome, trace: Option<TraceContext>) {
        let was_held = self.holds(&key);
        self.set_held(key, was_held, outcome, trace);
    }

    /// As [`Self::set_import`], where it is known whether anything is held under the key.
    fn set_held(
        &mut self,
        key: Key,
        was_held: bool,
        outcome: Outcome,
        trace: Option<TraceContext>,
    ) {
        let Some(peer) = self.peers.get_mut(&key.cluster) else {
            return;
        };
        let old = peer.take_withheld(&key.id);
        if let Some(claim) = old.and_then(|old| old.awaits) {
            self.claims.stop_waiting(claim, &key);
        }
        let (is_held, shown) = match outcome {
            Outcome::Shown(value) => (true, Some(value)),
            Outcome::Withheld(withheld) => {
                if let Some(claim) = withheld.awaits {
                    self.claims.wait(claim, key.clone());
                }
                peer.withhold(key.id.clone(), withheld);
                (true, None)
            }
            Outcome::Gone => (false, None),
        };
        peer.held.count_present(&key.id, was_held, is_held);
        peer.said.note(&key, is_held);
        self.set_feed(key, shown, trace);
    }

    /// Lets peers give way to what this cluster holds, and shows what nothing stands in the way of any more.
    pub(super) fn settle_claims(&mut self) {
        while let Some(rival) = self.rivals.pop_first() {
            self.recheck_imports(&rival);
        }
        while let Some(key) = self.freed.pop_first() {
            self.reconsider(key);
        }
    }

    fn reconsider(&mut self, key: Key) {
        let peer = self.peers.get(&key.cluster);
        let Some(withheld) = peer.and_then(|peer| peer.withheld.get(&key.id)) else {
            return;
        };
        let value = withheld.value.clone();
        let outcome = match self.judge(&key, &value) {
            Ok(()) => Outcome::Shown(value),
            Err((_, awaits)) if awaits == withheld.awaits => return,
            Err((_, awaits)) => Outcome::Withheld(Withheld { value, awaits }),
        };
        self.set_import(key, outcome, None);
    }

    /// Looks anew at all that a peer announced, after its link or this cluster's own claims have changed.
    pub(super) fn recheck_imports(&mut self, cluster: &ClusterName) {
        let Some(peer) = self.peers.get_mut(cluster) else {
            return;
        };
        let withheld = peer.withheld.keys().cloned();
        let waiting: Vec<Key> = withheld.map(|id| peer.key(id)).collect();
        let shown = self.feed.iter_of(cluster);
        let shown = shown.filter(|(key, _)| key.id != ResourceId::Cluster);
        let shown: Vec<(Key, Resource)> = shown.collect();
        let mut kept = Counts::default();
        for (key, value) in shown {
            if !self.has_room(&key, &mut kept) {
                continue;
            }
            if let Err((refusal, awaits)) = self.judge(&key, &value) {
                self.count_refused(cluster, &refusal);
                self.set_import(key, Outcome::Withheld(Withheld { value, awaits }), None);
            }
        }
        for key in waiting {
            if self.has_room(&key, &mut kept) {
                self.reconsider(key);
            }
        }
    }

    /// Counts a key, and drops it when it is one more than its cluster's link takes.
    fn has_room(&mut self, key: &Key, kept: &mut Counts) -> bool {
        let Some(peer) = self.peers.get_mut(&key.cluster) else {
            return false;
        };
        if let Err(refusal) = kept.check_room(&key.id, peer.limits) {
            peer.count_refused(&refusal);
            peer.note_no_room(&key.id, &refusal);
            self.set_import(key.clone(), Outcome::Gone, None);
            return false;
        }
        kept.count_present(&key.id, false, true);
        true
    }
}
