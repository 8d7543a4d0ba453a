//! The naive model: what each cluster really has, and what that must add up to for another, by rules written anew.
//!
//! Nothing here is shared with the registry: no store, no revisions, no merge.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use cluster_registry::{
    cluster::Control,
    endpoint::Endpoint,
    import::Namespaces,
    link::LinkSpec,
    name::{ClusterName, Namespace, NodeName, ServiceName},
    node::{Node, Tunnel},
    resource::{Resource, ResourceId},
    service::Service,
    view::View,
};
use ipnet::IpNet;

/// What one cluster really has.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) cluster: ClusterName,
    /// The objects of its source.
    pub(crate) objects: BTreeMap<ResourceId, Resource>,
    /// The tunnel ends that its agents have.
    pub(crate) agents: BTreeMap<ResourceId, Resource>,
    /// Its links, by the cluster that they lead to.
    pub(crate) links: BTreeMap<ClusterName, LinkSpec>,
}

impl Offer {
    pub(crate) fn new(cluster: ClusterName) -> Self {
        Self {
            cluster,
            objects: BTreeMap::new(),
            agents: BTreeMap::new(),
            links: BTreeMap::new(),
        }
    }

    /// What it shows to the cluster that a link leads to.
    fn exports_to(&self, reader: &ClusterName) -> BTreeMap<ResourceId, Resource> {
        let mut exports = exports(&self.objects, &self.agents);
        match self.links.get(reader) {
            Some(link) => exports.retain(|id, _| is_told(&link.export_to, id)),
            None => exports.clear(),
        }
        exports
    }
}

/// What a gateway that has heard of some objects and tunnel ends shows to anybody.
pub(crate) fn exports(
    objects: &BTreeMap<ResourceId, Resource>,
    tunnels: &BTreeMap<ResourceId, Resource>,
) -> BTreeMap<ResourceId, Resource> {
    let is_shared = |name: &ServiceName| {
        service(objects, name).is_some_and(|s| s.sharing.global && s.sharing.shared)
    };
    let shared = objects.iter().filter(|(id, _)| match id {
        ResourceId::Node(_) => true,
        ResourceId::Service(name) | ResourceId::Endpoint(name, _) => is_shared(name),
        ResourceId::Cluster
        | ResourceId::Tunnel(_)
        | ResourceId::Namespace(_)
        | ResourceId::Import(_) => false,
    });
    shared
        .chain(tunnels)
        .map(|(id, value)| (id.clone(), value.clone()))
        .collect()
}

fn service<'a>(
    objects: &'a BTreeMap<ResourceId, Resource>,
    name: &ServiceName,
) -> Option<&'a Service> {
    match objects.get(&ResourceId::Service(name.clone()))? {
        Resource::Service(service) => Some(service),
        Resource::Cluster(_)
        | Resource::Node(_)
        | Resource::Tunnel(_)
        | Resource::Endpoint(_)
        | Resource::Namespace(_)
        | Resource::Import(_) => None,
    }
}

/// Whether a reader of some namespaces is told of a resource.
pub(crate) fn is_told(namespaces: &Namespaces, id: &ResourceId) -> bool {
    namespace_of(id).is_none_or(|namespace| namespaces.contains(namespace))
}

/// Whether a link lets its peer announce a resource; honest clusters in this world announce nothing else that is refused.
pub(crate) fn is_granted(link: &LinkSpec, id: &ResourceId, value: &Resource) -> bool {
    if namespace_of(id).is_some_and(|n| !link.grants.namespaces.contains(n)) {
        return false;
    }
    let granted = &link.grants.cidrs;
    let is_inside = |range: &IpNet| granted.iter().any(|outer| outer.contains(range));
    granted.is_empty() || ranges_of(id, value).iter().all(is_inside)
}

/// The ranges of pods that a resource is about.
pub(crate) fn ranges_of(id: &ResourceId, value: &Resource) -> Vec<IpNet> {
    match (id, value) {
        (ResourceId::Endpoint(_, address), _) => vec![IpNet::from(*address)],
        (_, Resource::Node(node)) => node.pod_cidrs.clone(),
        _others => Vec::new(),
    }
}

fn namespace_of(id: &ResourceId) -> Option<&Namespace> {
    match id {
        ResourceId::Cluster | ResourceId::Node(_) | ResourceId::Tunnel(_) => None,
        ResourceId::Namespace(namespace) => Some(namespace),
        ResourceId::Service(name) | ResourceId::Endpoint(name, _) | ResourceId::Import(name) => {
            Some(&name.namespace)
        }
    }
}

/// A service as a cluster's clients must see it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    local: Option<Arc<Service>>,
    remote: BTreeMap<ClusterName, Arc<Service>>,
    endpoints: BTreeMap<ClusterName, BTreeMap<IpAddr, Endpoint>>,
}

