//! Merges what all clusters offer into one [`View`], service by service and node by node.
//!
//! Two merges go on at once. By annotation: this cluster's endpoints always count; another cluster's count only where
//! this cluster's definition is global and theirs is global and shared. By ServiceExport ([`crate::mcs`]): the endpoints
//! of the clusters that export count, and no others, not even this cluster's own.
//!
//! Long because the offers and the view that they add up to change in step.

mod namespaces;
mod offers;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    endpoint::Endpoint,
    intern::Interner,
    name::{ClusterName, Namespace, NodeName, ServiceName},
    resource::{Key, Resource, ResourceId},
    view::{MergedNode, MergedService, View},
};

use namespaces::Namespaces;
use offers::{Offer, Offers};

/// What changed in the view since it was last asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touched {
    /// The services whose definitions or endpoints changed.
    pub services: BTreeSet<ServiceName>,
    /// The nodes that changed, with their clusters.
    pub nodes: BTreeSet<(ClusterName, NodeName)>,
    /// The clusters whose control state changed.
    pub clusters: BTreeSet<ClusterName>,
}

impl Touched {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.nodes.is_empty() && self.clusters.is_empty()
    }
}

/// How much of a service must be merged anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stale {
    /// Only which endpoints there are.
    Endpoints,
    /// All.
    Definitions,
}

/// The merge: takes resources in any order, any number of times, and gives the view they add up to.
///
/// [`Self::apply`] only notes what is stale; [`Self::view`] rebuilds just that. What a change costs grows neither with the
/// number of services nor with the number of a service's endpoints, also while readers keep old views.
#[derive(Debug)]
pub struct Merge {
    offers: BTreeMap<ServiceName, Offers>,
    namespaces: Namespaces,
    view: Arc<View>,
    stale: BTreeMap<ServiceName, Stale>,
    touched: Touched,
    /// The service whose endpoints were last noted as stale and touched: most changes come in runs.
    last_noted: Option<ServiceName>,
    interner: Interner,
}

impl Merge {
    /// A merge that knows nothing, from the point of view of a cluster.
    pub fn new(cluster: ClusterName) -> Self {
        Self {
            offers: BTreeMap::new(),
            namespaces: Namespaces::default(),
            view: Arc::new(View::new(cluster)),
            stale: BTreeMap::new(),
            touched: Touched::default(),
            last_noted: None,
            interner: Interner::default(),
        }
    }

    /// Makes a value share with others what it has alike with them; call it before the value is kept elsewhere too.
    pub fn share(&mut self, value: &mut Resource) {
        match value {
            Resource::Endpoint(endpoint) => self.interner.share(endpoint),
            Resource::Service(service) => self.interner.share_service(service),
            Resource::Cluster(_)
            | Resource::Node(_)
            | Resource::Tunnel(_)
            | Resource::Namespace(_)
            | Resource::Import(_) => {}
        }
    }

    /// Takes the newest state of a key, `None` when it is gone; a value of another kind than the key's is ignored.
    pub fn apply(&mut self, key: &Key, value: Option<&Resource>) {
        let mut value = value.cloned();
        value.iter_mut().for_each(|value| self.share(value));
        self.apply_shared(key, value.as_ref());
    }

    /// As [`Self::apply`], of a value that was shared by [`Self::share`].
    pub(crate) fn apply_shared(&mut self, key: &Key, value: Option<&Resource>) {
        if value.is_some_and(|value| !value.is_of(&key.id)) {
            return;
        }
        match &key.id {
            ResourceId::Cluster => self.apply_cluster(&key.cluster, value),
            ResourceId::Node(node) | ResourceId::Tunnel(node) => {
                let is_tunnel = matches!(key.id, ResourceId::Tunnel(_));
                self.apply_node((key.cluster.clone(), node.clone()), is_tunnel, value);
            }
            ResourceId::Service(service) => self.apply_service(&key.cluster, service, value),
            ResourceId::Endpoint(service, address) => {
                self.apply_endpoint(&key.cluster, service, *address, value);
            }
            ResourceId::Namespace(namespace) => {
                self.apply_namespace(&key.cluster, namespace, value);
            }
            ResourceId::Import(service) => self.apply_import(&key.cluster, service, value),
        }
    }

