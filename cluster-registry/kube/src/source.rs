//! What every source says: its complete state once, then each change, and what is wrong with its objects.

use std::{collections::BTreeMap, fmt};

use cluster_registry::{
    link::LinkSpec,
    name::ClusterName,
    resource::{Resource, ResourceId},
    trace::TraceContext,
};
use tokio::sync::mpsc::{self, error::SendError};

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
    /// The complete set of ClusterLinks, by the cluster that each leads to, whenever it changes.
    ///
    /// Where there are any, the first comes before the snapshot: at the snapshot, a source that has told none has none.
    Links(BTreeMap<ClusterName, LinkSpec>),
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

/// How much of a reason is kept: its texts come from files that anybody may have written.
const MAX_REASON_CHARS: usize = 1_000;

impl Problem {
    /// A problem in one line: control characters become spaces, and a text without end is cut.
    pub(crate) fn new(file: &str, document: usize, reason: &str) -> Self {
        let mut kept: String = reason
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(MAX_REASON_CHARS)
            .collect();
        if reason.chars().nth(MAX_REASON_CHARS).is_some() {
            kept.push_str(" ...");
        }
        Self {
            file: file.to_owned(),
            document,
            reason: kept,
        }
    }
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

/// Tells a source's events to whoever receives them, each in its span, and problems only when they changed.
#[derive(Debug)]
pub(crate) struct Teller {
    source: &'static str,
    events: mpsc::Sender<SourceEvent>,
    trace_hook: Option<TraceHook>,
    problems: Vec<Problem>,
}

impl Teller {
    pub(crate) fn new(
        source: &'static str,
        events: mpsc::Sender<SourceEvent>,
        trace_hook: Option<TraceHook>,
    ) -> Self {
        Self {
            source,
            events,
            trace_hook,
            problems: Vec::new(),
        }
    }

    pub(crate) async fn tell_snapshot(
        &self,
        resources: Vec<(ResourceId, Resource)>,
    ) -> Result<(), SendError<()>> {
        tracing::info!(source = self.source, resources = resources.len(), "synced");
        self.send(SourceEvent::Snapshot(resources)).await
    }

    pub(crate) async fn tell_changes(
        &self,
        changes: Vec<(ResourceId, Option<Resource>)>,
    ) -> Result<(), SendError<()>> {
        if changes.is_empty() {
            return Ok(());
        }
        let span = tracing::info_span!(
            "source.change",
            source = self.source,
            // OTLP has no unsigned numbers.
            changes = i64::try_from(changes.len()).unwrap_or(i64::MAX)
        );
        let trace = span.in_scope(|| self.trace_hook.and_then(|hook| hook()));
        let changes = changes
            .into_iter()
            .map(|(id, resource)| (id, resource, trace))
            .collect();
        self.send(SourceEvent::Changed(changes)).await
    }

    /// Tells the complete set of links; `None` when it has not changed.
    pub(crate) async fn tell_links(
        &self,
        links: Option<BTreeMap<ClusterName, LinkSpec>>,
    ) -> Result<(), SendError<()>> {
        match links {
            Some(links) => {
                tracing::info!(source = self.source, links = links.len(), "links changed");
                self.send(SourceEvent::Links(links)).await
            }
            None => Ok(()),
        }
    }

    pub(crate) async fn tell_problems(
        &mut self,
        problems: Vec<Problem>,
    ) -> Result<(), SendError<()>> {
        if problems == self.problems {
            return Ok(());
        }
        for problem in problems.iter().filter(|p| !self.problems.contains(p)) {
            tracing::warn!(source = self.source, %problem, "an object does not count in full");
        }
        self.problems.clone_from(&problems);
        self.send(SourceEvent::Problems(problems)).await
    }

    async fn send(&self, event: SourceEvent) -> Result<(), SendError<()>> {
        let sent = self.events.send(event).await;
        sent.map_err(|_gone| SendError(()))
    }
}
