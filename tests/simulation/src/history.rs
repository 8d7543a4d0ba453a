//! Every state that each cluster showed of each key, in order, and what each reader was told of it: the guarantees of a watch.
//!
//! A reader may skip states, but may not go back, may not be told of a state that never was, and at a position must have
//! heard of everything up to it.

use std::collections::BTreeMap;

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
    /// The last of them, and since when it is, in the store's own numbers.
    newest: Option<(Option<Resource>, Life, Revision)>,
}

impl Track {
    fn push(&mut self, state: Option<Resource>, life: Life, revision: Revision) {
        self.states.push(state.clone());
        self.newest = Some((state, life, revision));
    }

    /// The first state from `from` on that looks so.
    fn find(&self, from: usize, state: Option<&Resource>) -> Option<usize> {
        let mut later = self.states.iter().enumerate().skip(from);
        later.find(|(_, s)| s.as_ref() == state).map(|(at, _)| at)
    }
}

/// What one cluster showed.
#[derive(Debug, Default)]
pub(crate) struct History {
    tracks: BTreeMap<ResourceId, Track>,
    shown: BTreeMap<ResourceId, Resource>,
}

impl History {
    /// From here on it shows this.
    pub(crate) fn note(&mut self, shows: BTreeMap<ResourceId, Resource>, life: Life, at: Revision) {
        let gone: Vec<ResourceId> = self
            .shown
            .keys()
            .filter(|id| !shows.contains_key(id))
            .cloned()
            .collect();
        for id in gone {
            self.tracks.entry(id).or_default().push(None, life, at);
        }
        for (id, value) in &shows {
            if self.shown.get(id) != Some(value) {
                let track = self.tracks.entry(id.clone()).or_default();
                track.push(Some(value.clone()), life, at);
            }
        }
        self.shown = shows;
    }
}

/// What one reader was told of one cluster, as places in its history.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    places: BTreeMap<ResourceId, usize>,
}

impl Reading {
    /// It was told of a state.
    pub(crate) fn note(
        &mut self,
        history: &History,
        id: &ResourceId,
        state: Option<&Resource>,
    ) -> Result<(), String> {
        let from = self.places.get(id).copied();
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

    /// It was told that it has heard of everything up to a position, of what `concerns` it.
    ///
    /// What has changed since may have been left out, as its newer state comes behind the position. What is not open is
    /// not looked at.
    pub(crate) fn check(
        &self,
        history: &History,
        position: (Life, Revision),
        concerns: impl Fn(&ResourceId, &Resource) -> bool,
        is_open: impl Fn(&ResourceId, &Resource) -> bool,
    ) -> Result<(), String> {
        for (id, track) in &history.tracks {
            let Some((newest, life, revision)) = &track.newest else {
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
