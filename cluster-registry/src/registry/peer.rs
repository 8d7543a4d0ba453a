//! What the registry keeps of one peer: its grants, its limits, and counts of what it announced.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    import::{Grants, Refusal},
    link::{Limits, LinkSpec},
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
    /// Whether its word counts for when its exports were made.
    pub(super) trusts_timestamps: bool,
    /// During a snapshot, what was there and has not been said again.
    pub(super) unsaid: Option<BTreeSet<ResourceId>>,
    pub(super) accepted: u64,
    refused: BTreeMap<&'static str, u64>,
    /// What is held of the peer.
    pub(super) held: Counts,
}

impl Peer {
    pub(super) fn new(link: &LinkSpec) -> Self {
        Self {
            cluster: link.cluster.clone(),
            grants: link.grants.clone(),
            limits: link.limits,
            trusts_timestamps: link.trust_timestamps,
            unsaid: None,
            accepted: 0,
            refused: BTreeMap::new(),
            held: Counts::default(),
        }
    }

    pub(super) fn key(&self, id: ResourceId) -> Key {
        Key {
            cluster: self.cluster.clone(),
            id,
        }
    }

    pub(super) fn count_refused(&mut self, refusal: &Refusal) {
        *self.refused.entry(refusal.label()).or_default() += 1;
    }

    pub(super) fn summary(&self) -> PeerSummary {
        PeerSummary {
            accepted: self.accepted,
            refused: self.refused.clone(),
            services: self.held.services,
            endpoints: self.held.endpoints,
            nodes: self.held.nodes,
        }
    }
}

/// How many resources there are of each limited kind.
#[derive(Debug, Default)]
pub(super) struct Counts {
    services: usize,
    endpoints: usize,
    nodes: usize,
    tunnels: usize,
}

impl Counts {
    /// Whether one more of the kind may be taken.
    pub(super) fn check_room(&mut self, id: &ResourceId, limits: Limits) -> Result<(), Refusal> {
        let Some((kind, count, limit)) = self.count_of(id, limits) else {
            return Ok(());
        };
        if *count >= limit {
            return Err(Refusal::TooMany { kind, limit });
        }
        Ok(())
    }

    pub(super) fn count_present(&mut self, id: &ResourceId, was_there: bool, is_there: bool) {
        let Some((_, count, _)) = self.count_of(id, Limits::default()) else {
            return;
        };
        match (was_there, is_there) {
            (false, true) => *count += 1,
            (true, false) => *count = count.saturating_sub(1),
            (true, true) | (false, false) => {}
        }
    }

    fn count_of(
        &mut self,
        id: &ResourceId,
        limits: Limits,
    ) -> Option<(&'static str, &mut usize, usize)> {
        match id {
            ResourceId::Cluster | ResourceId::Namespace(_) | ResourceId::Import(_) => None,
            ResourceId::Node(_) => Some(("nodes", &mut self.nodes, limits.nodes)),
            ResourceId::Tunnel(_) => Some(("tunnels", &mut self.tunnels, limits.nodes)),
            ResourceId::Service(_) => Some(("services", &mut self.services, limits.services)),
            ResourceId::Endpoint(..) => Some(("endpoints", &mut self.endpoints, limits.endpoints)),
        }
    }
}
