//! Follows lists and watches of several kinds until all are complete, and from then on tells what changes.
//!
//! A pure machine, [`Follower::handle`] for each fact. A list that is taken again, because the watch has lost its place,
//! only removes what it did not name once it has ended, so nothing flaps meanwhile.
//!
//! ```text
//! per kind:  Unlisted ──Begin──► Listing ──End──► Listed ──Begin──► Listing ...
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    convert::{Convert, Flaw, FlawList, KeyError, NotOurs},
    index::Index,
    object::{Object, ObjectKey},
    source::Problem,
};

/// The kinds that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Namespace,
    Node,
    Service,
    EndpointSlice,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [
        Self::Namespace,
        Self::Node,
        Self::Service,
        Self::EndpointSlice,
    ];

    /// The plural, as the API server and its access rules call it.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::Node => "nodes",
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices",
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
    Failed(String),
    /// It did not fail again for long enough to be deemed well.
    Recovered,
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
    flaws_by_key: BTreeMap<ObjectKey, String>,
    failure_by_kind: BTreeMap<Kind, String>,
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
            News::Failed(text) => {
                self.failure_by_kind.insert(kind, text);
                return;
            }
            News::Present(seen) => self.handle_present(kind, seen),
            News::Gone(Ok(key)) => self.remove(kind, key),
            // What has no valid name was never taken.
            News::Gone(Err(_)) | News::Recovered => {}
            News::End => self.handle_end(kind),
        }
        self.failure_by_kind.remove(&kind);
    }

    /// The index, once every kind has been listed.
    pub(super) fn index(&mut self) -> Option<&mut Index> {
        let is_complete = self.listed.len() == Kind::ALL.len();
        is_complete.then_some(&mut self.index)
    }

    /// All that is wrong, the watches first.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let failures = self.failure_by_kind.iter().map(|(kind, text)| {
            let text = format!("{text}; what was known of them stands until this works again");
            Problem::new(&format!("watch of {}", kind.plural()), 0, &text)
        });
        let flaws = self
            .flaws_by_key
            .iter()
            .map(|(key, text)| Problem::new(&key.to_string(), 0, text));
        failures.chain(flaws).collect()
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
