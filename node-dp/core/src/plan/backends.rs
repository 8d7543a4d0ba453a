//! Which endpoints back a frontend.

use std::collections::{BTreeMap, BTreeSet};

use cluster_registry::{
    endpoint::{Conditions, Endpoint},
    name::{ClusterName, NodeName},
    service::ServicePort,
    traffic::TrafficPolicy,
    view::MergedService,
};
use node_dp_common::BackendValue;

use super::frontends::Wanted;

/// The node that plans, by which backends are told that run on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) cluster: &'a ClusterName,
    pub(super) node: &'a NodeName,
}

impl Here<'_> {
    fn is_at(&self, cluster: &ClusterName, endpoint: &Endpoint) -> bool {
        cluster == self.cluster && endpoint.node.as_ref() == Some(self.node)
    }
}

/// The backends of a frontend that its family can reach, by cluster; none of them is empty.
///
/// Ready endpoints count. Only if there is none in any cluster do those count that still serve while they terminate, as
/// anything is better than nothing.
pub(super) fn of(
    service: &MergedService,
    wanted: Wanted<'_>,
    here: Here<'_>,
) -> BTreeMap<ClusterName, BTreeSet<BackendValue>> {
    let ready = those(service, wanted, here, |conditions| conditions.ready);
    if !ready.is_empty() {
        return ready;
    }
    those(service, wanted, here, |conditions| {
        conditions.serving && conditions.terminating
    })
}

fn those(
    service: &MergedService,
    wanted: Wanted<'_>,
    here: Here<'_>,
    serves: impl Fn(Conditions) -> bool,
) -> BTreeMap<ClusterName, BTreeSet<BackendValue>> {
    let mut backends: BTreeMap<ClusterName, BTreeSet<BackendValue>> = BTreeMap::new();
    let is_ipv4 = wanted.frontend.address().is_ipv4();
    for (cluster, endpoints) in wanted.endpoints(service) {
        let values: BTreeSet<BackendValue> = endpoints
            .iter()
            .filter(|(ip, endpoint)| ip.is_ipv4() == is_ipv4 && serves(endpoint.conditions))
            .filter(|(_, endpoint)| {
                wanted.policy == TrafficPolicy::Cluster || here.is_at(cluster, endpoint)
            })
            .filter_map(|(ip, endpoint)| {
                let value = BackendValue::new(*ip, number(endpoint, wanted.port)?);
                // Sockets reach all backends alike.
                let is_marked = wanted.reach.is_outside() && here.is_at(cluster, endpoint);
                Some(if is_marked { value.local() } else { value })
            })
            .collect();
        if !values.is_empty() {
            backends.insert(cluster.clone(), values);
        }
    }
    backends
}

/// The number at which an endpoint serves a service's port: joined by name and protocol, as numbers may differ.
fn number(endpoint: &Endpoint, port: &ServicePort) -> Option<u16> {
    let mut ports = endpoint.ports.iter();
    ports
        .find(|candidate| candidate.name == port.name && candidate.protocol == port.protocol)
        .map(|candidate| candidate.port)
}
