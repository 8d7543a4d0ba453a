//! What a node tells load balancers of its own endpoints: at which port, of which service, how many.
//!
//! As with kube-proxy, only ready endpoints count: a node whose last ones terminate gets no new connections, and still serves
//! those that it gets.

use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU16};

use cluster_registry::{
    name::{ClusterName, NodeName, ServiceName},
    service::Exposure,
    traffic::TrafficPolicy,
    view::{MergedService, View},
};

/// What is told at one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The service that the port belongs to.
    pub service: ServiceName,
    /// How many ready endpoints it has on the node.
    pub local_endpoints: usize,
}

/// What is told at all ports.
pub type Checks = BTreeMap<NonZeroU16, Check>;

/// The services that want to be told of.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeMap<ServiceName, (NonZeroU16, usize)>);

impl Told {
    /// Looks at one service anew.
    pub(crate) fn update(
        &mut self,
        view: &View,
        name: &ServiceName,
        here: (&ClusterName, &NodeName),
    ) {
        let told = view.services.get(name).and_then(|service| {
            let port = port(service)?;
            Some((port, local_endpoints(service, here)))
        });
        match told {
            Some(told) => self.0.insert(name.clone(), told),
            None => self.0.remove(name),
        };
    }

    /// By port; of two services that claim one port, which an API server does not let happen, the first by name has it.
    pub(crate) fn checks(&self) -> Checks {
        let mut checks = Checks::new();
        for (service, (port, local_endpoints)) in &self.0 {
            checks.entry(*port).or_insert_with(|| Check {
                service: service.clone(),
                local_endpoints: *local_endpoints,
            });
        }
        checks
    }
}

fn port(service: &MergedService) -> Option<NonZeroU16> {
    let local = service.local.as_ref()?;
    let is_local = |exposure: &&Exposure| exposure.traffic_policy == TrafficPolicy::Local;
    let exposure = local.exposure.as_deref().filter(is_local)?;
    exposure.health_check_node_port
}

/// How many pods that is: one of both families counts once.
fn local_endpoints(service: &MergedService, (cluster, node): (&ClusterName, &NodeName)) -> usize {
    let own = service.endpoints.get(cluster);
    let own = own.into_iter().flat_map(|endpoints| endpoints.iter());
    let here = own
        .filter(|(_, endpoint)| endpoint.conditions.ready && endpoint.node.as_ref() == Some(node));
    let (v4, v6): (Vec<&IpAddr>, Vec<&IpAddr>) =
        here.map(|(ip, _)| ip).partition(|ip| ip.is_ipv4());
    v4.len().max(v6.len())
}
