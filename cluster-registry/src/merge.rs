//! Merges what all clusters offer into one [`View`], service by service and node by node.
//!
//! The rule of a global service: this cluster's endpoints always count; another cluster's count only where this
//! cluster's definition is global and theirs is global and shared. Whether this cluster shares its own with others
//! does not matter to what its own clients use.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    endpoint::Endpoint,
    name::{ClusterName, NodeName, ServiceName},
    resource::{Key, Resource, ResourceId},
    service::Service,
    view::{MergedNode, MergedService, View},
};

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
/// [`Self::apply`] only notes what is stale; [`Self::view`] rebuilds just that. The view's services and nodes are
/// shared by reference, so a reader that keeps an old view costs one shallow copy of the maps.
#[derive(Debug)]
pub struct Merge {
    offers: BTreeMap<ServiceName, BTreeMap<ClusterName, Offer>>,
    view: Arc<View>,
    stale: BTreeSet<ServiceName>,
    touched: Touched,
}

impl Merge {
    /// A merge that knows nothing, from the point of view of a cluster.
    pub fn new(cluster: ClusterName) -> Self {
        let view = View {
            cluster,
            clusters: BTreeMap::new(),
            nodes: BTreeMap::new(),
            services: BTreeMap::new(),
        };
        Self {
            offers: BTreeMap::new(),
            view: Arc::new(view),
            stale: BTreeSet::new(),
            touched: Touched::default(),
        }
    }

    /// Takes the newest state of a key, `None` when it is gone; a value of another kind than the key's is ignored.
    pub fn apply(&mut self, key: &Key, value: Option<&Resource>) {
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
        }
    }

    /// The merged view; the same allocation as before when nothing changed.
    pub fn view(&mut self) -> Arc<View> {
        let stale = std::mem::take(&mut self.stale);
        if !stale.is_empty() {
            let view = Arc::make_mut(&mut self.view);
            for name in stale {
                match merged(&view.cluster, self.offers.get(&name)) {
                    Some(service) => view.services.insert(name, Arc::new(service)),
                    None => view.services.remove(&name),
                };
            }
        }
        Arc::clone(&self.view)
    }

    /// What changed since this was last called.
    pub fn take_touched(&mut self) -> Touched {
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
            Some(Resource::Node(node)) => new.node = Some(node.clone()),
            Some(Resource::Tunnel(tunnel)) => new.tunnel = Some(tunnel.clone()),
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
        if self
            .offer(cluster, name)
            .and_then(|o| o.definition.as_ref())
            == definition
        {
            return;
        }
        self.change_offer(cluster, name, |offer| {
            offer.definition = definition.cloned();
        });
    }

    fn apply_endpoint(
        &mut self,
        cluster: &ClusterName,
        name: &ServiceName,
        address: IpAddr,
        value: Option<&Resource>,
    ) {
        let endpoint = match value {
            Some(Resource::Endpoint(endpoint)) => Some(endpoint),
            Some(_) | None => None,
        };
        let old = self
            .offer(cluster, name)
            .and_then(|offer| offer.endpoints.get(&address));
        if old.map(Arc::as_ref) == endpoint {
            return;
        }
        self.change_offer(cluster, name, |offer| {
            match endpoint {
                Some(endpoint) => offer.endpoints.insert(address, Arc::new(endpoint.clone())),
                None => offer.endpoints.remove(&address),
            };
        });
    }

    fn offer(&self, cluster: &ClusterName, name: &ServiceName) -> Option<&Offer> {
        self.offers.get(name)?.get(cluster)
    }

    fn change_offer(
        &mut self,
        cluster: &ClusterName,
        name: &ServiceName,
        change: impl FnOnce(&mut Offer),
    ) {
        let offers = self.offers.entry(name.clone()).or_default();
        let offer = offers.entry(cluster.clone()).or_default();
        change(offer);
        if *offer == Offer::default() {
            offers.remove(cluster);
        }
        if offers.is_empty() {
            self.offers.remove(name);
        }
        self.stale.insert(name.clone());
        self.touched.services.insert(name.clone());
    }
}

/// What one cluster says of one service.
#[derive(Debug, PartialEq, Eq, Default)]
struct Offer {
    definition: Option<Service>,
    endpoints: BTreeMap<IpAddr, Arc<Endpoint>>,
}

fn merged(
    cluster: &ClusterName,
    offers: Option<&BTreeMap<ClusterName, Offer>>,
) -> Option<MergedService> {
    let offers = offers?;
    let local = offers.get(cluster).and_then(|o| o.definition.clone());
    let mut service = MergedService {
        local,
        ..MergedService::default()
    };
    let merges = service.local.as_ref().is_some_and(|s| s.sharing.global);
    for (name, offer) in offers {
        let Some(definition) = &offer.definition else {
            continue;
        };
        let is_local = name == cluster;
        if !is_local {
            if !definition.sharing.is_exported() {
                continue;
            }
            service.remote.insert(name.clone(), definition.clone());
        }
        if (is_local || merges) && !offer.endpoints.is_empty() {
            let endpoints = offer.endpoints.clone();
            service.endpoints.insert(name.clone(), endpoints);
        }
    }
    let is_known = service.local.is_some() || !service.remote.is_empty();
    is_known.then_some(service)
}

#[cfg(test)]
mod tests;
