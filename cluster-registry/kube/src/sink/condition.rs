//! Conditions: what holds of an object, and since when.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// What a condition says, beside its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holds {
    /// `True`, `False` or `Unknown`.
    pub(super) status: &'static str,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Holds {
    pub(super) fn new(status: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// The object whose conditions are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    /// The conditions that it has.
    pub(super) existing: &'a [Condition],
    pub(super) generation: Option<i64>,
    pub(super) now: Timestamp,
}

impl Subject<'_> {
    /// A condition, which is since now only if its status differs from before.
    pub(super) fn condition(&self, kind: &str, holds: Holds) -> Condition {
        let old = self.existing.iter().find(|old| old.type_ == kind);
        let since = old.filter(|old| old.status == holds.status);
        Condition {
            last_transition_time: since
                .map_or(Time(self.now), |old| old.last_transition_time.clone()),
            message: holds.message,
            observed_generation: self.generation,
            reason: holds.reason,
            status: holds.status.to_owned(),
            type_: kind.to_owned(),
        }
    }
}

/// Whether all of the wanted conditions are there as wanted; others may be there too.
pub(super) fn are_there(wanted: &[Condition], existing: &[Condition]) -> bool {
    wanted.iter().all(|wanted| {
        existing.iter().any(|old| {
            old.type_ == wanted.type_
                && old.status == wanted.status
                && old.reason == wanted.reason
                && old.message == wanted.message
                && old.observed_generation == wanted.observed_generation
        })
    })
}
