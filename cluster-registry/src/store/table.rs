//! All keys and what stands under them: by cluster, and a service with its endpoints together, so that what their keys have
//! alike is there once.

mod change;
mod ids;
mod members;
mod slot;
mod walk;

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use super::slab::{Slab, SlotId};
use crate::{
    endpoint::Endpoint,
    name::{ClusterName, ServiceName},
    resource::{Key, Resource, ResourceId},
    sorted::{self, Sorted},
};
use ids::Place;
use members::{Lists, Members};
use slot::{EndpointSlot, Group, Held, SingleSlot};

pub(super) use ids::KeyId;
pub(super) use slot::State;

/// One cluster's part of the keys.
#[derive(Debug)]
struct Part {
    cluster: ClusterName,
    singles: BTreeMap<ResourceId, SlotId>,
    /// The services, by name.
    groups: Sorted<SlotId>,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Table {
    part_by_cluster: BTreeMap<ClusterName, SlotId>,
    parts: Slab<Part>,
    groups: Slab<Group>,
    v4: Slab<EndpointSlot<Ipv4Addr>>,
    v6: Slab<EndpointSlot<Ipv6Addr>>,
    lists: Lists,
    singles: Slab<SingleSlot>,
    /// The service that was looked for last: a service and its endpoints come in a run, and those of a cluster too.
    last: Option<SlotId>,
    /// Where one would be that was looked for in vain, as it will come next.
    gap: Option<Gap>,
}

/// Where a service would be.
#[derive(Debug)]
struct Gap {
    part: SlotId,
    name: ServiceName,
    place: sorted::Place,
}

impl Table {
    /// Where a key is, be it a tombstone.
    pub(super) fn find(&self, key: &Key) -> Option<KeyId> {
        match Kind::of(&key.id) {
            Kind::Single => {
                let part = self.parts.get(self.part_of(&key.cluster)?)?;
                part.singles.get(&key.id).map(|id| KeyId::single(*id))
            }
            Kind::Service(name) => {
                let id = self.group_of(&key.cluster, name)?;
                let service = self.groups.get(id)?.service.as_ref();
                service.map(|_| KeyId::service(id))
            }
            Kind::Endpoint(name, address) => {
                let group = self.groups.get(self.group_of(&key.cluster, name)?)?;
                let order = |id| self.address(id).cmp(&Some(address));
                group.endpoints.get(&self.lists, order)
            }
        }
    }

    /// As [`Self::find`], and remembers where that was, for when the key is set next.
    pub(super) fn seek(&mut self, key: &Key) -> Option<KeyId> {
        match Kind::of(&key.id) {
            Kind::Single => {}
            Kind::Service(name) | Kind::Endpoint(name, _) => {
                self.seek_group(&key.cluster, name)?;
            }
        }
        self.find(key)
    }

    /// What is known of a key without its value.
    pub(super) fn state(&self, id: KeyId) -> Option<State> {
        match id.place() {
            Place::Single(id) => self.singles.get(id).map(|slot| slot.held.state()),
            Place::Service(id) => self.groups.get(id)?.service.as_ref().map(Held::state),
            Place::V4(id) => self.v4.get(id).map(|slot| slot.held.state()),
            Place::V6(id) => self.v6.get(id).map(|slot| slot.held.state()),
        }
    }

    /// The value of a key; `None` of a tombstone.
    pub(super) fn value(&self, id: KeyId) -> Option<Resource> {
        let endpoint = |held: &Held<Arc<Endpoint>>| held.value.clone().map(Resource::Endpoint);
        match id.place() {
            Place::Single(id) => self.singles.get(id)?.held.value.clone(),
            Place::Service(id) => {
                let held = self.groups.get(id)?.service.as_ref()?;
                held.value.clone().map(Resource::Service)
            }
            Place::V4(id) => endpoint(&self.v4.get(id)?.held),
            Place::V6(id) => endpoint(&self.v6.get(id)?.held),
        }
    }

    /// The key that has a number.
    pub(super) fn key(&self, id: KeyId) -> Option<Key> {
        let (group, address) = match id.place() {
            Place::Single(id) => return Some(self.singles.get(id)?.key.clone()),
            Place::Service(id) => (id, None),
            Place::V4(id) => {
                let slot = self.v4.get(id)?;
                (slot.group, Some(IpAddr::V4(slot.address)))
            }
            Place::V6(id) => {
                let slot = self.v6.get(id)?;
                (slot.group, Some(IpAddr::V6(slot.address)))
            }
        };
        let group = self.groups.get(group)?;
        let service = group.name.clone();
        let id = match address {
            Some(address) => ResourceId::Endpoint(service, address),
            None => ResourceId::Service(service),
        };
        let cluster = self.parts.get(group.part)?.cluster.clone();
        Some(Key { cluster, id })
    }

    /// The address of an endpoint.
    fn address(&self, id: KeyId) -> Option<IpAddr> {
        address_in(&self.v4, &self.v6, id)
    }

    fn part_of(&self, cluster: &ClusterName) -> Option<SlotId> {
        let last = self.last.and_then(|last| self.groups.get(last));
        let last = last.map(|last| last.part);
        let is_it = |part: &SlotId| self.parts.get(*part).is_some_and(|p| p.cluster == *cluster);
        last.filter(is_it)
            .or_else(|| self.part_by_cluster.get(cluster).copied())
    }

    fn group_of(&self, cluster: &ClusterName, name: &ServiceName) -> Option<SlotId> {
        let id = self.part_of(cluster)?;
        let is_it = |group: &Group| group.name == *name && group.part == id;
        let last = self.last;
        let last = last.filter(|last| self.groups.get(*last).is_some_and(is_it));
        last.or_else(|| {
            let part = self.parts.get(id)?;
            part.groups.get(|id| order(&self.groups, id, name))
        })
    }
}

/// How a service's name compares to another.
fn order(groups: &Slab<Group>, id: SlotId, name: &ServiceName) -> Ordering {
    let own = groups.get(id).map(|group| &group.name);
    own.cmp(&Some(name))
}

fn address_in(
    v4: &Slab<EndpointSlot<Ipv4Addr>>,
    v6: &Slab<EndpointSlot<Ipv6Addr>>,
    id: KeyId,
) -> Option<IpAddr> {
    match id.place() {
        Place::V4(id) => v4.get(id).map(|slot| slot.address.into()),
        Place::V6(id) => v6.get(id).map(|slot| slot.address.into()),
        Place::Single(_) | Place::Service(_) => None,
    }
}

/// What kind of key one is.
enum Kind<'a> {
    Single,
    Service(&'a ServiceName),
    Endpoint(&'a ServiceName, IpAddr),
}

impl<'a> Kind<'a> {
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
