//! Where each key's slot is: by cluster, and the endpoints of a service together, so that what they have alike is there once.

use std::{collections::BTreeMap, net::IpAddr, ops::Bound};

use super::slab::{Slab, SlotId};
use crate::{
    name::{ClusterName, ServiceName},
    resource::{Key, ResourceId},
};

/// Above this, a service's endpoints are in a tree: moving what comes after a new one costs more than a tree's memory.
const MAX_FEW: usize = 64;

/// A key, as a slot remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SlotKey {
    /// One that is not of an endpoint.
    Single(Box<Key>),
    /// An endpoint's: its service's number in the index, and its address.
    Endpoint(SlotId, IpAddr),
}

/// The endpoints of one service in one cluster, by address.
#[derive(Debug)]
enum Members {
    Few(Vec<(IpAddr, SlotId)>),
    Many(BTreeMap<IpAddr, SlotId>),
}

#[derive(Debug)]
struct Group {
    id: SlotId,
    members: Members,
}

/// One cluster's part of the keys.
#[derive(Debug, Default)]
struct Part {
    singles: BTreeMap<ResourceId, SlotId>,
    groups: BTreeMap<ServiceName, Group>,
}

/// The slots by key.
#[derive(Debug)]
pub(super) struct Index {
    parts: BTreeMap<ClusterName, Part>,
    /// Whose endpoints each group holds.
    owners: Slab<(ClusterName, ServiceName)>,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            parts: BTreeMap::new(),
            owners: Slab::new(),
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<SlotId> {
        let part = self.parts.get(&key.cluster)?;
        match &key.id {
            ResourceId::Endpoint(service, address) => {
                part.groups.get(service)?.members.get(*address)
            }
            ResourceId::Cluster
            | ResourceId::Node(_)
            | ResourceId::Tunnel(_)
            | ResourceId::Service(_)
            | ResourceId::Namespace(_)
            | ResourceId::Import(_) => part.singles.get(&key.id).copied(),
        }
    }

    /// Gives a new key the slot that `make` makes for it, and returns that.
    pub(super) fn insert(&mut self, key: &Key, make: impl FnOnce(SlotKey) -> SlotId) -> SlotId {
        let part = match self.parts.get_mut(&key.cluster) {
            Some(part) => part,
            None => self.parts.entry(key.cluster.clone()).or_default(),
        };
        let ResourceId::Endpoint(service, address) = &key.id else {
            let slot = make(SlotKey::Single(Box::new(key.clone())));
            part.singles.insert(key.id.clone(), slot);
            return slot;
        };
        let group = match part.groups.get_mut(service) {
            Some(group) => group,
            None => {
                let owner = (key.cluster.clone(), service.clone());
                let new = Group {
                    id: self.owners.insert(owner),
                    members: Members::Few(Vec::new()),
                };
                part.groups.entry(service.clone()).or_insert(new)
            }
        };
        let slot = make(SlotKey::Endpoint(group.id, *address));
        group.members.insert(*address, slot);
        slot
    }

    pub(super) fn remove(&mut self, key: &Key) {
        let Some(part) = self.parts.get_mut(&key.cluster) else {
            return;
        };
        if let ResourceId::Endpoint(service, address) = &key.id {
            let Some(group) = part.groups.get_mut(service) else {
                return;
            };
            group.members.remove(*address);
            if group.members.is_empty() {
                self.owners.remove(group.id);
                part.groups.remove(service);
            }
        } else {
            part.singles.remove(&key.id);
        }
        if part.singles.is_empty() && part.groups.is_empty() {
            self.parts.remove(&key.cluster);
        }
    }

    /// The key that a slot remembers.
    pub(super) fn key(&self, key: &SlotKey) -> Option<Key> {
        match key {
            SlotKey::Single(key) => Some(Key::clone(key)),
            SlotKey::Endpoint(group, address) => {
                let (cluster, service) = self.owners.get(*group)?;
                Some(Key {
                    cluster: cluster.clone(),
                    id: ResourceId::Endpoint(service.clone(), *address),
                })
            }
        }
    }

