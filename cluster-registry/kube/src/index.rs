//! Derives resources from objects: a service from its Service and Namespace, an endpoint from all slices that have it.
//!
//! A pure machine in the order of facts and changes: [`Index::set`] for each fact, then [`Index::take_changes`] once.
//! An object that says what it said before touches nothing, so status updates of a live cluster end here.

mod links;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use cluster_registry::{
    endpoint::{Endpoint, EndpointPort},
    link::LinkSpec,
    mcs::{Export, ImportAddresses, NamespaceSharing},
    name::{ClusterName, Namespace, NodeName, ServiceName},
    node::Node,
    resource::{Resource, ResourceId},
    service::Service,
    view::Endpoints,
};

use self::links::Links;
use crate::{
    convert::keep_at_home,
    object::{Object, ObjectKey, Slice, SliceName},
};

/// The objects of a source and what has changed since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Index {
    sharing_by_namespace: BTreeMap<Namespace, NamespaceSharing>,
    node_by_name: BTreeMap<NodeName, Node>,
    service_by_name: BTreeMap<ServiceName, Service>,
    slices_by_service: BTreeMap<ServiceName, BTreeMap<SliceName, Endpoints>>,
    service_by_slice: BTreeMap<SliceName, ServiceName>,
    export_by_name: BTreeMap<ServiceName, Export>,
    import_by_name: BTreeMap<ServiceName, ImportAddresses>,
    links: Links,
    touched: BTreeSet<ResourceId>,
}

impl Index {
    /// Sets what an object says, or that it is gone.
    pub(crate) fn set(&mut self, key: ObjectKey, object: Option<Object>) {
        match (key, object) {
            (ObjectKey::Namespace(name), Some(Object::Namespace(sharing))) => {
                self.set_namespace(name, Some(sharing));
            }
            (ObjectKey::Namespace(name), _) => self.set_namespace(name, None),
            (ObjectKey::Node(name), Some(Object::Node(node))) => self.set_node(name, Some(node)),
            (ObjectKey::Node(name), _) => self.set_node(name, None),
            (ObjectKey::Service(name), Some(Object::Service(service))) => {
                self.set_service(name, Some(service));
            }
            (ObjectKey::Service(name), _) => self.set_service(name, None),
            (ObjectKey::Slice(name), Some(Object::Slice(slice))) => {
                self.set_slice(name, Some(slice));
            }
            (ObjectKey::Slice(name), _) => self.set_slice(name, None),
            (ObjectKey::Export(name), Some(Object::Export(export))) => {
                self.set_export(name, Some(export));
            }
            (ObjectKey::Export(name), _) => self.set_export(name, None),
            (ObjectKey::Import(name), Some(Object::Import(addresses))) => {
                self.set_import(name, Some(addresses));
            }
            (ObjectKey::Import(name), _) => self.set_import(name, None),
            (ObjectKey::Link(name), Some(Object::Link(link))) => self.links.set(name, Some(*link)),
            (ObjectKey::Link(name), _) => self.links.set(name, None),
        }
    }

    /// The links, if they changed since this was last called.
    pub(crate) fn take_links(&mut self) -> Option<BTreeMap<ClusterName, LinkSpec>> {
        self.links.take()
    }

    /// The touched resources as they are, each once; `None` is one that is gone.
    pub(crate) fn take_changes(&mut self) -> Vec<(ResourceId, Option<Resource>)> {
        std::mem::take(&mut self.touched)
            .into_iter()
            .map(|id| {
                let resource = self.resource(&id);
                (id, resource)
            })
            .collect()
    }

    /// All resources; what is touched counts as told.
    pub(crate) fn take_snapshot(&mut self) -> Vec<(ResourceId, Resource)> {
        self.touched.clear();
        let namespaces = self.sharing_by_namespace.keys().cloned();
        let nodes = self.node_by_name.keys().cloned().map(ResourceId::Node);
        let services = self
            .service_by_name
            .keys()
            .cloned()
            .map(ResourceId::Service);
        let endpoints = self.slices_by_service.iter().flat_map(|(service, slices)| {
            let addresses: BTreeSet<IpAddr> =
                slices.values().flat_map(|e| e.keys()).copied().collect();
            addresses
                .into_iter()
                .map(|address| ResourceId::Endpoint(service.clone(), address))
        });
        let imports = self.import_by_name.keys().cloned();
        namespaces
            .map(ResourceId::Namespace)
            .chain(imports.map(ResourceId::Import))
            .chain(nodes)
            .chain(services)
            .chain(endpoints)
            .filter_map(|id| {
                let resource = self.resource(&id)?;
                Some((id, resource))
            })
            .collect()
    }

    fn set_namespace(&mut self, name: Namespace, sharing: Option<NamespaceSharing>) {
        let old = self.sharing_by_namespace.get(&name).copied();
        if old == sharing {
            return;
        }
        self.touched.insert(ResourceId::Namespace(name.clone()));
        let is_excluded = |sharing| sharing == Some(NamespaceSharing::Excluded);
        if is_excluded(old) != is_excluded(sharing) {
            let services = self.service_by_name.keys();
            let inside = services.filter(|service| service.namespace == name);
            self.touched
                .extend(inside.cloned().map(ResourceId::Service));
        }
        match sharing {
            Some(sharing) => self.sharing_by_namespace.insert(name, sharing),
            None => self.sharing_by_namespace.remove(&name),
        };
    }

