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
    cluster: ClusterName,
    name: ServiceName,
    service: Option<SlotId>,
    endpoints: Members,
}

/// One cluster's part of the keys.
#[derive(Debug, Default)]
struct Part {
    singles: BTreeMap<ResourceId, SlotId>,
    groups: BTreeMap<ServiceName, SlotId>,
}

/// The slots by key; who asks for an endpoint says which address a slot has.
#[derive(Debug)]
pub(super) struct Index {
    parts: BTreeMap<ClusterName, Part>,
    groups: Slab<Group>,
    /// The group that was written last: changes of a service's endpoints come in runs.
    last: Option<SlotId>,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            parts: BTreeMap::new(),
            groups: Slab::new(),
            last: None,
        }
    }

    pub(super) fn get(
        &self,
        key: &Key,
        address_of: impl Fn(SlotId) -> Option<IpAddr>,
    ) -> Option<SlotId> {
        let group = |service| self.groups.get(self.group_of(&key.cluster, service)?);
        match Place::of(&key.id) {
            Place::Single => {
                let part = self.parts.get(&key.cluster)?;
                part.singles.get(&key.id).copied()
            }
            Place::Service(service) => group(service)?.service,
            Place::Endpoint(service, address) => group(service)?.endpoints.get(address, address_of),
        }
    }

    /// Makes room for a new key, and says how its slot is to remember it; [`Self::insert`] must follow.
    pub(super) fn prepare(&mut self, key: &Key) -> SlotKey {
        match Place::of(&key.id) {
            Place::Single => SlotKey::Single(Box::new(key.clone())),
            Place::Service(service) => SlotKey::Service(self.make_group(&key.cluster, service)),
            Place::Endpoint(service, address) => {
                SlotKey::Endpoint(self.make_group(&key.cluster, service), address)
            }
        }
    }

    /// Gives a new key, as its slot remembers it, its slot.
    pub(super) fn insert(
        &mut self,
        key: &SlotKey,
        slot: SlotId,
        address_of: impl Fn(SlotId) -> Option<IpAddr>,
    ) {
        match key {
            SlotKey::Single(key) => {
                let part = self.part_mut(&key.cluster);
                part.singles.insert(key.id.clone(), slot);
            }
            SlotKey::Service(group) => {
                if let Some(group) = self.groups.get_mut(*group) {
                    group.service = Some(slot);
                }
            }
            SlotKey::Endpoint(group, address) => {
                if let Some(group) = self.groups.get_mut(*group) {
                    group.endpoints.insert(*address, slot, address_of);
                }
            }
        }
    }

    /// Forgets a key and its slot.
    pub(super) fn remove(&mut self, key: &SlotKey, slot: SlotId) {
        let id = match key {
            SlotKey::Single(key) => {
                if let Some(part) = self.parts.get_mut(&key.cluster) {
                    part.singles.remove(&key.id);
                }
                self.drop_part_if_empty(&key.cluster);
                return;
            }
            SlotKey::Service(id) | SlotKey::Endpoint(id, _) => *id,
        };
        let Some(group) = self.groups.get_mut(id) else {
            return;
        };
        match key.address() {
            Some(address) => group.endpoints.remove(address, slot),
            None => group.service = None,
        }
        if group.service.is_some() || !group.endpoints.is_empty() {
            return;
        }
        self.last = None;
        if let Some(Group { cluster, name, .. }) = self.groups.remove(id) {
            if let Some(part) = self.parts.get_mut(&cluster) {
                part.groups.remove(&name);
            }
            self.drop_part_if_empty(&cluster);
        }
    }

    fn group_of(&self, cluster: &ClusterName, service: &ServiceName) -> Option<SlotId> {
        let is_it = |group: &Group| group.name == *service && group.cluster == *cluster;
        let last = self
            .last
            .filter(|id| self.groups.get(*id).is_some_and(is_it));
        last.or_else(|| self.parts.get(cluster)?.groups.get(service).copied())
    }

    fn make_group(&mut self, cluster: &ClusterName, service: &ServiceName) -> SlotId {
        let known = self.group_of(cluster, service);
        let id = known.unwrap_or_else(|| {
            let id = self.groups.insert(Group {
                cluster: cluster.clone(),
                name: service.clone(),
                service: None,
                endpoints: Members::default(),
            });
            self.part_mut(cluster).groups.insert(service.clone(), id);
            id
        });
        self.last = Some(id);
        id
    }

    fn part_mut(&mut self, cluster: &ClusterName) -> &mut Part {
        self.parts.entry(cluster.clone()).or_default()
    }

    fn drop_part_if_empty(&mut self, cluster: &ClusterName) {
        let part = self.parts.get(cluster);
        if part.is_some_and(|part| part.singles.is_empty() && part.groups.is_empty()) {
            self.parts.remove(cluster);
        }
    }

    /// The key that a slot remembers.
    pub(super) fn key(&self, key: &SlotKey) -> Option<Key> {
        let (group, address) = match key {
            SlotKey::Single(key) => return Some(Key::clone(key)),
            SlotKey::Service(group) => (*group, None),
            SlotKey::Endpoint(group, address) => (*group, Some(*address)),
        };
        let group = self.groups.get(group)?;
        let service = group.name.clone();
        let id = match address {
            Some(address) => ResourceId::Endpoint(service, address),
            None => ResourceId::Service(service),
        };
        let cluster = group.cluster.clone();
        Some(Key { cluster, id })
    }

    /// All slots, by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = SlotId> {
        self.parts.values().flat_map(|part| self.iter_part(part))
    }

    /// The slots from a key on, by key.
    pub(super) fn iter_from<'a>(
        &'a self,
        from: Option<&'a Key>,
        address_of: impl Fn(SlotId) -> Option<IpAddr> + 'a,
    ) -> impl Iterator<Item = SlotId> + 'a {
        let own = from.and_then(|from| {
            let part = self.parts.get(&from.cluster)?;
            Some(self.iter_part_from(part, &from.id, address_of))
        });
        let rest = match from {
            Some(from) => (Bound::Excluded(&from.cluster), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let rest = self.parts.range::<ClusterName, _>(rest);
        let rest = rest.flat_map(|(_, part)| self.iter_part(part));
        own.into_iter().flatten().chain(rest)
    }

    /// The slots of one cluster, by key.
    pub(super) fn iter_of(&self, cluster: &ClusterName) -> impl Iterator<Item = SlotId> {
        let part = self.parts.get(cluster);
        part.into_iter().flat_map(|part| self.iter_part(part))
    }

    /// The slots of the endpoints of a service in one cluster, by address.
    pub(super) fn endpoints_of(
        &self,
        cluster: &ClusterName,
        service: &ServiceName,
    ) -> impl Iterator<Item = SlotId> {
        let group = self.group_of(cluster, service);
        let group = group.and_then(|id| self.groups.get(id));
        group.into_iter().flat_map(|group| group.endpoints.iter())
    }

    /// Services' ids sort after those that are of no service, and endpoints' after both.
    fn iter_part<'a>(&'a self, part: &'a Part) -> impl Iterator<Item = SlotId> + 'a {
        let groups = || part.groups.values().filter_map(|id| self.groups.get(*id));
        let services = groups().filter_map(|group| group.service);
        let endpoints = groups().flat_map(|group| group.endpoints.iter());
        part.singles
            .values()
            .copied()
            .chain(services)
            .chain(endpoints)
    }

    fn iter_part_from<'a>(
        &'a self,
        part: &'a Part,
        from: &'a ResourceId,
        address_of: impl Fn(SlotId) -> Option<IpAddr> + 'a,
    ) -> impl Iterator<Item = SlotId> + 'a {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let (services, endpoints, first) = match Place::of(from) {
            Place::Single => (Some(all), all, None),
            Place::Service(service) => {
                let services = (Bound::Included(service), Bound::Unbounded);
                (Some(services), all, None)
            }
            Place::Endpoint(service, address) => {
                let first = part.groups.get(service);
                let first = first.and_then(|id| self.groups.get(*id));
                let first = first.map(|group| group.endpoints.iter_from(address, address_of));
                (None, (Bound::Excluded(service), Bound::Unbounded), first)
            }
        };
        let groups = |range| {
            let ids = part.groups.range::<ServiceName, _>(range);
            ids.filter_map(|(_, id)| self.groups.get(*id))
        };
        let singles = part.singles.range(from..).map(|(_, slot)| *slot);
        let services = services.map(groups).into_iter().flatten();
        let services = services.filter_map(|group| group.service);
        let endpoints = groups(endpoints).flat_map(|group| group.endpoints.iter());
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