    /// All slots, by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = SlotId> {
        self.parts.values().flat_map(Part::iter)
    }

    /// The slots from a key on, by key.
    pub(super) fn iter_from(&self, from: Option<&Key>) -> impl Iterator<Item = SlotId> {
        let own = from.and_then(|from| {
            let part = self.parts.get(&from.cluster)?;
            Some(part.iter_from(&from.id))
        });
        let rest = match from {
            Some(from) => (Bound::Excluded(&from.cluster), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let rest = self.parts.range::<ClusterName, _>(rest);
        let rest = rest.flat_map(|(_, part)| part.iter());
        own.into_iter().flatten().chain(rest)
    }

    /// The slots of one cluster, by key.
    pub(super) fn iter_of(&self, cluster: &ClusterName) -> impl Iterator<Item = SlotId> {
        self.parts.get(cluster).into_iter().flat_map(Part::iter)
    }

    /// The slots of the endpoints of a service in one cluster, by address.
    pub(super) fn endpoints_of(
        &self,
        cluster: &ClusterName,
        service: &ServiceName,
    ) -> impl Iterator<Item = SlotId> {
        let part = self.parts.get(cluster);
        let group = part.and_then(|part| part.groups.get(service));
        group.into_iter().flat_map(|group| group.members.iter())
    }
}

impl Part {
    /// An endpoint's id sorts after all others.
    fn iter(&self) -> impl Iterator<Item = SlotId> {
        let endpoints = self.groups.values().flat_map(|group| group.members.iter());
        self.singles.values().copied().chain(endpoints)
    }

    fn iter_from(&self, from: &ResourceId) -> impl Iterator<Item = SlotId> {
        let singles = self.singles.range(from..).map(|(_, slot)| *slot);
        let (own, rest) = match from {
            ResourceId::Endpoint(service, address) => {
                let own = self.groups.get(service);
                let own = own.map(|group| group.members.iter_from(*address));
                (own, (Bound::Excluded(service), Bound::Unbounded))
            }
            ResourceId::Cluster
            | ResourceId::Node(_)
            | ResourceId::Tunnel(_)
            | ResourceId::Service(_)
            | ResourceId::Namespace(_)
            | ResourceId::Import(_) => (None, (Bound::Unbounded, Bound::Unbounded)),
        };
        let rest = self.groups.range::<ServiceName, _>(rest);
        let rest = rest.flat_map(|(_, group)| group.members.iter());
        singles.chain(own.into_iter().flatten()).chain(rest)
    }
}

impl Members {
    fn get(&self, address: IpAddr) -> Option<SlotId> {
        match self {
            Self::Few(few) => {
                let at = few.binary_search_by_key(&address, |(a, _)| *a).ok()?;
                few.get(at).map(|(_, slot)| *slot)
            }
            Self::Many(many) => many.get(&address).copied(),
        }
    }

    fn insert(&mut self, address: IpAddr, slot: SlotId) {
        match self {
            Self::Few(few) if few.len() == MAX_FEW => {
                let mut many: BTreeMap<IpAddr, SlotId> = few.drain(..).collect();
                many.insert(address, slot);
                *self = Self::Many(many);
            }
            Self::Few(few) => {
                if let Err(at) = few.binary_search_by_key(&address, |(a, _)| *a) {
                    few.insert(at, (address, slot));
                }
            }
            Self::Many(many) => {
                many.insert(address, slot);
            }
        }
    }

    fn remove(&mut self, address: IpAddr) {
        match self {
            Self::Few(few) => few.retain(|(a, _)| *a != address),
            Self::Many(many) => {
                many.remove(&address);
                // Well below the number at which it would grow into a tree again.
                if many.len() < MAX_FEW / 2 {
                    *self = Self::Few(std::mem::take(many).into_iter().collect());
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = SlotId> {
        let (few, many) = match self {
            Self::Few(few) => (Some(few.iter()), None),
            Self::Many(many) => (None, Some(many.values())),
        };
        let few = few.into_iter().flatten().map(|(_, slot)| *slot);
        few.chain(many.into_iter().flatten().copied())
    }

    fn iter_from(&self, from: IpAddr) -> impl Iterator<Item = SlotId> {
        let (few, many) = match self {
            Self::Few(few) => {
                let before = few.partition_point(|(address, _)| *address < from);
                (Some(few.iter().skip(before)), None)
            }
            Self::Many(many) => (None, Some(many.range(from..))),
        };
        let few = few.into_iter().flatten().map(|(_, slot)| *slot);
        few.chain(many.into_iter().flatten().map(|(_, slot)| *slot))
    }
}
