//! What the registry keeps of one peer: its grants, its limits, and counts of what it announced.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    import::{Grants, Refusal},
    link::{Limits, LinkSpec},
    name::ClusterName,
    resource::{Key, Resource, ResourceId},
};

use super::{claims::Claim, said::Said};

/// What a peer's announcements came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerSummary {
    /// Updates taken since the start.
    pub accepted: u64,
    /// Updates refused since the start, by the refusal's label.
    pub refused: BTreeMap<&'static str, u64>,
    /// Services shown.
    pub services: usize,
    /// Endpoints shown.
    pub endpoints: usize,
    /// Nodes shown.
    pub nodes: usize,
    /// What is held and not shown: the link does not grant it, or somebody else holds what it claims.
    pub withheld: usize,
    /// The kind of which the peer announces more than is taken, if there is one: what was taken last stays.
    pub over_limit: Option<&'static str>,
}

/// What a peer announced and may not be shown for now.
#[derive(Debug)]
pub(super) struct Withheld {
    pub(super) value: Resource,
    /// The claim of somebody else that stands in its way; without one, it is the link's grants.
    pub(super) awaits: Option<Claim>,
}

/// The course of a snapshot.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// What was there and has not been said again.
    pub(super) unsaid: BTreeSet<ResourceId>,
    /// What there may be room for once that is gone.
    pub(super) surplus: BTreeMap<ResourceId, Resource>,
    surplus_count: Counts,
}

impl Snapshot {
    pub(super) fn new(unsaid: BTreeSet<ResourceId>) -> Self {
        Self {
            unsaid,
            ..Self::default()
        }
    }

    /// Keeps what there is no room for yet; of each kind as much as may be held at all.
    pub(super) fn keep(
        &mut self,
        id: &ResourceId,
        value: Resource,
        limits: Limits,
    ) -> Result<(), Refusal> {
        if !self.surplus.contains_key(id) {
            self.surplus_count.check_room(id, limits)?;
            self.surplus_count.count_present(id, false, true);
        }
        self.surplus.insert(id.clone(), value);
        Ok(())
    }

    /// Something is gone that there was no room for.
    pub(super) fn forget(&mut self, id: &ResourceId) {
        if self.surplus.remove(id).is_some() {
            self.surplus_count.count_present(id, true, false);
        }
    }
}

#[derive(Debug)]
pub(super) struct Peer {
    cluster: ClusterName,
    pub(super) grants: Grants,
    pub(super) limits: Limits,
    /// Whether its word counts for when its exports were made.
    pub(super) trusts_timestamps: bool,
    /// While it says everything it has.
    pub(super) snapshot: Option<Snapshot>,
    /// What it announced and may not be shown; change it by [`Self::withhold`] and [`Self::take_withheld`].
    pub(super) withheld: BTreeMap<ResourceId, Withheld>,
    withheld_count: Counts,
    /// What it said, where it is not what is held; change it by setting imports.
    pub(super) said: Said,
    /// What was refused for want of room: how much of its kind must be gone before it is worth asking again.
    over_limit: Option<(&'static str, ResourceId)>,
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
            snapshot: None,
            withheld: BTreeMap::new(),
            withheld_count: Counts::default(),
            said: Said::default(),
            over_limit: None,
            accepted: 0,
            refused: BTreeMap::new(),
            held: Counts::default(),
        }
    }

    pub(super) fn cluster(&self) -> &ClusterName {
        &self.cluster
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

    /// Keeps what may not be shown for now.
    pub(super) fn withhold(&mut self, id: ResourceId, withheld: Withheld) {
        self.withheld_count.count_present(&id, false, true);
        self.withheld.insert(id, withheld);
    }

    /// Gives back what was withheld under a key.
    pub(super) fn take_withheld(&mut self, id: &ResourceId) -> Option<Withheld> {
        let withheld = self.withheld.remove(id)?;
        self.withheld_count.count_present(id, true, false);
        Some(withheld)
    }

    /// Notes that something was refused for want of room.
    pub(super) fn note_no_room(&mut self, id: &ResourceId, refusal: &Refusal) {
        if let Refusal::TooMany { kind, .. } = refusal {
            self.over_limit = Some((kind, id.clone()));
        }
    }

    /// Notes that the peer begins to say everything: what there is no room for will show.
    pub(super) fn begin(&mut self, unsaid: BTreeSet<ResourceId>) {
        self.snapshot = Some(Snapshot::new(unsaid));
        self.over_limit = None;
    }

    /// Whether there is room again for a good part of what was refused; asks once.
    pub(super) fn take_room_again(&mut self) -> bool {
        let Some((_, id)) = &self.over_limit else {
            return false;
        };
        let has_room = self.held.has_spare_tenth(id, self.limits);
        if has_room {
            self.over_limit = None;
        }
        has_room
    }

    pub(super) fn summary(&self) -> PeerSummary {
        PeerSummary {
            accepted: self.accepted,
            refused: self.refused.clone(),
            services: self.held.services - self.withheld_count.services,
            endpoints: self.held.endpoints - self.withheld_count.endpoints,
            nodes: self.held.nodes - self.withheld_count.nodes,
            withheld: self.withheld.len(),
            over_limit: self.over_limit.as_ref().map(|(kind, _)| *kind),
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
    pub(super) fn is_empty(&self) -> bool {
        self.services + self.endpoints + self.nodes + self.tunnels == 0
    }

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

    /// Whether a tenth of what may be taken of a kind is free.
    fn has_spare_tenth(&mut self, id: &ResourceId, limits: Limits) -> bool {
        let room = self.count_of(id, limits);
        room.is_some_and(|(_, count, limit)| *count < limit && limit - *count >= limit / 10)
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
