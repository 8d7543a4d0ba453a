//! An endpoint: one address that serves a service, with Kubernetes' conditions on it.

use std::sync::Arc;

use crate::{
    name::{NodeName, PortName},
    service::Protocol,
};

/// The most zones, and the most nodes, that an endpoint's hints name; Kubernetes allows 8.
pub const MAX_HINTS: usize = 8;

/// The port at which an endpoint serves one port of its service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointPort {
    /// The name that joins it to the service's port; `None` for the unnamed one.
    pub name: Option<PortName>,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The number the endpoint listens on.
    pub port: u16,
}

/// What Kubernetes says of an endpoint's readiness (EndpointSlice conditions).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conditions {
    /// New connections may go there.
    pub ready: bool,
    /// It answers, though it may be terminating.
    pub serving: bool,
    /// It is being deleted.
    pub terminating: bool,
}

impl Conditions {
    /// The order in which what is said of one endpoint counts: the greatest is the newest.
    ///
    /// While an endpoint moves from one slice to another, both have it, and the one with the worse conditions is stale.
    pub fn rank(self) -> impl Ord {
        (self.ready, self.serving, !self.terminating)
    }

    /// A ready endpoint.
    pub const READY: Self = Self {
        ready: true,
        serving: true,
        terminating: false,
    };
}

/// Where Kubernetes wants an endpoint's clients to be (EndpointSlice hints).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hints {
    /// The zones whose clients should use it; empty for no wish.
    pub zones: Vec<Arc<str>>,
    /// The nodes whose clients should use it; empty for no wish.
    pub nodes: Vec<NodeName>,
}

/// One endpoint of a service; its service and address are its key.
///
/// There are hundreds of thousands of these, so what many have alike is shared by reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The ports it serves, sorted.
    pub ports: Arc<[EndpointPort]>,
    /// Its conditions.
    pub conditions: Conditions,
    /// The node it runs on, if any.
    pub node: Option<NodeName>,
    /// The topology zone it runs in, if known.
    pub zone: Option<Arc<str>>,
    /// Its own host name below the service's name, for headless services.
    pub hostname: Option<Arc<str>>,
    /// Where its clients should be; `None` when Kubernetes gives no hint.
    pub hints: Option<Arc<Hints>>,
}

impl Endpoint {
    /// A ready endpoint that serves some ports, and of which nothing else is known.
    pub fn ready(ports: impl Into<Arc<[EndpointPort]>>) -> Self {
        Self {
            ports: ports.into(),
            conditions: Conditions::READY,
            node: None,
            zone: None,
            hostname: None,
            hints: None,
        }
    }
}
