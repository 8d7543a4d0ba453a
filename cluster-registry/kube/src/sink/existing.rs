//! The objects that are there, by what they are about, and which of them have changed.

use std::collections::{BTreeMap, BTreeSet};

use cluster_registry::name::{ClusterName, ServiceName};
use k8s_openapi::{
    api::{core::v1::Service, discovery::v1::EndpointSlice},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{Resource, ResourceExt, runtime::watcher::Event};

use super::{frontends, plan::Objects, slices::IMPORT_LABEL};
use crate::{
    api::{ClusterLink, ServiceExport, ServiceImport},
    following::{Failure, Told},
};

/// What a watch told, by its kind.
#[derive(Debug)]
pub(super) enum News {
    Export(Told<ServiceExport>),
    Import(Told<ServiceImport>),
    Slice(Told<EndpointSlice>),
    Link(Told<ClusterLink>),
    Service(Told<Service>),
}

/// A kind that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Export,
    Import,
    Slice,
    Link,
    Service,
}

/// What counts here of a Service of this cluster.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OwnService {
    pub(super) uid: String,
    pub(super) generation: Option<i64>,
    /// The condition that is ours, if it has it.
    pub(super) condition: Option<Condition>,
}

/// The objects.
#[derive(Debug, Default)]
pub(super) struct Existing {
    by_service: BTreeMap<ServiceName, Objects>,
    service_by_slice: BTreeMap<(String, String), ServiceName>,
    links: BTreeMap<ClusterName, ClusterLink>,
    own: BTreeMap<ServiceName, OwnService>,
    /// What a running list has named, as namespace and name.
    listing: BTreeMap<Kind, BTreeSet<(String, String)>>,
    /// The kinds of which all objects are known.
    complete: BTreeSet<Kind>,
    touched: BTreeSet<ServiceName>,
    links_touched: bool,
}

impl Existing {
    /// The objects of a service's name; `None` when there are none.
    pub(super) fn objects(&self, name: &ServiceName) -> Option<&Objects> {
        self.by_service.get(name)
    }

    pub(super) fn services(&self) -> impl Iterator<Item = (&ServiceName, &Objects)> {
        self.by_service.iter()
    }

    pub(super) fn links(&self) -> &BTreeMap<ClusterName, ClusterLink> {
        &self.links
    }

    /// This cluster's Service of a name.
    pub(super) fn own(&self, name: &ServiceName) -> Option<&OwnService> {
        self.own.get(name)
    }

    /// Whether what is there of exports and imports is known, so that what is missing can be told.
    pub(super) fn knows_imports(&self) -> bool {
        [Kind::Export, Kind::Import, Kind::Slice]
            .iter()
            .all(|kind| self.complete.contains(kind))
    }

    pub(super) fn take_touched(&mut self) -> BTreeSet<ServiceName> {
        std::mem::take(&mut self.touched)
    }

    pub(super) fn take_links_touched(&mut self) -> bool {
        std::mem::take(&mut self.links_touched)
    }

    pub(super) fn handle(&mut self, news: News) {
        match news {
            News::Export(told) => self.handle_told(Kind::Export, told, Self::set_export),
            News::Import(told) => self.handle_told(Kind::Import, told, Self::set_import),
            News::Slice(told) => self.handle_told(Kind::Slice, told, Self::set_slice),
            News::Link(told) => self.handle_told(Kind::Link, told, Self::set_link),
            News::Service(told) => self.handle_told(Kind::Service, told, Self::set_service),
        }
    }

    fn handle_told<K: Resource>(
        &mut self,
        kind: Kind,
        told: Told<K>,
        set: impl Fn(&mut Self, &str, &str, Option<K>),
    ) {
        match told {
            Told::Event(Event::Init) => {
                self.listing.insert(kind, BTreeSet::new());
            }
            Told::Event(Event::InitApply(object) | Event::Apply(object)) => {
                let (namespace, name) = names(&object);
                if let Some(named) = self.listing.get_mut(&kind) {
                    named.insert((namespace.clone(), name.clone()));
                }
                set(self, &namespace, &name, Some(object));
            }
            Told::Event(Event::Delete(object)) => {
                let (namespace, name) = names(&object);
                set(self, &namespace, &name, None);
            }
            Told::Event(Event::InitDone) => {
                let named = self.listing.remove(&kind).unwrap_or_default();
                for (namespace, name) in self.known(kind) {
                    if !named.contains(&(namespace.clone(), name.clone())) {
                        set(self, &namespace, &name, None);
                    }
                }
                self.complete.insert(kind);
            }
            // Without the kind there is nothing to write of it, and nothing that could be there.
            Told::Failed(Failure::NotInstalled) => {
                self.complete.remove(&kind);
            }
            Told::Failed(Failure::Forbidden(_) | Failure::Other(_)) | Told::Recovered => {}
        }
    }

