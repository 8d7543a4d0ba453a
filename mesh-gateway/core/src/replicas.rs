//! Which of the sessions with one peer's replicas is its lead: the one that is subscribed, and whose word counts.
//!
//! All replicas of a cluster are active and know the same, but their revisions cannot be compared, so that a stale word of
//! one could undo a newer one of another. One lead at a time makes order trivial; the others are held, so that when the lead
//! ends, the next one is subscribed at once.

use std::collections::{BTreeSet, VecDeque};

use crate::{
    instance::{Instance, InstanceId},
    limits::MAX_REPLICAS,
    reason::GoodbyeReason,
};

/// Who dials the peer's replicas, and so decides which of several sessions with one process is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialled {
    /// This side: a second session with a process, by another address, is closed.
    Here,
    /// The peer: a second session of a process is kept beside the first one, which the peer may have lost already.
    There,
}

impl Dialled {
    /// The most sessions with one process.
    fn most_sessions(self) -> usize {
        match self {
            Self::Here => 1,
            Self::There => 2,
        }
    }
}

/// What the caller must now do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output<S> {
    /// Subscribe this session: it is the lead from now on.
    Lead(S),
    /// Close this session, which counts no more.
    Close(S, GoodbyeReason),
}

/// The sessions with the replicas of one peer.
///
/// Both `handle_up` and `handle_down` may produce any output; [`Self::poll_output`] after each until it is empty.
#[derive(Debug, Clone)]
pub struct Replicas<S> {
    /// Oldest first; the first is the lead.
    held: Vec<Held<S>>,
    outputs: VecDeque<Output<S>>,
}

/// A session that is up.
#[derive(Debug, Clone)]
struct Held<S> {
    session: S,
    /// `None` for a peer of a version that does not tell.
    instance: Option<Instance>,
}

impl<S> Held<S> {
    fn id(&self) -> Option<InstanceId> {
        self.instance.as_ref().map(Instance::id)
    }
}

impl<S> Default for Replicas<S> {
    fn default() -> Self {
        Self {
            held: Vec::new(),
            outputs: VecDeque::new(),
        }
    }
}

impl<S: Copy + Eq> Replicas<S> {
    /// A session came up, with the process that the peer says it is.
    ///
    /// An older life of a replica does not take the place of a newer one, which ends the older one's sessions. All
    /// processes that do not tell who they are count as one.
    pub fn handle_up(&mut self, session: S, instance: Option<Instance>, dialled: Dialled) {
        if let Some(reason) = self.refusal(instance.as_ref(), dialled) {
            self.outputs.push_back(Output::Close(session, reason));
            return;
        }
        let lead = self.lead();
        let is_outlived = |held: &Held<S>| match (&held.instance, &instance) {
            (Some(old), Some(new)) => old.replica() == new.replica() && old.id() != new.id(),
            (Some(_) | None, None) | (None, Some(_)) => false,
        };
        for outlived in self.held.extract_if(.., |held| is_outlived(held)) {
            let close = Output::Close(outlived.session, GoodbyeReason::Replaced);
            self.outputs.push_back(close);
        }
        self.held.push(Held { session, instance });
        self.note_lead(lead);
    }

    /// A session ended; one that was closed from here is not known any more.
    pub fn handle_down(&mut self, session: S) {
        let lead = self.lead();
        self.held.retain(|held| held.session != session);
        self.note_lead(lead);
    }

    /// The session whose word counts.
    pub fn lead(&self) -> Option<S> {
        self.held.first().map(|held| held.session)
    }

    /// Whether a session is the one whose word counts.
    pub fn is_lead(&self, session: S) -> bool {
        self.lead() == Some(session)
    }

    /// Whether a session is held.
    pub fn holds(&self, session: S) -> bool {
        self.held.iter().any(|held| held.session == session)
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The sessions that are held, the lead first, with the processes that they lead to.
    pub fn iter(&self) -> impl Iterator<Item = (S, Option<&Instance>)> {
        self.held.iter().map(|h| (h.session, h.instance.as_ref()))
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output<S>> {
        self.outputs.pop_front()
    }

    fn refusal(&self, instance: Option<&Instance>, dialled: Dialled) -> Option<GoodbyeReason> {
        let lives = || {
            let held = self.held.iter().filter_map(|held| held.instance.as_ref());
            held.filter(|other| instance.is_some_and(|i| i.replica() == other.replica()))
        };
        let incarnation = instance.map(Instance::incarnation);
        if lives().any(|other| Some(other.incarnation()) > incarnation) {
            return Some(GoodbyeReason::OlderIncarnation);
        }
        let id = instance.map(Instance::id);
        let same = self.held.iter().filter(|other| other.id() == id).count();
        if same >= dialled.most_sessions() {
            return Some(GoodbyeReason::Duplicate);
        }
        let processes: BTreeSet<_> = self.held.iter().map(Held::id).collect();
        // A newer life takes the place of an older one.
        let takes_place = same > 0 || lives().next().is_some();
        let is_full = processes.len() >= MAX_REPLICAS && !takes_place;
        is_full.then_some(GoodbyeReason::TooManyReplicas)
    }

    fn note_lead(&mut self, before: Option<S>) {
        match self.lead() {
            Some(lead) if before != Some(lead) => self.outputs.push_back(Output::Lead(lead)),
            Some(_) | None => {}
        }
    }
}

#[cfg(test)]
mod tests;
