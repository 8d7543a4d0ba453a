//! Faults to inject, and what clients have asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::kind::GroupResource;

/// What goes wrong on purpose.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Refused with 403: kinds, each with the verbs; no verbs means all.
    pub(crate) forbidden: BTreeMap<GroupResource, BTreeSet<String>>,
    /// How long a list waits before it is answered.
    pub(crate) list_delay: Duration,
    /// Watches say nothing while this is set.
    pub(crate) is_paused: bool,
    /// Streaming lists are refused, as servers before 1.32 do.
    pub(crate) lacks_streaming_lists: bool,
}

impl Faults {
    pub(crate) fn forbids(&self, resource: &GroupResource, verb: &str) -> bool {
        let verbs = self.forbidden.get(resource);
        verbs.is_some_and(|verbs| verbs.is_empty() || verbs.contains(verb))
    }
}

/// What clients asked for: requests by verb and kind.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    requests: BTreeMap<(String, GroupResource), Requests>,
}

/// The requests of one verb about one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    /// How many there were.
    pub count: usize,
    /// The label selector of the last.
    pub label_selector: String,
    /// The `Accept` header of the last.
    pub accept: String,
}

impl Tally {
    pub(crate) fn note(
        &mut self,
        verb: &str,
        resource: &GroupResource,
        selector: &str,
        accept: &str,
    ) {
        let requests = self
            .requests
            .entry((verb.to_owned(), resource.clone()))
            .or_default();
        requests.count += 1;
        selector.clone_into(&mut requests.label_selector);
        accept.clone_into(&mut requests.accept);
    }

    pub(crate) fn of(&self, verb: &str, resource: &GroupResource) -> Requests {
        let found = self.requests.get(&(verb.to_owned(), resource.clone()));
        found.cloned().unwrap_or_default()
    }
}
