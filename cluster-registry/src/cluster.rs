//! What a gateway tells its nodes of a cluster: whether its control session with it lives.

/// The control liveness of a cluster, as its peer gateway sees it.
///
/// It is one of two signals: the path's liveness is each node's own, and the verdict joins both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Control {
    /// A session with one of its gateways is up.
    Connected,
    /// No session is up: what is known of it is the last it said.
    Lost,
}

/// A cluster of the clusterset, as told to nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cluster {
    /// Whether its control session lives.
    pub control: Control,
}