    /// The merged view; the same allocation as before when nothing changed.
    pub fn view(&mut self) -> Arc<View> {
        let stale = std::mem::take(&mut self.stale);
        self.last_noted = None;
        if !stale.is_empty() {
            let view = Arc::make_mut(&mut self.view);
            for (name, stale) in stale {
                let old = view.services.get(&name);
                let old = old.filter(|_| stale == Stale::Endpoints);
                let mut merged = match (old, self.offers.get(&name)) {
                    (Some(old), Some(_)) => MergedService::clone(old),
                    (None, Some(offers)) => {
                        let imports = self.namespaces.imports(&name.namespace);
                        offers.definitions(&view.cluster, imports)
                    }
                    (_, None) => MergedService::default(),
                };
                if merged.local.is_none() && merged.remote.is_empty() {
                    view.services.remove(&name);
                    continue;
                }
                if let Some(offers) = self.offers.get(&name) {
                    offers.fill_endpoints(&view.cluster, &mut merged);
                }
                view.services.insert(name, Arc::new(merged));
            }
        }
        Arc::clone(&self.view)
    }

    /// What changed since [`Self::take_touched`] was last called.
    pub fn touched(&self) -> &Touched {
        &self.touched
    }

    /// What changed since this was last called.
    pub fn take_touched(&mut self) -> Touched {
        self.last_noted = None;
        std::mem::take(&mut self.touched)
    }

    fn apply_cluster(&mut self, name: &ClusterName, value: Option<&Resource>) {
        if *name == self.view.cluster {
            return;
        }
        let cluster = match value {
            Some(Resource::Cluster(cluster)) => Some(*cluster),
            Some(_) | None => None,
        };
        if self.view.clusters.get(name).copied() == cluster {
            return;
        }
        let clusters = &mut Arc::make_mut(&mut self.view).clusters;
        match cluster {
            Some(cluster) => clusters.insert(name.clone(), cluster),
            None => clusters.remove(name),
        };
        self.touched.clusters.insert(name.clone());
    }

    fn apply_node(
        &mut self,
        key: (ClusterName, NodeName),
        is_tunnel: bool,
        value: Option<&Resource>,
    ) {
        let old = self.view.nodes.get(&key);
        let mut new = old.map(|node| (**node).clone()).unwrap_or_default();
        match value {
            Some(Resource::Node(node)) => new.node = Some((**node).clone()),
            Some(Resource::Tunnel(tunnel)) => new.tunnel = Some((**tunnel).clone()),
            Some(_) => return,
            None if is_tunnel => new.tunnel = None,
            None => new.node = None,
        }
        let is_gone = new == MergedNode::default();
        if old.map_or(is_gone, |old| **old == new) {
            return;
        }
        let nodes = &mut Arc::make_mut(&mut self.view).nodes;
        if is_gone {
            nodes.remove(&key);
        } else {
            nodes.insert(key.clone(), Arc::new(new));
        }
        self.touched.nodes.insert(key);
    }

    fn apply_service(
        &mut self,
        cluster: &ClusterName,
        name: &ServiceName,
        value: Option<&Resource>,
    ) {
        let definition = match value {
            Some(Resource::Service(service)) => Some(service),
            Some(_) | None => None,
        };
        let offers = self.offers.get(name);
        let old = offers.and_then(|offers| offers.by_cluster.get(cluster)?.definition.as_ref());
        if old == definition {
            return;
        }
        let had = old.is_some();
        let offers = self.offers.entry(name.clone()).or_default();
        offers.by_cluster.get_or_default(cluster).definition = definition.cloned();
        self.drop_if_empty(cluster, name);
        self.note(name, Stale::Definitions);
        if *cluster == self.view.cluster && had != definition.is_some() {
            let flipped = self
                .namespaces
                .count_service(&name.namespace, definition.is_some());
            self.note_imports(&name.namespace, flipped);
        }
    }

