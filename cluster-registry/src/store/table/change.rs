//! Changes of keys: setting and forgetting them, and making and dropping what holds them.

use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU64, sync::Arc};

use super::{
    EndpointSlot, Gap, Group, Held, KeyId, Kind, Members, Part, Place, SingleSlot, Table,
    address_in, order,
};
use crate::{
    endpoint::Endpoint,
    name::{ClusterName, ServiceName},
    resource::{Key, Resource},
    service::Service,
    sorted::Sorted,
    store::slab::SlotId,
};

/// What setting a key did.
#[derive(Debug)]
pub(in crate::store) struct Set {
    pub(in crate::store) id: KeyId,
    /// What the key had.
    pub(in crate::store) old: Option<Resource>,
    /// Whether there was not even a tombstone.
    pub(in crate::store) is_new: bool,
}

impl Table {
    /// Sets a key, or leaves a tombstone; `None` when that changes nothing. A value of another kind than the key's is none.
    pub(in crate::store) fn set(
        &mut self,
        key: &Key,
        value: Option<Resource>,
        since: NonZeroU64,
    ) -> Option<Set> {
        match (Kind::of(&key.id), value) {
            (Kind::Single, value) => self.set_single(key, value, since),
            (Kind::Service(name), Some(Resource::Service(service))) => {
                self.set_service(&key.cluster, name, Some(service), since)
            }
            (Kind::Service(name), _) => self.set_service(&key.cluster, name, None, since),
            (Kind::Endpoint(name, address), Some(Resource::Endpoint(endpoint))) => {
                self.set_endpoint((&key.cluster, name), address, Some(endpoint), since)
            }
            (Kind::Endpoint(name, address), _) => {
                self.set_endpoint((&key.cluster, name), address, None, since)
            }
        }
    }

    fn set_single(&mut self, key: &Key, value: Option<Resource>, since: NonZeroU64) -> Option<Set> {
        if let Some(id) = self.find(key) {
            let Place::Single(single) = id.place() else {
                return None;
            };
            let slot = self.singles.get_mut(single)?;
            let old = slot.held.replace(value, since)?;
            let is_new = false;
            return Some(Set { id, old, is_new });
        }
        let single = self.singles.insert(SingleSlot {
            key: key.clone(),
            held: Held::new(value?, since),
        });
        let part = self.make_part(&key.cluster);
        let part = self.parts.get_mut(part)?;
        part.singles.insert(key.id.clone(), single);
        Some(Set::new(KeyId::single(single)))
    }

    fn set_service(
        &mut self,
        cluster: &ClusterName,
        name: &ServiceName,
        value: Option<Arc<Service>>,
        since: NonZeroU64,
    ) -> Option<Set> {
        let known = self.seek_group(cluster, name);
        let number = match (known, &value) {
            (Some(known), _) => known,
            (None, Some(_)) => self.make_group(cluster, name),
            (None, None) => return None,
        };
        let id = KeyId::service(number);
        let group = self.groups.get_mut(number)?;
        if let Some(held) = &mut group.service {
            let old = held.replace(value, since)?.map(Resource::Service);
            let is_new = false;
            return Some(Set { id, old, is_new });
        }
        group.service = Some(Held::new(value?, since));
        Some(Set::new(id))
    }

    fn set_endpoint(
        &mut self,
        (cluster, name): (&ClusterName, &ServiceName),
        address: IpAddr,
        value: Option<Arc<Endpoint>>,
        since: NonZeroU64,
    ) -> Option<Set> {
        let known = self.seek_group(cluster, name);
        let number = match (known, &value) {
            (Some(known), _) => known,
            (None, Some(_)) => self.make_group(cluster, name),
            (None, None) => return None,
        };
        let endpoints = self.groups.get(number)?.endpoints;
        let order = |id| self.address(id).cmp(&Some(address));
        if let Some(id) = endpoints.get(&self.lists, order) {
            let held = match id.place() {
                Place::V4(id) => &mut self.v4.get_mut(id)?.held,
                Place::V6(id) => &mut self.v6.get_mut(id)?.held,
                Place::Single(_) | Place::Service(_) => return None,
            };
            let old = held.replace(value, since)?.map(Resource::Endpoint);
            let is_new = false;
            return Some(Set { id, old, is_new });
        }
        let held = Held::new(value?, since);
        let group = number;
        let id = match address {
            IpAddr::V4(address) => KeyId::v4(self.v4.insert(EndpointSlot {
                group,
                address,
                held,
            })),
            IpAddr::V6(address) => KeyId::v6(self.v6.insert(EndpointSlot {
                group,
                address,
                held,
            })),
        };
        let (v4, v6) = (&self.v4, &self.v6);
        let order = |id| address_in(v4, v6, id).cmp(&Some(address));
        let endpoints = &mut self.groups.get_mut(number)?.endpoints;
        endpoints.insert(&mut self.lists, id, order);
        Some(Set::new(id))
    }

