//! An update: the newest state of one key, as a peer announced it.

use cluster_registry::{
    resource::{Key, Resource},
    trace::TraceContext,
};

/// The newest state of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The key; its cluster is the peer's own unless a gateway relays to its nodes.
    pub key: Key,
    /// The value; `None` when the key is gone.
    pub value: Option<Resource>,
    /// The trace that the change belongs to.
    pub trace: Option<TraceContext>,
}
