//! What the daemons answer at `/v1/status`, as the CLI reads it.
//!
//! Fields are only ever added: an older CLI ignores what it does not know, and a newer one fills in defaults.

mod agent;
mod gateway;

pub use agent::{
    AgentStatus, ClusterState, ClusterVerdict, DatapathMaps, Feature, GatewayLink, Kernel,
    PathState, Tunnel, TunnelCluster, TunnelPeer,
};
pub use gateway::{
    BackendCount, Dns, GatewayStatus, NodeSession, Peer, PeerState, Port, Problem, Replica,
    Service, Source, StorePosition,
};

#[cfg(test)]
mod tests;