    /// Forgets a key, whose number may then be given anew.
    pub(in crate::store) fn remove(&mut self, id: KeyId) {
        let group = match id.place() {
            Place::Single(id) => {
                if let Some(slot) = self.singles.remove(id)
                    && let Some(part) = self.part_of(&slot.key.cluster)
                {
                    if let Some(part) = self.parts.get_mut(part) {
                        part.singles.remove(&slot.key.id);
                    }
                    self.drop_part_if_empty(part);
                }
                return;
            }
            Place::Service(group) => {
                if let Some(group) = self.groups.get_mut(group) {
                    group.service = None;
                }
                group
            }
            Place::V4(number) => {
                self.remove_member(id);
                let Some(slot) = self.v4.remove(number) else {
                    return;
                };
                slot.group
            }
            Place::V6(number) => {
                self.remove_member(id);
                let Some(slot) = self.v6.remove(number) else {
                    return;
                };
                slot.group
            }
        };
        self.drop_group_if_empty(group);
    }

    /// Takes an endpoint that still knows its address from among its service's.
    fn remove_member(&mut self, id: KeyId) {
        let group = match id.place() {
            Place::V4(id) => self.v4.get(id).map(|slot| slot.group),
            Place::V6(id) => self.v6.get(id).map(|slot| slot.group),
            Place::Single(_) | Place::Service(_) => None,
        };
        let (v4, v6) = (&self.v4, &self.v6);
        let address = address_in(v4, v6, id);
        if let Some(group) = group.and_then(|group| self.groups.get_mut(group)) {
            let order = |id| address_in(v4, v6, id).cmp(&address);
            group.endpoints.remove(&mut self.lists, order);
        }
    }

    fn drop_group_if_empty(&mut self, id: SlotId) {
        let group = self.groups.get(id);
        let Some(group) = group.filter(|g| g.service.is_none() && g.endpoints.is_empty()) else {
            return;
        };
        let (part, name) = (group.part, group.name.clone());
        let groups = &self.groups;
        if let Some(part) = self.parts.get_mut(part)
            && let Ok(place) = part.groups.find(|id| order(groups, id, &name))
        {
            part.groups.remove_at(place);
        }
        self.groups.remove(id);
        (self.last, self.gap) = (None, None);
        self.drop_part_if_empty(part);
    }

    fn drop_part_if_empty(&mut self, id: SlotId) {
        let part = self.parts.get(id);
        if part.is_some_and(|part| part.singles.is_empty() && part.groups.is_empty())
            && let Some(part) = self.parts.remove(id)
        {
            self.part_by_cluster.remove(&part.cluster);
            self.gap = None;
        }
    }

    /// Where a service is; remembers where that is or would be.
    pub(super) fn seek_group(
        &mut self,
        cluster: &ClusterName,
        name: &ServiceName,
    ) -> Option<SlotId> {
        let part = self.part_of(cluster)?;
        let is_it = |group: &Group| group.name == *name && group.part == part;
        let last = self.last;
        let last = last.filter(|last| self.groups.get(*last).is_some_and(is_it));
        if last.is_some() {
            return last;
        }
        let gap = self.gap.as_ref();
        if gap.is_some_and(|gap| gap.part == part && gap.name == *name) {
            return None;
        }
        let groups = &self.parts.get(part)?.groups;
        match groups.find(|id| order(&self.groups, id, name)) {
            Ok(place) => {
                self.last = groups.at(place);
                self.last
            }
            Err(place) => {
                let name = name.clone();
                self.gap = Some(Gap { part, name, place });
                None
            }
        }
    }

    fn make_part(&mut self, cluster: &ClusterName) -> SlotId {
        if let Some(part) = self.part_of(cluster) {
            return part;
        }
        let part = self.parts.insert(Part {
            cluster: cluster.clone(),
            singles: BTreeMap::new(),
            groups: Sorted::default(),
        });
        self.part_by_cluster.insert(cluster.clone(), part);
        part
    }

    /// Makes place for a service that has none.
    fn make_group(&mut self, cluster: &ClusterName, name: &ServiceName) -> SlotId {
        let part = self.make_part(cluster);
        let id = self.groups.insert(Group {
            part,
            name: name.clone(),
            service: None,
            endpoints: Members::default(),
        });
        let gap = self.gap.take();
        let gap = gap.filter(|gap| gap.part == part && gap.name == *name);
        if let Some(part) = self.parts.get_mut(part) {
            let place = match gap {
                Some(gap) => Err(gap.place),
                None => part.groups.find(|id| order(&self.groups, id, name)),
            };
            if let Err(place) = place {
                part.groups.insert_at(place, id);
            }
        }
        self.last = Some(id);
        id
    }
}

impl Set {
    fn new(id: KeyId) -> Self {
        Self {
            id,
            old: None,
            is_new: true,
        }
    }
}
