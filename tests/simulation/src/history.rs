//! Every state that each cluster showed of each key, in order, and what each reader was told of it: the guarantees of a watch.
//!
//! A reader may skip states, but may not go back, may not be told of a state that never was, and at a position must have
//! heard of everything up to it.

use std::collections::{BTreeMap, BTreeSet};

use cluster_registry::{
    name::ClusterName,
    resource::{Resource, ResourceId},
    store::Revision,
};

/// One life of a publisher's store.
pub(crate) type Life = u64;

/// All states of one key.
#[derive(Debug, Default)]
struct Track {
    states: Vec<Option<Resource>>,
    /// The last that each gateway showed, and since when it does, in its store's own numbers.
    newest: BTreeMap<usize, (Option<Resource>, Life, Revision)>,
}

impl Track {
    fn push(
        &mut self,
        gateway: usize,
        state: Option<Resource>,
        (life, revision): (Life, Revision),
    ) {
        // A cluster's gateways show the same in the same order, each in its own time.
        if self.states.last() != Some(&state) {
            self.states.push(state.clone());
        }
        self.newest.insert(gateway, (state, life, revision));
    }

    /// The first state from `from` on that looks so.
    fn find(&self, from: usize, state: Option<&Resource>) -> Option<usize> {
        let mut later = self.states.iter().enumerate().skip(from);
        later.find(|(_, s)| s.as_ref() == state).map(|(at, _)| at)
    }
}

/// What one cluster showed, by any of its gateways.
#[derive(Debug, Default)]
pub(crate) struct History {
    tracks: BTreeMap<ResourceId, Track>,
    shown: BTreeMap<usize, BTreeMap<ResourceId, Resource>>,
}

impl History {
    /// From here on a gateway shows this.
    pub(crate) fn note(
        &mut self,
        gateway: usize,
        shows: BTreeMap<ResourceId, Resource>,
        at: (Life, Revision),
    ) {
        let shown = self.shown.remove(&gateway).unwrap_or_default();
        let gone = shown.keys().filter(|id| !shows.contains_key(id));
        for id in gone.cloned() {
            self.tracks.entry(id).or_default().push(gateway, None, at);
        }
        for (id, value) in &shows {
            if shown.get(id) != Some(value) {
                let track = self.tracks.entry(id.clone()).or_default();
                track.push(gateway, Some(value.clone()), at);
            }
        }
        self.shown.insert(gateway, shows);
    }
}

/// What one reader was told of one cluster, as places in its history.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    places: BTreeMap<ResourceId, usize>,
    /// Keys of which the next word may be an older one: another gateway says it.
    anew: BTreeSet<ResourceId>,
}

impl Reading {
    /// It was told of a state.
    pub(crate) fn note(
        &mut self,
        history: &History,
        id: &ResourceId,
        state: Option<&Resource>,
    ) -> Result<(), String> {
        let is_anew = self.anew.remove(id);
        if is_anew && state.is_none() {
            // Another gateway may not have heard of it yet; what it says by the position is held against what it shows.
            self.places.remove(id);
            return Ok(());
        }
        let from = self.places.get(id).copied();
        let from = from.map(|from| if is_anew { 0 } else { from });
        let Some(track) = history.tracks.get(id) else {
            return match state {
                None => Ok(()),
                Some(state) => Err(format!("{id:?} was said to be {state:?}, and never was")),
            };
        };
        match track.find(from.unwrap_or_default(), state) {
            Some(at) => {
                self.places.insert(id.clone(), at);
                Ok(())
            }
            None if from.is_none() && state.is_none() => Ok(()),
            None => Err(format!(
                "{id:?} went back to {state:?} from {from:?} of {:?}",
                track.states
            )),
        }
    }

    /// What it knows of a key; `None` when it was told nothing.
    pub(crate) fn knows<'a>(
        &self,
        history: &'a History,
        id: &ResourceId,
    ) -> Option<Option<&'a Resource>> {
        let at = self.places.get(id)?;
        Some(history.tracks.get(id)?.states.get(*at)?.as_ref())
    }

    /// From here on another gateway of the cluster tells it, which may have heard less so far.
    pub(crate) fn change_teller(&mut self) {
        self.anew = self.places.keys().cloned().collect();
    }

    /// It no longer knows anything.
    pub(crate) fn forget(&mut self) {
        self.places.clear();
    }

    /// It knows only what is kept.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(&ResourceId) -> bool) {
        self.places.retain(|id, _| is_kept(id));
    }

    /// It no longer knows anything of one key.
    pub(crate) fn forget_key(&mut self, id: &ResourceId) {
        self.places.remove(id);
    }

    /// It was told that it has heard of everything that a gateway showed up to a position, of what `concerns` it.
    ///
    /// What has changed since may have been left out, as its newer state comes behind the position. What is not open is
    /// not looked at.
    pub(crate) fn check(
        &self,
        (history, gateway): (&History, usize),
        position: (Life, Revision),
        concerns: impl Fn(&ResourceId, &Resource) -> bool,
        is_open: impl Fn(&ResourceId, &Resource) -> bool,
    ) -> Result<(), String> {
        for (id, track) in &history.tracks {
            let Some((newest, life, revision)) = track.newest.get(&gateway) else {
                continue;
            };
            if (*life, *revision) > position {
                continue;
            }
            let must = newest.as_ref().filter(|value| concerns(id, value));
            let knows = self.knows(history, id).flatten();
            let mut open = must.iter().copied().chain(knows);
            if !open.all(|value| is_open(id, value)) {
                continue;
            }
            if knows != must {
                return Err(format!(
                    "at {position:?} {id:?} is still {knows:?}, must be {must:?}"
                ));
            }
        }
        Ok(())
    }
}

/// What one reader was told of all clusters.
pub(crate) type Readings = BTreeMap<ClusterName, Reading>;
