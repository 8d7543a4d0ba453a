//! Which endpoints back a frontend.

use std::collections::{BTreeMap, BTreeSet};

use cluster_registry::{
    endpoint::{Conditions, Endpoint},
    name::ClusterName,
    service::{Protocol, ServicePort},
    traffic::TrafficPolicy,
    view::MergedService,
};
use node_dp_common::BackendValue;

use super::{
    frontends::Wanted,
    near::{Near, Place},
};

/// The node that plans, by which backends are told that run on it or near to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) cluster: &'a ClusterName,
    pub(super) place: Place<'a>,
}

impl Here<'_> {
    fn is_at(&self, cluster: &ClusterName, endpoint: &Endpoint) -> bool {
        cluster == self.cluster && endpoint.node.as_ref() == Some(self.place.node)
    }
}

/// The backends that one cluster has for a frontend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidates {
    /// Those that the node uses.
    pub(super) backends: BTreeSet<BackendValue>,
    /// How many there are, be they near or far: a cluster's share does not depend on how many of them the node uses.
    pub(super) weight: usize,
}

/// The backends of a frontend that its family can reach, by cluster; none of them is empty.
///
/// Ready endpoints count. Only if there is none in any cluster do those count that still serve while they terminate, as
/// anything is better than nothing, be it near or far.
pub(super) fn of(
    service: &MergedService,
    wanted: Wanted<'_>,
    here: Here<'_>,
) -> BTreeMap<ClusterName, Candidates> {
    let distribution = wanted.distribution(service);
    let ready = those(service, wanted, here, |conditions| conditions.ready);
    let ready: BTreeMap<_, _> = ready
        .map(|(cluster, endpoints)| {
            let weight = endpoints.len();
            let is_own = cluster == here.cluster && wanted.policy == TrafficPolicy::Cluster;
            let near = is_own.then(|| {
                let endpoints = endpoints.iter().map(|(_, endpoint)| *endpoint);
                Near::new(endpoints, distribution, here.place)
            });
            let endpoints = endpoints.into_iter();
            let used = endpoints.filter(|(_, e)| near.is_none_or(|near| near.has(e)));
            let backends = used.map(|(backend, _)| backend).collect();
            (cluster.clone(), Candidates { backends, weight })
        })
        .collect();
    if !ready.is_empty() {
        return ready;
    }
    let ending = |conditions: Conditions| conditions.serving && conditions.terminating;
    let ending = those(service, wanted, here, ending).map(|(cluster, endpoints)| {
        let weight = endpoints.len();
        let backends = endpoints.into_iter().map(|(backend, _)| backend).collect();
        (cluster.clone(), Candidates { backends, weight })
    });
    ending.collect()
}

/// Whether any endpoint of a frontend stands for a backend, so that who has it may keep it: in whichever condition, but of
/// datagrams only while it serves, as nothing else tells their sender that nobody does.
pub(super) fn is_kept(service: &MergedService, wanted: Wanted<'_>, backend: &BackendValue) -> bool {
    wanted.endpoints(service).any(|(_, endpoints)| {
        let endpoint = endpoints.get(&backend.address());
        endpoint.is_some_and(|endpoint| {
            number(endpoint, wanted.port) == Some(backend.port())
                && (wanted.port.protocol != Protocol::Udp || endpoint.conditions.serving)
        })
    })
}

/// The backends that serve in some way with their endpoints, by cluster; none of them is empty.
fn those<'a>(
    service: &'a MergedService,
    wanted: Wanted<'a>,
    here: Here<'a>,
    serves: impl Fn(Conditions) -> bool,
) -> impl Iterator<Item = (&'a ClusterName, Vec<(BackendValue, &'a Endpoint)>)> {
    let is_ipv4 = wanted.frontend.address().is_ipv4();
    let by_cluster = wanted.endpoints(service).map(move |(cluster, endpoints)| {
        let values = endpoints
            .iter()
            .filter(|(ip, endpoint)| ip.is_ipv4() == is_ipv4 && serves(endpoint.conditions))
            .filter(|(_, endpoint)| {
                wanted.policy == TrafficPolicy::Cluster || here.is_at(cluster, endpoint)
            })
            .filter_map(|(ip, endpoint)| {
                let value = BackendValue::new(*ip, number(endpoint, wanted.port)?);
                // Sockets reach all backends alike.
                let is_marked = wanted.reach.is_outside() && here.is_at(cluster, endpoint);
                let value = if is_marked { value.local() } else { value };
                Some((value, endpoint.as_ref()))
            });
        (cluster, values.collect::<Vec<_>>())
    });
    by_cluster.filter(|(_, endpoints)| !endpoints.is_empty())
}

/// The number at which an endpoint serves a service's port: joined by name and protocol, as numbers may differ.
fn number(endpoint: &Endpoint, port: &ServicePort) -> Option<u16> {
    let mut ports = endpoint.ports.iter();
    ports
        .find(|candidate| candidate.name == port.name && candidate.protocol == port.protocol)
        .map(|candidate| candidate.port)
}
