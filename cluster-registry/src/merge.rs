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
    view::{MergedNode, MergedService, Offer, View},
};

use namespaces::Namespaces;
use offers::{Offers, Stale};

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

/// The merge: takes resources in any order, any number of times, and gives the view they add up to.
///
/// [`Self::apply`] only notes what is stale; [`Self::view`] rebuilds just that. What a change costs grows neither with the
/// number of services nor with the number of a service's endpoints, also while readers keep old views.
#[derive(Debug)]
pub struct Merge {
    offers: BTreeMap<ServiceName, Offers>,
    namespaces: Namespaces,
    view: Arc<View>,
    /// The services that are to be merged anew; how much of each, its offers say.
    stale: BTreeSet<ServiceName>,
    touched: Touched,
    interner: Interner,
}

impl Merge {
    /// A merge that knows nothing, from the point of view of a cluster.
    pub fn new(cluster: ClusterName) -> Self {
        Self {
            offers: BTreeMap::new(),
            namespaces: Namespaces::default(),
            view: Arc::new(View::new(cluster)),
            stale: BTreeSet::new(),
            touched: Touched::default(),
            interner: Interner::default(),
        }
    }

    /// Makes a key share its service's name with others; call it before the key is kept elsewhere too.
    pub(crate) fn share_key(&mut self, key: &mut Key) {
        match &mut key.id {
            ResourceId::Service(name)
            | ResourceId::Endpoint(name, _)
            | ResourceId::Import(name) => self.interner.share_name(name),
            ResourceId::Cluster
            | ResourceId::Node(_)
            | ResourceId::Tunnel(_)
            | ResourceId::Namespace(_) => {}
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
        if self.has(key, value) {
            return;
        }
        let mut value = value.cloned();
        value.iter_mut().for_each(|value| self.share(value));
        self.apply_shared(key, value.as_ref());
    }

    /// Whether a service or an endpoint is known to be as it is said to be.
    fn has(&self, key: &Key, value: Option<&Resource>) -> bool {
        let offer = |name| self.offers.get(name)?.by_cluster.get(&key.cluster);
        match (&key.id, value) {
            (ResourceId::Service(name), Some(Resource::Service(service))) => {
                let known = offer(name).and_then(|offer| offer.definition.as_ref());
                known == Some(service)
            }
            (ResourceId::Endpoint(name, address), Some(Resource::Endpoint(endpoint))) => {
                let known = offer(name).and_then(|offer| offer.endpoints.get(address));
                known == Some(endpoint)
            }
            (
                ResourceId::Cluster
                | ResourceId::Node(_)
                | ResourceId::Tunnel(_)
                | ResourceId::Service(_)
                | ResourceId::Endpoint(..)
                | ResourceId::Namespace(_)
                | ResourceId::Import(_),
                _,
            ) => false,
        }
    }

    /// As [`Self::apply`], of a value that was shared by [`Self::share`] and is not the one that the key has.
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
        if !stale.is_empty() {
            let view = Arc::make_mut(&mut self.view);
            for name in stale {
                let Some(offers) = self.offers.get_mut(&name) else {
                    view.services.remove(&name);
                    continue;
                };
                let old = view.services.get(&name);
                let old = old.filter(|_| offers.stale == Some(Stale::Endpoints));
                let mut merged = match old {
                    Some(old) => MergedService::clone(old),
                    None => {
                        let imports = self.namespaces.imports(&name.namespace);
                        offers.definitions(&view.cluster, imports)
                    }
                };
                offers.stale = None;
                offers.show(&view.cluster, &mut merged);
                if merged.local.is_none() && merged.remote.is_empty() {
                    view.services.remove(&name);
                } else {
                    view.services.insert(name, Arc::new(merged));
                }
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
        let touched = std::mem::take(&mut self.touched);
        for name in &touched.services {
            if let Some(offers) = self.offers.get_mut(name) {
                offers.is_touched = false;
            }
        }
        touched
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
        let offers = match (self.offers.get_mut(name), definition) {
            (Some(offers), _) => offers,
            (None, Some(_)) => self.offers.entry(name.clone()).or_default(),
            (None, None) => return,
        };
        let mut had = false;
        let change = |offer: &mut Offer| {
            had = offer.definition.is_some();
            offer.definition = definition.cloned();
        };
        if definition.is_some() {
            offers.by_cluster.update(cluster, change);
        } else {
            offers
                .by_cluster
                .get_mut(cluster)
                .into_iter()
                .for_each(change);
            if !had {
                return;
            }
        }
        note(
            &mut self.stale,
            &mut self.touched,
            name,
            offers,
            Stale::Definitions,
        );
        if definition.is_none() {
            self.drop_if_empty(cluster, name);
        }
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
        // What was there before may be gone since the last merge, and its definitions with it.
        let how = if offers.is_empty() {
            Stale::Definitions
        } else {
            Stale::Endpoints
        };
        if let Some(endpoint) = endpoint {
            offers.by_cluster.update(cluster, |offer| {
                offer.endpoints.insert(address, Arc::clone(endpoint));
            });
        } else {
            let offer = offers.by_cluster.get(cluster);
            if !offer.is_some_and(|offer| offer.endpoints.contains_key(&address)) {
                return;
            }
            if let Some(offer) = offers.by_cluster.get_mut(cluster) {
                offer.endpoints.remove(&address);
            }
        }
        note(&mut self.stale, &mut self.touched, name, offers, how);
        if endpoint.is_none() {
            self.drop_if_empty(cluster, name);
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
        note(
            &mut self.stale,
            &mut self.touched,
            name,
            offers,
            Stale::Definitions,
        );
        self.drop_if_empty(cluster, name);
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
            if let Some(offers) = self.offers.get_mut(&name) {
                note(
                    &mut self.stale,
                    &mut self.touched,
                    &name,
                    offers,
                    Stale::Definitions,
                );
            }
        }
    }
}

/// Notes that a service must be merged anew, once for all changes until it is.
fn note(
    stale: &mut BTreeSet<ServiceName>,
    touched: &mut Touched,
    name: &ServiceName,
    offers: &mut Offers,
    how: Stale,
) {
    if offers.stale.is_none() {
        stale.insert(name.clone());
    }
    offers.stale = offers.stale.max(Some(how));
    if !offers.is_touched {
        offers.is_touched = true;
        touched.services.insert(name.clone());
    }
}

#[cfg(test)]
mod tests;
