//! Walks keys in their order: a cluster's part after another, and in each what is of no service, services, endpoints.

use std::ops::Bound;

use super::{Group, KeyId, Kind, Part, Table};
use crate::{
    name::{ClusterName, ServiceName},
    resource::{Key, ResourceId},
    store::slab::SlotId,
};

impl Table {
    /// All keys.
    pub(in crate::store) fn iter(&self) -> impl Iterator<Item = KeyId> {
        let parts = self.part_by_cluster.values();
        parts.flat_map(|part| self.iter_part(*part))
    }

    /// The keys from one on.
    pub(in crate::store) fn iter_from<'a>(
        &'a self,
        from: Option<&'a Key>,
    ) -> impl Iterator<Item = KeyId> + 'a {
        let own = from.and_then(|from| {
            let part = self.parts.get(self.part_of(&from.cluster)?)?;
            Some(self.iter_part_from(part, &from.id))
        });
        let rest = match from {
            Some(from) => (Bound::Excluded(&from.cluster), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let rest = self.part_by_cluster.range::<ClusterName, _>(rest);
        let rest = rest.flat_map(|(_, part)| self.iter_part(*part));
        own.into_iter().flatten().chain(rest)
    }

    /// The keys of one cluster.
    pub(in crate::store) fn iter_of(&self, cluster: &ClusterName) -> impl Iterator<Item = KeyId> {
        let part = self.part_of(cluster);
        part.into_iter().flat_map(|part| self.iter_part(part))
    }

    /// The endpoints of a service in one cluster.
    pub(in crate::store) fn endpoints_of(
        &self,
        cluster: &ClusterName,
        service: &ServiceName,
    ) -> impl Iterator<Item = KeyId> {
        let group = self.group_of(cluster, service);
        let group = group.and_then(|id| self.groups.get(id));
        let group = group.into_iter();
        group.flat_map(|group| group.endpoints.iter(&self.lists))
    }

    fn iter_part(&self, part: SlotId) -> impl Iterator<Item = KeyId> {
        let part = self.parts.get(part);
        part.into_iter().flat_map(|part| {
            let singles = part.singles.values().map(|id| KeyId::single(*id));
            let services = self.services(part.groups.iter());
            singles
                .chain(services)
                .chain(self.endpoints(part.groups.iter()))
        })
    }

    fn iter_part_from<'a>(
        &'a self,
        part: &'a Part,
        from: &'a ResourceId,
    ) -> impl Iterator<Item = KeyId> + 'a {
        // What comes before it, of the services and of those whose endpoints follow as a whole.
        let (service, endpoint, first) = match Kind::of(from) {
            Kind::Single => (Some(None), None, None),
            Kind::Service(service) => (Some(Some(service)), None, None),
            Kind::Endpoint(service, address) => {
                let first = self.group_in(part, service);
                let first = first.map(|group| {
                    let is_before = move |id| self.address(id) < Some(address);
                    group.endpoints.iter_from(&self.lists, is_before)
                });
                (None, Some(service), first)
            }
        };
        let singles = part.singles.range(from..);
        let singles = singles.map(|(_, id)| KeyId::single(*id));
        let services = service.map(|from| {
            let is_before = move |id| {
                let name = self.groups.get(id).map(|group| &group.name);
                from.is_some_and(|from| name < Some(from))
            };
            self.services(part.groups.iter_from(is_before))
        });
        let is_before = move |id| {
            let name = self.groups.get(id).map(|group| &group.name);
            endpoint.is_some_and(|until| name <= Some(until))
        };
        let endpoints = self.endpoints(part.groups.iter_from(is_before));
        singles
            .chain(services.into_iter().flatten())
            .chain(first.into_iter().flatten())
            .chain(endpoints)
    }

    fn group_in(&self, part: &Part, name: &ServiceName) -> Option<&Group> {
        let id = part.groups.get(|id| super::order(&self.groups, id, name));
        self.groups.get(id?)
    }

    fn services(&self, groups: impl Iterator<Item = SlotId>) -> impl Iterator<Item = KeyId> {
        groups.filter_map(|id| {
            let service = self.groups.get(id)?.service.as_ref();
            service.map(|_| KeyId::service(id))
        })
    }

    fn endpoints(&self, groups: impl Iterator<Item = SlotId>) -> impl Iterator<Item = KeyId> {
        let groups = groups.filter_map(|id| self.groups.get(id));
        groups.flat_map(|group| group.endpoints.iter(&self.lists))
    }
}