/// Everything that a cluster must see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Picture {
    pub(crate) clusters: BTreeMap<ClusterName, Control>,
    pub(crate) nodes: BTreeMap<(ClusterName, NodeName), (Option<Node>, Option<Tunnel>)>,
    pub(crate) services: BTreeMap<ServiceName, Seen>,
}

impl Picture {
    /// What a view shows.
    pub(crate) fn of_view(view: &View) -> Self {
        let services = view.services.iter().map(|(name, merged)| {
            let endpoints = merged.endpoints.iter().map(|(cluster, endpoints)| {
                let plain = endpoints.iter().map(|(at, e)| (*at, (**e).clone()));
                (cluster.clone(), plain.collect())
            });
            let seen = Seen {
                local: merged.local.clone(),
                remote: merged
                    .remote
                    .iter()
                    .map(|(name, s)| (name.clone(), Arc::clone(s)))
                    .collect(),
                endpoints: endpoints.collect(),
            };
            (name.clone(), seen)
        });
        let nodes = view.nodes.iter();
        Self {
            clusters: view
                .clusters
                .iter()
                .map(|(name, cluster)| (name.clone(), cluster.control))
                .collect(),
            nodes: nodes
                .map(|(key, node)| (key.clone(), (node.node.clone(), node.tunnel.clone())))
                .collect(),
            services: services.collect(),
        }
    }

    /// What one of the clusters must see once all have heard each other.
    pub(crate) fn expected(offers: &[Offer], reader: &ClusterName) -> Self {
        let mut picture = Self::default();
        let Some(own) = offers.iter().find(|offer| offer.cluster == *reader) else {
            return picture;
        };
        let mut everything = own.objects.clone();
        everything.extend(own.agents.clone());
        picture.add(reader, everything, own);
        for offer in offers.iter().filter(|offer| offer.cluster != *reader) {
            let Some(link) = own.links.get(&offer.cluster) else {
                continue;
            };
            picture
                .clusters
                .insert(offer.cluster.clone(), Control::Connected);
            let mut announced = offer.exports_to(reader);
            announced.retain(|id, value| is_granted(link, id, value));
            picture.add(&offer.cluster, announced, own);
        }
        picture
            .services
            .retain(|_, s| s.local.is_some() || !s.remote.is_empty());
        picture
    }

    fn add(&mut self, from: &ClusterName, said: BTreeMap<ResourceId, Resource>, own: &Offer) {
        let defines = |name: &ServiceName| said.contains_key(&ResourceId::Service(name.clone()));
        for (id, value) in &said {
            match (id, value.clone()) {
                (ResourceId::Node(name), Resource::Node(node)) => {
                    self.nodes
                        .entry((from.clone(), name.clone()))
                        .or_default()
                        .0 = Some((*node).clone());
                }
                (ResourceId::Tunnel(name), Resource::Tunnel(tunnel)) => {
                    self.nodes
                        .entry((from.clone(), name.clone()))
                        .or_default()
                        .1 = Some((*tunnel).clone());
                }
                (ResourceId::Service(name), Resource::Service(service)) => {
                    let seen = self.services.entry(name.clone()).or_default();
                    if *from == own.cluster {
                        seen.local = Some(service);
                    } else {
                        seen.remote.insert(from.clone(), service);
                    }
                }
                (ResourceId::Endpoint(name, address), Resource::Endpoint(endpoint)) => {
                    let is_used = *from == own.cluster
                        || service(&own.objects, name).is_some_and(|s| s.sharing.global);
                    if is_used && defines(name) {
                        let seen = self.services.entry(name.clone()).or_default();
                        let endpoints = seen.endpoints.entry(from.clone()).or_default();
                        endpoints.insert(*address, (*endpoint).clone());
                    }
                }
                _other => {}
            }
        }
    }

    /// Whether any endpoint of a cluster is in it.
    pub(crate) fn has_endpoints_of(&self, cluster: &ClusterName) -> bool {
        let mut services = self.services.values();
        services.any(|service| service.endpoints.contains_key(cluster))
    }

    /// The first things in which two pictures differ, for a person to read.
    pub(crate) fn difference(&self, expected: &Self) -> Option<String> {
        if self == expected {
            return None;
        }
        let mut found = Vec::new();
        differ("cluster", &self.clusters, &expected.clusters, &mut found);
        differ("node", &self.nodes, &expected.nodes, &mut found);
        differ("service", &self.services, &expected.services, &mut found);
        Some(found.join("\n"))
    }
}

fn differ<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    kind: &str,
    is: &BTreeMap<K, V>,
    must: &BTreeMap<K, V>,
    found: &mut Vec<String>,
) {
    let keys = is
        .keys()
        .chain(must.keys().filter(|key| !is.contains_key(*key)));
    for key in keys {
        let (is, must) = (is.get(key), must.get(key));
        if is != must {
            found.push(format!("{kind} {key:?} is {is:?}, must be {must:?}"));
        }
    }
}
