//! What the registry keeps of one peer: its grants, its limits, and counts of what it announced.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    import::{Grants, Refusal},
    link::Limits,
    name::ClusterName,
    resource::{Key, ResourceId},
};

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
    pub(super) limits: Limits,
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
    pub(super) fn new(cluster: ClusterName, grants: Grants, limits: Limits) -> Self {
        Self {
            cluster,
            grants,
            limits,
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
        let limits = self.limits;
        match id {
            ResourceId::Cluster => None,
            ResourceId::Node(_) => Some(("nodes", &mut self.nodes, limits.nodes)),
            ResourceId::Tunnel(_) => Some(("tunnels", &mut self.tunnels, limits.nodes)),
            ResourceId::Service(_) => Some(("services", &mut self.services, limits.services)),
            ResourceId::Endpoint(..) => Some(("endpoints", &mut self.endpoints, limits.endpoints)),
        }
    }
}