    fn known(&self, kind: Kind) -> Vec<(String, String)> {
        let of_service = |name: &ServiceName| (name.namespace.to_string(), name.name.to_string());
        let services = self.by_service.iter();
        match kind {
            Kind::Export => services
                .filter(|(_, objects)| objects.export.is_some())
                .map(|(name, _)| of_service(name))
                .collect(),
            Kind::Import => services
                .filter(|(_, objects)| objects.import.is_some())
                .map(|(name, _)| of_service(name))
                .collect(),
            Kind::Slice => services
                .flat_map(|(name, objects)| {
                    let slices = objects.slices.keys();
                    slices.map(|slice| (name.namespace.to_string(), slice.clone()))
                })
                .collect(),
            Kind::Service => self.own.keys().map(of_service).collect(),
            Kind::Link => {
                let links = self.links.keys();
                links
                    .map(|name| (String::new(), name.to_string()))
                    .collect()
            }
        }
    }

    pub(super) fn set_export(
        &mut self,
        namespace: &str,
        name: &str,
        export: Option<ServiceExport>,
    ) {
        if let Ok(name) = ServiceName::parse(namespace, name) {
            self.change(name, |objects| objects.export = export);
        }
    }

    pub(super) fn set_import(
        &mut self,
        namespace: &str,
        name: &str,
        import: Option<ServiceImport>,
    ) {
        if let Ok(name) = ServiceName::parse(namespace, name) {
            self.change(name, |objects| objects.import = import);
        }
    }

    pub(super) fn set_slice(&mut self, namespace: &str, name: &str, slice: Option<EndpointSlice>) {
        let place = (namespace.to_owned(), name.to_owned());
        let label = slice
            .as_ref()
            .and_then(|slice| slice.labels().get(IMPORT_LABEL).cloned());
        let service = label.and_then(|label| ServiceName::parse(namespace, &label).ok());
        // A slice whose label was changed leaves the one service for the other.
        let old = self.service_by_slice.get(&place).cloned();
        if let Some(old) = old.filter(|old| Some(old) != service.as_ref()) {
            self.service_by_slice.remove(&place);
            self.change(old, |objects| {
                objects.slices.remove(name);
            });
        }
        if let (Some(service), Some(slice)) = (service, slice) {
            self.service_by_slice.insert(place, service.clone());
            self.change(service, |objects| {
                objects.slices.insert(name.to_owned(), slice);
            });
        }
    }

    pub(super) fn set_link(&mut self, _namespace: &str, name: &str, link: Option<ClusterLink>) {
        let Ok(name) = ClusterName::parse(name) else {
            return;
        };
        self.links_touched = true;
        match link {
            Some(link) => self.links.insert(name, link),
            None => self.links.remove(&name),
        };
    }

    pub(super) fn set_service(&mut self, namespace: &str, name: &str, service: Option<Service>) {
        let Ok(name) = ServiceName::parse(namespace, name) else {
            return;
        };
        let own = service.map(OwnService::from);
        if self.own.get(&name) == own.as_ref() {
            return;
        }
        self.touched.insert(name.clone());
        match own {
            Some(own) => self.own.insert(name, own),
            None => self.own.remove(&name),
        };
    }

    fn change(&mut self, name: ServiceName, change: impl FnOnce(&mut Objects)) {
        let objects = self.by_service.entry(name.clone()).or_default();
        change(objects);
        if *objects == Objects::default() {
            self.by_service.remove(&name);
        }
        self.touched.insert(name);
    }
}

impl From<Service> for OwnService {
    fn from(service: Service) -> Self {
        let conditions = service.status.and_then(|status| status.conditions);
        let mut conditions = conditions.into_iter().flatten();
        Self {
            uid: service.metadata.uid.unwrap_or_default(),
            generation: service.metadata.generation,
            condition: conditions.find(|condition| condition.type_ == frontends::CONDITION),
        }
    }
}

fn names<K: Resource>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}
