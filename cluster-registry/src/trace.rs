//! The trace that a change belongs to (W3C Trace Context), carried as a fact and never interpreted here.

/// The position in a distributed trace that caused a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceContext {
    /// The trace's id.
    pub trace_id: [u8; 16],
    /// The id of the span that caused the change.
    pub span_id: [u8; 8],
    /// Whether the trace is sampled.
    pub sampled: bool,
}