    fn apply_endpoint(
        &mut self,
        cluster: &ClusterName,
        name: &ServiceName,
        address: IpAddr,
        value: Option<&Resource>,
    ) {
        let endpoint: Option<&Arc<Endpoint>> = match value {
            Some(Resource::Endpoint(endpoint)) => Some(endpoint),
            Some(_) | None => None,
        };
        let offers = match (self.offers.get_mut(name), endpoint) {
            (Some(offers), _) => offers,
            (None, Some(_)) => self.offers.entry(name.clone()).or_default(),
            (None, None) => return,
        };
        let old = offers.by_cluster.get(cluster);
        if old.and_then(|offer| offer.endpoints.get(&address)) == endpoint {
            return;
        }
        let offer = offers.by_cluster.get_or_default(cluster);
        if let Some(endpoint) = endpoint {
            offer.endpoints.insert(address, Arc::clone(endpoint));
        } else {
            offer.endpoints.remove(&address);
            self.drop_if_empty(cluster, name);
        }
        if self.last_noted.as_ref() != Some(name) {
            self.note(name, Stale::Endpoints);
            self.last_noted = Some(name.clone());
        }
    }

    /// Only this cluster's own namespaces matter to where its imports are.
    fn apply_namespace(
        &mut self,
        cluster: &ClusterName,
        namespace: &Namespace,
        value: Option<&Resource>,
    ) {
        if *cluster != self.view.cluster {
            return;
        }
        let sharing = match value {
            Some(Resource::Namespace(sharing)) => Some(*sharing),
            Some(_) | None => None,
        };
        let flipped = self.namespaces.set(namespace, sharing);
        self.note_imports(namespace, flipped);
    }

    fn apply_import(
        &mut self,
        cluster: &ClusterName,
        name: &ServiceName,
        value: Option<&Resource>,
    ) {
        if *cluster != self.view.cluster {
            return;
        }
        let addresses = match value {
            Some(Resource::Import(addresses)) => Some(addresses),
            Some(_) | None => None,
        };
        let old = self.offers.get(name).and_then(|o| o.addresses.as_ref());
        if old == addresses {
            return;
        }
        let offers = self.offers.entry(name.clone()).or_default();
        offers.addresses = addresses.cloned();
        self.drop_if_empty(cluster, name);
        self.note(name, Stale::Definitions);
    }

    fn drop_if_empty(&mut self, cluster: &ClusterName, name: &ServiceName) {
        let Some(offers) = self.offers.get_mut(name) else {
            return;
        };
        let offer = offers.by_cluster.get(cluster);
        if offer.is_some_and(Offer::is_empty) {
            offers.by_cluster.remove(cluster);
        }
        if offers.is_empty() {
            self.offers.remove(name);
        }
    }

    fn note(&mut self, name: &ServiceName, stale: Stale) {
        let noted = self.stale.entry(name.clone()).or_insert(stale);
        *noted = stale.max(*noted);
        self.touched.services.insert(name.clone());
    }

    /// Notes the services that a namespace's coming or going gives or takes an import.
    fn note_imports(&mut self, namespace: &Namespace, flipped: bool) {
        if !flipped {
            return;
        }
        let first = ServiceName::first_of(namespace.clone());
        let exported: Vec<ServiceName> = self
            .offers
            .range(first..)
            .take_while(|(name, _)| name.namespace == *namespace)
            .filter(|(_, offers)| offers.is_exported())
            .map(|(name, _)| name.clone())
            .collect();
        for name in exported {
            self.note(&name, Stale::Definitions);
        }
    }
}

#[cfg(test)]
mod tests;
