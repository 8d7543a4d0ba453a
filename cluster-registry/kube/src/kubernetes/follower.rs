//! Follows lists and watches of several kinds until all are complete, and from then on tells what changes.
//!
//! A pure machine, [`Follower::handle`] for each fact. A list that is taken again, because the watch has lost its place,
//! only removes what it did not name once it has ended, so nothing flaps meanwhile.
//!
//! ```text
//! per kind:  Unlisted ──Begin──► Listing ──End──► Listed ──Begin──► Listing ...
//! ```

use std::collections::{BTreeMap, BTreeSet};

use kube::runtime::watcher::Event;

use crate::{
    convert::{Convert, Flaw, FlawList, KeyError, NotOurs},
    following::{Failure, Told},
    index::Index,
    object::{Object, ObjectKey},
    source::Problem,
};

/// How often in a row access to a kind that can be done without must be forbidden before it is done without: an API
/// server that has just started forbids everything until it has read its access rules.
const REFUSALS: usize = 3;

/// The kinds that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Namespace,
    Node,
    Service,
    EndpointSlice,
    ServiceExport,
    ServiceImport,
    ClusterLink,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Namespace,
        Self::Node,
        Self::Service,
        Self::EndpointSlice,
        Self::ServiceExport,
        Self::ServiceImport,
        Self::ClusterLink,
    ];

    /// The plural, as the API server and its access rules call it.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::Node => "nodes",
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices",
            Self::ServiceExport => "serviceexports",
            Self::ServiceImport => "serviceimports",
            Self::ClusterLink => "clusterlinks",
        }
    }

    /// What is off without the kind; `None` of a kind without which nothing can be said.
    fn feature(self) -> Option<&'static str> {
        match self {
            Self::Namespace | Self::Node | Self::Service | Self::EndpointSlice => None,
            Self::ServiceExport | Self::ServiceImport => Some("the Multi-Cluster Services API"),
            Self::ClusterLink => Some("linking by objects"),
        }
    }
}

/// Something that the API server said.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) kind: Kind,
    pub(super) news: News,
}

#[derive(Debug)]
pub(super) enum News {
    /// A list of the kind begins.
    Begin,
    /// An object is there.
    Present(Seen),
    /// An object is gone.
    Gone(Result<ObjectKey, KeyError>),
    /// The list of the kind is complete.
    End,
    /// The API server could not be asked; the watch goes on trying.
    Failed(Failure),
    /// It did not fail again for long enough to be deemed well.
    Recovered,
}

impl News {
    /// What a watch says, in our terms.
    pub(super) fn of<K: Convert>(told: Told<K>) -> Self {
        match told {
            Told::Event(Event::Init) => Self::Begin,
            Told::Event(Event::InitApply(object) | Event::Apply(object)) => {
                Self::Present(Seen::new(&object))
            }
            Told::Event(Event::InitDone) => Self::End,
            Told::Event(Event::Delete(object)) => Self::Gone(object.key()),
            Told::Failed(failure) => Self::Failed(failure),
            Told::Recovered => Self::Recovered,
        }
    }
}

/// An object that was seen, converted at once so that the original need not be kept.
#[derive(Debug)]
pub(super) struct Seen {
    key: Result<ObjectKey, KeyError>,
    object: Result<Object, NotOurs>,
    flaws: Vec<Flaw>,
}

impl Seen {
    pub(super) fn new(given: &impl Convert) -> Self {
        let mut flaws = Vec::new();
        Self {
            key: given.key(),
            object: given.convert(&mut flaws),
            flaws,
        }
    }
}

/// What was listed and watched up to now.
#[derive(Debug, Default)]
pub(super) struct Follower {
    index: Index,
    known: BTreeMap<Kind, BTreeSet<ObjectKey>>,
    /// What a running list has named.
    listing: BTreeMap<Kind, BTreeSet<ObjectKey>>,
    listed: BTreeSet<Kind>,
    /// How often in a row access to a kind was forbidden.
    refusals: BTreeMap<Kind, usize>,
    flaws_by_key: BTreeMap<ObjectKey, String>,
    failure_by_kind: BTreeMap<Kind, Failure>,
}

