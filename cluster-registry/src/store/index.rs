//! Where each key's slot is: by cluster, and a service with its endpoints together, so that what their keys have alike is
//! there once.

mod members;

use std::{collections::BTreeMap, net::IpAddr, ops::Bound};

use super::slab::{Slab, SlotId};
use crate::{
    name::{ClusterName, ServiceName},
    resource::{Key, ResourceId},
};
use members::Members;

/// A key, as a slot remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SlotKey {
    /// One that is of no service.
    Single(Box<Key>),
    /// A service's: its number in the index.
    Service(SlotId),
    /// An endpoint's: its service's number in the index, and its address.
    Endpoint(SlotId, IpAddr),
}

impl SlotKey {
    /// The address of an endpoint.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Endpoint(_, address) => Some(*address),
            Self::Single(_) | Self::Service(_) => None,
        }
    }
}

/// A service and its endpoints in one cluster; either may be there without the other.
#[derive(Debug)]
struct Group {
    id: SlotId,
    service: Option<SlotId>,
    endpoints: Members,
}

/// One cluster's part of the keys.
#[derive(Debug, Default)]
struct Part {
    singles: BTreeMap<ResourceId, SlotId>,
    groups: BTreeMap<ServiceName, Group>,
}

/// The slots by key; who asks for an endpoint says which address a slot has.
#[derive(Debug)]
pub(super) struct Index {
    parts: BTreeMap<ClusterName, Part>,
    /// Whose each group is.
    owners: Slab<(ClusterName, ServiceName)>,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            parts: BTreeMap::new(),
            owners: Slab::new(),
        }
    }

    pub(super) fn get(
        &self,
        key: &Key,
        address_of: impl Fn(SlotId) -> Option<IpAddr>,
    ) -> Option<SlotId> {
        let part = self.parts.get(&key.cluster)?;
        match Place::of(&key.id) {
            Place::Single => part.singles.get(&key.id).copied(),
            Place::Service(service) => part.groups.get(service)?.service,
            Place::Endpoint(service, address) => {
                let endpoints = &part.groups.get(service)?.endpoints;
                endpoints.get(address, address_of)
            }
        }
    }

    /// Makes room for a new key, and says how its slot is to remember it; [`Self::insert`] must follow.
    pub(super) fn prepare(&mut self, key: &Key) -> SlotKey {
        let (service, address) = match Place::of(&key.id) {
            Place::Single => return SlotKey::Single(Box::new(key.clone())),
            Place::Service(service) => (service, None),
            Place::Endpoint(service, address) => (service, Some(address)),
        };
        let part = match self.parts.get_mut(&key.cluster) {
            Some(part) => part,
            None => self.parts.entry(key.cluster.clone()).or_default(),
        };
        let id = match part.groups.get(service) {
            Some(group) => group.id,
            None => {
                let owner = (key.cluster.clone(), service.clone());
                let id = self.owners.insert(owner);
                let group = Group {
                    id,
                    service: None,
                    endpoints: Members::default(),
                };
                part.groups.insert(service.clone(), group);
                id
            }
        };
        match address {
            Some(address) => SlotKey::Endpoint(id, address),
            None => SlotKey::Service(id),
        }
    }

    /// Gives a new key its slot.
    pub(super) fn insert(
        &mut self,
        key: &Key,
        slot: SlotId,
        address_of: impl Fn(SlotId) -> Option<IpAddr>,
    ) {
        let part = match self.parts.get_mut(&key.cluster) {
            Some(part) => part,
            None => self.parts.entry(key.cluster.clone()).or_default(),
        };
        match Place::of(&key.id) {
            Place::Single => {
                part.singles.insert(key.id.clone(), slot);
            }
            Place::Service(service) => {
                if let Some(group) = part.groups.get_mut(service) {
                    group.service = Some(slot);
                }
            }
            Place::Endpoint(service, address) => {
                if let Some(group) = part.groups.get_mut(service) {
                    group.endpoints.insert(address, slot, address_of);
                }
            }
        }
    }

    /// Forgets a key and its slot.
    pub(super) fn remove(&mut self, key: &Key, slot: SlotId) {
        let Some(part) = self.parts.get_mut(&key.cluster) else {
            return;
        };
        let service = match Place::of(&key.id) {
            Place::Single => {
                part.singles.remove(&key.id);
                None
            }
            Place::Service(service) => {
                if let Some(group) = part.groups.get_mut(service) {
                    group.service = None;
                }
                Some(service)
            }
            Place::Endpoint(service, address) => {
                if let Some(group) = part.groups.get_mut(service) {
                    group.endpoints.remove(address, slot);
                }
                Some(service)
            }
        };
        let is_empty = |group: &Group| group.service.is_none() && group.endpoints.is_empty();
        if let Some(service) = service
            && let Some(group) = part.groups.get(service).filter(|group| is_empty(group))
        {
            self.owners.remove(group.id);
            part.groups.remove(service);
        }
        if part.singles.is_empty() && part.groups.is_empty() {
            self.parts.remove(&key.cluster);
        }
    }

    /// The key that a slot remembers.
    pub(super) fn key(&self, key: &SlotKey) -> Option<Key> {
        let (group, address) = match key {
            SlotKey::Single(key) => return Some(Key::clone(key)),
            SlotKey::Service(group) => (*group, None),
            SlotKey::Endpoint(group, address) => (*group, Some(*address)),
        };
        let (cluster, service) = self.owners.get(group)?.clone();
        let id = match address {
            Some(address) => ResourceId::Endpoint(service, address),
            None => ResourceId::Service(service),
        };
        Some(Key { cluster, id })
    }

    /// All slots, by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = SlotId> {
        self.parts.values().flat_map(Part::iter)
    }

    /// The slots from a key on, by key.
    pub(super) fn iter_from(
        &self,
        from: Option<&Key>,
        address_of: impl Fn(SlotId) -> Option<IpAddr>,
    ) -> impl Iterator<Item = SlotId> {
        let own = from.and_then(|from| {
            let part = self.parts.get(&from.cluster)?;
            Some(part.iter_from(&from.id, address_of))
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
        group.into_iter().flat_map(|group| group.endpoints.iter())
    }
}

impl Part {
    /// Services' ids sort after those that are of no service, and endpoints' after both.
    fn iter(&self) -> impl Iterator<Item = SlotId> {
        let singles = self.singles.values().copied();
        let services = self.groups.values().filter_map(|group| group.service);
        let endpoints = self
            .groups
            .values()
            .flat_map(|group| group.endpoints.iter());
        singles.chain(services).chain(endpoints)
    }

    fn iter_from(
        &self,
        from: &ResourceId,
        address_of: impl Fn(SlotId) -> Option<IpAddr>,
    ) -> impl Iterator<Item = SlotId> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let (services, endpoints, first) = match Place::of(from) {
            Place::Single => (Some(all), all, None),
            Place::Service(service) => {
                let services = (Bound::Included(service), Bound::Unbounded);
                (Some(services), all, None)
            }
            Place::Endpoint(service, address) => {
                let first = self.groups.get(service);
                let first = first.map(|group| group.endpoints.iter_from(address, address_of));
                (None, (Bound::Excluded(service), Bound::Unbounded), first)
            }
        };
        let singles = self.singles.range(from..).map(|(_, slot)| *slot);
        let services = services.map(|range| self.groups.range::<ServiceName, _>(range));
        let services = services.into_iter().flatten();
        let services = services.filter_map(|(_, group)| group.service);
        let endpoints = self.groups.range::<ServiceName, _>(endpoints);
        let endpoints = endpoints.flat_map(|(_, group)| group.endpoints.iter());
        singles
            .chain(services)
            .chain(first.into_iter().flatten())
            .chain(endpoints)
    }
}

/// Where in its cluster's part a key is.
enum Place<'a> {
    Single,
    Service(&'a ServiceName),
    Endpoint(&'a ServiceName, IpAddr),
}

impl<'a> Place<'a> {
    fn of(id: &'a ResourceId) -> Self {
        match id {
            ResourceId::Cluster
            | ResourceId::Node(_)
            | ResourceId::Tunnel(_)
            | ResourceId::Namespace(_)
            | ResourceId::Import(_) => Self::Single,
            ResourceId::Service(service) => Self::Service(service),
            ResourceId::Endpoint(service, address) => Self::Endpoint(service, *address),
        }
    }
}
