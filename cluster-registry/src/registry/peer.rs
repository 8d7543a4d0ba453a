//! What the registry keeps of one peer: its grants, its limits, and counts of what it announced.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    import::{Grants, Refusal},
    name::ClusterName,
    resource::{Key, ResourceId},
};

/// Services taken from one peer; twice what the largest Kubernetes clusters are tested with (10,000).
pub const MAX_SERVICES: usize = 20_000;

/// Endpoints taken from one peer; above the 150,000 pods that Kubernetes supports in a cluster.
pub const MAX_ENDPOINTS: usize = 200_000;

/// Nodes taken from one peer, and as many tunnels; twice what Kubernetes supports in a cluster (5,000).
pub const MAX_NODES: usize = 10_000;

/// What a peer's announcements came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerSummary {
    /// Updates taken since the start.
    pub accepted: u64,
    /// Updates refused since the start, by the refusal's label.
    pub refused: BTreeMap<&'static str, u64>,
    /// Services held.
    pub services: usize,
    /// Endpoints held.
    pub endpoints: usize,
    /// Nodes held.
    pub nodes: usize,
}

#[derive(Debug)]
pub(super) struct Peer {
    cluster: ClusterName,
    pub(super) grants: Grants,
    /// During a snapshot, what was there and has not been said again.
    pub(super) unsaid: Option<BTreeSet<ResourceId>>,
    pub(super) accepted: u64,
    refused: BTreeMap<&'static str, u64>,
    services: usize,
    endpoints: usize,
    nodes: usize,
    tunnels: usize,
}

impl Peer {
    pub(super) fn new(cluster: ClusterName, grants: Grants) -> Self {
        Self {
            cluster,
            grants,
            unsaid: None,
            accepted: 0,
            refused: BTreeMap::new(),
            services: 0,
            endpoints: 0,
            nodes: 0,
            tunnels: 0,
        }
    }

    pub(super) fn key(&self, id: ResourceId) -> Key {
        Key {
            cluster: self.cluster.clone(),
            id,
        }
    }

    pub(super) fn check_room(&mut self, id: &ResourceId, is_new: bool) -> Result<(), Refusal> {
        let Some((kind, count, limit)) = self.count_of(id) else {
            return Ok(());
        };
        if is_new && *count >= limit {
            return Err(Refusal::TooMany { kind, limit });
        }
        Ok(())
    }

    pub(super) fn count_present(&mut self, id: &ResourceId, was_there: bool, is_there: bool) {
        let Some((_, count, _)) = self.count_of(id) else {
            return;
        };
        match (was_there, is_there) {
            (false, true) => *count += 1,
            (true, false) => *count = count.saturating_sub(1),
            (true, true) | (false, false) => {}
        }
    }

    pub(super) fn count_refused(&mut self, refusal: &Refusal) {
        *self.refused.entry(refusal.label()).or_default() += 1;
    }

    pub(super) fn summary(&self) -> PeerSummary {
        PeerSummary {
            accepted: self.accepted,
            refused: self.refused.clone(),
            services: self.services,
            endpoints: self.endpoints,
            nodes: self.nodes,
        }
    }

    fn count_of(&mut self, id: &ResourceId) -> Option<(&'static str, &mut usize, usize)> {
        match id {
            ResourceId::Cluster => None,
            ResourceId::Node(_) => Some(("nodes", &mut self.nodes, MAX_NODES)),
            ResourceId::Tunnel(_) => Some(("tunnels", &mut self.tunnels, MAX_NODES)),
            ResourceId::Service(_) => Some(("services", &mut self.services, MAX_SERVICES)),
            ResourceId::Endpoint(..) => Some(("endpoints", &mut self.endpoints, MAX_ENDPOINTS)),
        }
    }
}