impl Follower {
    pub(super) fn handle(&mut self, fact: Fact) {
        let kind = fact.kind;
        match fact.news {
            // An attempt, which is no success yet.
            News::Begin => {
                self.listing.insert(kind, BTreeSet::new());
                return;
            }
            News::Failed(failure) => {
                let is_refusal = matches!(failure, Failure::Forbidden(_));
                let refusals = self.refusals.entry(kind).or_default();
                *refusals = if is_refusal { *refusals + 1 } else { 0 };
                self.failure_by_kind.insert(kind, failure);
                return;
            }
            News::Present(seen) => self.handle_present(kind, seen),
            News::Gone(Ok(key)) => self.remove(kind, key),
            // What has no valid name was never taken.
            News::Gone(Err(_)) | News::Recovered => {}
            News::End => self.handle_end(kind),
        }
        self.failure_by_kind.remove(&kind);
        self.refusals.remove(&kind);
    }

    /// The index, once every kind has been listed, or can be done without.
    pub(super) fn index(&mut self) -> Option<&mut Index> {
        let is_complete = Kind::ALL
            .iter()
            .all(|kind| self.listed.contains(kind) || self.is_dispensable(*kind));
        is_complete.then_some(&mut self.index)
    }

    fn is_dispensable(&self, kind: Kind) -> bool {
        if kind.feature().is_none() {
            return false;
        }
        match self.failure_by_kind.get(&kind) {
            Some(Failure::NotInstalled) => true,
            Some(Failure::Forbidden(_)) => {
                self.refusals.get(&kind).copied().unwrap_or_default() >= REFUSALS
            }
            Some(Failure::Other(_)) | None => false,
        }
    }

    /// All that is wrong, the watches first.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let failures = self.failure_by_kind.iter().map(|(kind, failure)| {
            let text = self.failure_text(*kind, failure);
            Problem::new(&format!("watch of {}", kind.plural()), 0, &text)
        });
        let flaws = self
            .flaws_by_key
            .iter()
            .map(|(key, text)| Problem::new(&key.to_string(), 0, text));
        failures.chain(flaws).collect()
    }

    fn failure_text(&self, kind: Kind, failure: &Failure) -> String {
        let was_listed = self.listed.contains(&kind);
        match (failure, kind.feature()) {
            (Failure::NotInstalled, Some(feature)) if !was_listed => format!(
                "the API server does not know this kind: {feature} is off until its \
                 CustomResourceDefinition is installed"
            ),
            (Failure::NotInstalled, _) => "the API server does not know this kind any more; what \
                 was known of it stands until it does"
                .to_owned(),
            (Failure::Forbidden(text), Some(feature)) if !was_listed => {
                format!("{text}; {feature} is off until this is allowed")
            }
            (Failure::Forbidden(text) | Failure::Other(text), _) => {
                format!("{text}; what was known of them stands until this works again")
            }
        }
    }

    fn handle_present(&mut self, kind: Kind, seen: Seen) {
        let key = match seen.key {
            Ok(key) => key,
            Err(error) => {
                tracing::warn!(kind = kind.plural(), %error, "an object does not count");
                return;
            }
        };
        if let Some(named) = self.listing.get_mut(&kind) {
            named.insert(key.clone());
        }
        if seen.flaws.is_empty() {
            self.flaws_by_key.remove(&key);
        } else {
            let text = FlawList(&seen.flaws).to_string();
            self.flaws_by_key.insert(key.clone(), text);
        }
        self.known.entry(kind).or_default().insert(key.clone());
        self.index.set(key, seen.object.ok());
    }

    fn handle_end(&mut self, kind: Kind) {
        let named = self.listing.remove(&kind).unwrap_or_default();
        let known = self.known.entry(kind).or_default();
        let gone: Vec<ObjectKey> = known.difference(&named).cloned().collect();
        for key in gone {
            self.remove(kind, key);
        }
        self.listed.insert(kind);
    }

    fn remove(&mut self, kind: Kind, key: ObjectKey) {
        if let Some(known) = self.known.get_mut(&kind) {
            known.remove(&key);
        }
        if let Some(named) = self.listing.get_mut(&kind) {
            named.remove(&key);
        }
        self.flaws_by_key.remove(&key);
        self.index.set(key, None);
    }
}

#[cfg(test)]
mod tests;
