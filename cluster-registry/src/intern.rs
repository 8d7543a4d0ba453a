//! Keeps one copy of what many endpoints have alike: all but their address, or else their node, zone, ports and hints.
//!
//! Each endpoint comes with copies of its own. A cluster has far fewer nodes, zones and port lists than endpoints, so
//! that sharing them, and what consists of the same ones, leaves of most endpoints only the address.

mod names;
mod values;

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    endpoint::{Endpoint, EndpointPort, Hints},
    name::{NodeName, ServiceName},
    service::Service,
};
use names::Names;
use values::Values;

/// New copies after which the ones that nobody uses are looked for.
const PRUNE_AFTER: usize = 4_096;

/// The copies.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    endpoints: Values<Endpoint>,
    services: Values<Service>,
    names: Names,
    nodes: BTreeSet<NodeName>,
    zones: BTreeSet<Arc<str>>,
    ports: BTreeSet<Arc<[EndpointPort]>>,
    hints: BTreeSet<Arc<Hints>>,
    kept_since_prune: usize,
}

impl Interner {
    /// Makes an endpoint share what it has alike with others.
    pub(crate) fn share(&mut self, endpoint: &mut Arc<Endpoint>) {
        if let Some(vacancy) = self.endpoints.share(endpoint) {
            self.share_parts(endpoint);
            self.endpoints.keep(vacancy, endpoint);
        }
    }

    /// Makes a service share its whole value: other clusters' often differ in nothing, as they are told little of it.
    pub(crate) fn share_service(&mut self, service: &mut Arc<Service>) {
        if let Some(vacancy) = self.services.share(service) {
            self.services.keep(vacancy, service);
        }
    }

    /// Makes a service's name the copy that all clusters' share.
    pub(crate) fn share_name(&mut self, name: &mut ServiceName) {
        self.names.share(name);
    }

    fn share_parts(&mut self, endpoint: &mut Arc<Endpoint>) {
        let kept = self.kept();
        let node = endpoint.node.as_ref().and_then(|node| {
            let shared = one_of(&mut self.nodes, node);
            (!shared.is_same(node)).then_some(shared)
        });
        let zone = endpoint.zone.as_ref().and_then(|zone| {
            let shared = one_of(&mut self.zones, zone);
            (!Arc::ptr_eq(&shared, zone)).then_some(shared)
        });
        let hints = endpoint.hints.as_ref().and_then(|hints| {
            let shared = one_of(&mut self.hints, hints);
            (!Arc::ptr_eq(&shared, hints)).then_some(shared)
        });
        let ports = one_of(&mut self.ports, &endpoint.ports);
        let ports = (!Arc::ptr_eq(&ports, &endpoint.ports)).then_some(ports);
        if node.is_some() || zone.is_some() || hints.is_some() || ports.is_some() {
            let endpoint = Arc::make_mut(endpoint);
            endpoint.node = node.or_else(|| endpoint.node.take());
            endpoint.zone = zone.or_else(|| endpoint.zone.take());
            endpoint.hints = hints.or_else(|| endpoint.hints.take());
            if let Some(ports) = ports {
                endpoint.ports = ports;
            }
        }
        self.kept_since_prune += self.kept() - kept;
        if self.kept_since_prune > PRUNE_AFTER.max(self.kept() / 2) {
            self.prune();
        }
    }

    /// Forgets the copies that nobody uses.
    fn prune(&mut self) {
        self.kept_since_prune = 0;
        self.nodes.retain(NodeName::is_shared);
        self.zones.retain(|zone| Arc::strong_count(zone) > 1);
        self.ports.retain(|ports| Arc::strong_count(ports) > 1);
        self.hints.retain(|hints| Arc::strong_count(hints) > 1);
    }

    fn kept(&self) -> usize {
        self.nodes.len() + self.zones.len() + self.ports.len() + self.hints.len()
    }
}

/// The copy of a value, which becomes the copy if there is none.
fn one_of<T: Ord + Clone>(copies: &mut BTreeSet<T>, value: &T) -> T {
    if let Some(copy) = copies.get(value) {
        return copy.clone();
    }
    copies.insert(value.clone());
    value.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node_name;

    #[test]
    fn equal_parts_of_endpoints_are_kept_once() {
        let mut interner = Interner::default();
        let (mut one, mut other) = (endpoint("n1"), endpoint("n1"));

        interner.share(&mut one);
        interner.share(&mut other);

        assert_eq!(one, other);
        assert!(
            one.node
                .as_ref()
                .unwrap()
                .is_same(other.node.as_ref().unwrap())
        );
        assert!(Arc::ptr_eq(
            one.zone.as_ref().unwrap(),
            other.zone.as_ref().unwrap()
        ));
        assert!(Arc::ptr_eq(
            one.hints.as_ref().unwrap(),
            other.hints.as_ref().unwrap()
        ));
        assert!(Arc::ptr_eq(&one.ports, &other.ports));
    }

    #[test]
    fn an_endpoint_that_already_shares_stays_the_same_allocation() {
        let mut interner = Interner::default();
        let mut one = endpoint("n1");
        interner.share(&mut one);
        let before = Arc::clone(&one);

        interner.share(&mut one);

        assert!(Arc::ptr_eq(&before, &one));
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let mut interner = Interner::default();
        let mut kept = endpoint("kept");
        interner.share(&mut kept);

        for n in 0..PRUNE_AFTER * 3 {
            interner.share(&mut endpoint(&format!("n{n}")));
        }

        assert!(interner.kept() <= PRUNE_AFTER + 4);
        assert!(interner.nodes.contains(&node_name("kept")));
    }

    fn endpoint(node: &str) -> Arc<Endpoint> {
        let port = EndpointPort {
            name: None,
            protocol: crate::service::Protocol::Tcp,
            port: 80,
        };
        Arc::new(Endpoint {
            node: Some(node_name(node)),
            zone: Some("a".into()),
            hints: Some(Arc::new(Hints {
                zones: vec!["a".into()],
                nodes: Vec::new(),
            })),
            ..Endpoint::ready([port])
        })
    }
}
