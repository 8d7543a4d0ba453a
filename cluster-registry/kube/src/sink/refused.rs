//! What could not be written, told to people until it can be.

use std::collections::BTreeMap;

use cluster_registry::name::{ClusterName, ServiceName};
use tokio::sync::watch;

use super::plan::Write;
use crate::source::Problem;

/// The most problems that are told; the rest is counted.
const MAX_TOLD: usize = 100;

/// What is planned as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// All objects of one service's name.
    Service(ServiceName),
    /// One ClusterLink.
    Link(ClusterName),
}

/// The writes that failed when they were last tried.
#[derive(Debug)]
pub(super) struct Refused {
    problems: BTreeMap<Subject, Vec<Problem>>,
    told: watch::Sender<Vec<Problem>>,
}

impl Refused {
    pub(super) fn new(told: watch::Sender<Vec<Problem>>) -> Self {
        Self {
            problems: BTreeMap::new(),
            told,
        }
    }

    /// Forgets what failed about a subject, which is planned anew.
    pub(super) fn forget(&mut self, subject: &Subject) {
        self.problems.remove(subject);
    }

    /// Takes that a write failed; `what` is its object, for people.
    pub(super) fn note(&mut self, subject: Subject, what: &str, error: &kube::Error) {
        let reason = format!("could not be written: {error}");
        let problem = Problem::new(what, 0, &reason);
        self.problems.entry(subject).or_default().push(problem);
    }

    /// Tells what is wrong if that has changed.
    pub(super) fn tell(&self) {
        let all = self.problems.values().flatten();
        let mut problems: Vec<Problem> = all.clone().take(MAX_TOLD).cloned().collect();
        let rest = all.count().saturating_sub(MAX_TOLD);
        if rest > 0 {
            let reason = format!("{rest} more objects could not be written");
            problems.push(Problem::new("API server", 0, &reason));
        }
        self.told.send_if_modified(|told| {
            let is_new = *told != problems;
            *told = problems;
            is_new
        });
    }
}

impl Drop for Refused {
    /// Whoever writes next says what is wrong.
    fn drop(&mut self) {
        self.problems.clear();
        self.tell();
    }
}

/// What a write is about, and its object for people.
pub(super) fn about(write: &Write) -> (Subject, String) {
    let (name, what) = match write {
        Write::LinkStatus(name, _) => {
            return (Subject::Link(name.clone()), format!("ClusterLink {name}"));
        }
        Write::Import(name, _) | Write::ImportStatus(name, _) | Write::DeleteImport(name, _) => {
            (name, format!("ServiceImport {name}"))
        }
        Write::Slice(name, _) => (name, format!("EndpointSlice of {name}")),
        Write::DeleteSlice(name, slice) => (name, format!("EndpointSlice {slice} of {name}")),
        Write::ExportStatus(name, _) => (name, format!("ServiceExport {name}")),
        Write::ServiceCondition(name, _) => (name, format!("Service {name}")),
        Write::Event { about, .. } => {
            let (kind, name) = (about.kind(), about.name());
            (name, format!("Event on {kind} {name}"))
        }
    };
    (Subject::Service(name.clone()), what)
}
