//! Which endpoints back a frontend.

use std::collections::{BTreeMap, BTreeSet};

use cluster_registry::{
    endpoint::{Conditions, Endpoint},
    name::ClusterName,
    service::ServicePort,
    view::MergedService,
};
use node_dp_common::BackendValue;

use super::frontends::Wanted;

/// The backends of a frontend that its family can reach, by cluster; none of them is empty.
///
/// Ready endpoints count. Only if there is none in any cluster do those count that still serve while they terminate, as
/// anything is better than nothing.
pub(super) fn of(
    service: &MergedService,
    wanted: Wanted<'_>,
) -> BTreeMap<ClusterName, BTreeSet<BackendValue>> {
    let ready = those(service, wanted, |conditions| conditions.ready);
    if !ready.is_empty() {
        return ready;
    }
    those(service, wanted, |conditions| {
        conditions.serving && conditions.terminating
    })
}

fn those(
    service: &MergedService,
    wanted: Wanted<'_>,
    serves: impl Fn(Conditions) -> bool,
) -> BTreeMap<ClusterName, BTreeSet<BackendValue>> {
    let mut backends: BTreeMap<ClusterName, BTreeSet<BackendValue>> = BTreeMap::new();
    let is_ipv4 = wanted.frontend.address().is_ipv4();
    for (cluster, endpoints) in wanted.endpoints(service) {
        let values: BTreeSet<BackendValue> = endpoints
            .iter()
            .filter(|(ip, endpoint)| ip.is_ipv4() == is_ipv4 && serves(endpoint.conditions))
            .filter_map(|(ip, endpoint)| {
                Some(BackendValue::new(*ip, number(endpoint, wanted.port)?))
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