    fn set_node(&mut self, name: NodeName, node: Option<Node>) {
        if self.node_by_name.get(&name) == node.as_ref() {
            return;
        }
        self.touched.insert(ResourceId::Node(name.clone()));
        match node {
            Some(node) => self.node_by_name.insert(name, node),
            None => self.node_by_name.remove(&name),
        };
    }

    fn set_service(&mut self, name: ServiceName, service: Option<Service>) {
        if self.service_by_name.get(&name) == service.as_ref() {
            return;
        }
        self.touched.insert(ResourceId::Service(name.clone()));
        match service {
            Some(service) => self.service_by_name.insert(name, service),
            None => self.service_by_name.remove(&name),
        };
    }

    fn set_export(&mut self, name: ServiceName, export: Option<Export>) {
        if self.export_by_name.get(&name) == export.as_ref() {
            return;
        }
        // An export without its service says nothing yet.
        if self.service_by_name.contains_key(&name) {
            self.touched.insert(ResourceId::Service(name.clone()));
        }
        match export {
            Some(export) => self.export_by_name.insert(name, export),
            None => self.export_by_name.remove(&name),
        };
    }

    fn set_import(&mut self, name: ServiceName, addresses: Option<ImportAddresses>) {
        if self.import_by_name.get(&name) == addresses.as_ref() {
            return;
        }
        self.touched.insert(ResourceId::Import(name.clone()));
        match addresses {
            Some(addresses) => self.import_by_name.insert(name, addresses),
            None => self.import_by_name.remove(&name),
        };
    }

    fn set_slice(&mut self, name: SliceName, slice: Option<Slice>) {
        if let Some(old) = self.service_by_slice.get(&name).cloned()
            && slice.as_ref().is_none_or(|slice| slice.service != old)
        {
            // A slice's label can be changed: its endpoints then leave the one service for the other.
            self.service_by_slice.remove(&name);
            self.set_endpoints(&old, &name, Endpoints::new());
        }
        if let Some(slice) = slice {
            self.service_by_slice
                .insert(name.clone(), slice.service.clone());
            self.set_endpoints(&slice.service, &name, slice.endpoint_by_address);
        }
    }

    fn set_endpoints(&mut self, service: &ServiceName, slice: &SliceName, new: Endpoints) {
        let slices = self.slices_by_service.entry(service.clone()).or_default();
        let old = slices.remove(slice).unwrap_or_default();
        let addresses: BTreeSet<IpAddr> = old.keys().chain(new.keys()).copied().collect();
        let differing = addresses.into_iter().filter(|a| old.get(a) != new.get(a));
        self.touched
            .extend(differing.map(|address| ResourceId::Endpoint(service.clone(), address)));
        if !new.is_empty() {
            slices.insert(slice.clone(), new);
        }
        if slices.is_empty() {
            self.slices_by_service.remove(service);
        }
    }

    fn resource(&self, id: &ResourceId) -> Option<Resource> {
        match id {
            ResourceId::Node(name) => self.node_by_name.get(name).cloned().map(Resource::from),
            ResourceId::Service(name) => self.service(name).map(Resource::from),
            ResourceId::Endpoint(service, address) => {
                self.endpoint(service, *address).map(Resource::Endpoint)
            }
            ResourceId::Namespace(name) => {
                let sharing = self.sharing_by_namespace.get(name);
                sharing.copied().map(Resource::Namespace)
            }
            ResourceId::Import(name) => {
                let addresses = self.import_by_name.get(name).cloned();
                addresses.map(|addresses| Resource::Import(Arc::new(addresses)))
            }
            // A source of Kubernetes objects knows neither.
            ResourceId::Cluster | ResourceId::Tunnel(_) => None,
        }
    }

    fn service(&self, name: &ServiceName) -> Option<Service> {
        let mut service = self.service_by_name.get(name)?.clone();
        let sharing = self.sharing_by_namespace.get(&name.namespace);
        if sharing == Some(&NamespaceSharing::Excluded) {
            keep_at_home(&mut service);
        } else {
            let export = self.export_by_name.get(name).cloned();
            service.export = export.map(Box::new);
        }
        Some(service)
    }

    /// Joins what the service's slices say of an address: the best conditions, and the ports of the slices with them.
    ///
    /// While the controller moves an endpoint from one slice to another, both have it for a moment, and the one with
    /// the worse conditions is the stale one.
    fn endpoint(&self, service: &ServiceName, address: IpAddr) -> Option<Arc<Endpoint>> {
        let slices = self.slices_by_service.get(service)?.values();
        let mut best: Option<Arc<Endpoint>> = None;
        let mut ports: Vec<EndpointPort> = Vec::new();
        for next in slices.filter_map(|endpoints| endpoints.get(&address)) {
            match &best {
                Some(best) if best.conditions.rank() > next.conditions.rank() => {}
                Some(best) if best.conditions.rank() == next.conditions.rank() => {
                    ports.extend(next.ports.iter().cloned());
                }
                Some(_) | None => {
                    best = Some(Arc::clone(next));
                    ports.clear();
                }
            }
        }
        let mut endpoint = best?;
        if !ports.is_empty() {
            ports.extend(endpoint.ports.iter().cloned());
            ports.sort();
            ports.dedup();
            Arc::make_mut(&mut endpoint).ports = ports.into();
        }
        Some(endpoint)
    }
}

#[cfg(test)]
mod tests;
