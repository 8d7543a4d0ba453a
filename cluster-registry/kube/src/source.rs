//! What every source says: its complete state once, then each change, and what is wrong with its objects.

use std::fmt;

use cluster_registry::{
    resource::{Resource, ResourceId},
    trace::TraceContext,
};

/// One change of a resource: its new value, or `None` when it is gone, and the trace that it belongs to.
pub type SourceChange = (ResourceId, Option<Resource>, Option<TraceContext>);

/// Gives the trace context of the span that a source has entered for a batch of changes.
///
/// It keeps this crate free of OpenTelemetry: the daemon that owns the exporter knows how to ask for it.
pub type TraceHook = fn() -> Option<TraceContext>;

/// What a source says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceEvent {
    /// The complete state of the source, each resource once: what is missing is gone.
    ///
    /// The first event about resources is a snapshot; from then on the source is synced.
    Snapshot(Vec<(ResourceId, Resource)>),
    /// What has changed since, each resource once.
    Changed(Vec<SourceChange>),
    /// The complete list of what is wrong, whenever it changes; empty when all is well again.
    Problems(Vec<Problem>),
}

/// Something that a source cannot take as it stands; everything else counts nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// The file, relative to the directory; or the object or the watch of a Kubernetes API source.
    pub file: String,
    /// The number of the YAML document in the file, from 1; 0 when it is about the file as a whole.
    pub document: usize,
    /// What is wrong and what that leads to.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.document > 0 {
            write!(
                f,
                "{}, document {}: {}",
                self.file, self.document, self.reason
            )
        } else {
            write!(f, "{}: {}", self.file, self.reason)
        }
    }
}
