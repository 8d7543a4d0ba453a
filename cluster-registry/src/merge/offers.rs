//! What clusters say of one service, and the merged service that it adds up to.

use std::sync::Arc;

use crate::{
    mcs::{self, ImportAddresses, ImportKind},
    name::ClusterName,
    service::Service,
    shared_map::SharedMap,
    view::{Endpoints, EndpointsByCluster, MergedService},
};

/// What all clusters say of one service.
#[derive(Debug, Default)]
pub(super) struct Offers {
    pub(super) by_cluster: SharedMap<ClusterName, Offer>,
    /// What this cluster's import of it has.
    pub(super) addresses: Option<Arc<ImportAddresses>>,
}

/// What one cluster says of one service.
#[derive(Debug, Clone, Default)]
pub(super) struct Offer {
    pub(super) definition: Option<Arc<Service>>,
    pub(super) endpoints: Endpoints,
}

impl Offer {
    pub(super) fn is_empty(&self) -> bool {
        self.definition.is_none() && self.endpoints.is_empty()
    }
}

impl Offers {
    pub(super) fn is_empty(&self) -> bool {
        self.by_cluster.is_empty() && self.addresses.is_none()
    }

    pub(super) fn is_exported(&self) -> bool {
        self.known()
            .any(|(_, service)| service.mcs_export().is_some())
    }

    fn known(&self) -> impl Iterator<Item = (&ClusterName, &Arc<Service>)> {
        let offers = self.by_cluster.iter();
        offers.filter_map(|(cluster, offer)| Some((cluster, offer.definition.as_ref()?)))
    }

    /// The service without its endpoints; `imports` tells whether an import may exist in its namespace.
    pub(super) fn definitions(&self, cluster: &ClusterName, imports: bool) -> MergedService {
        let mut merged = MergedService::default();
        for (name, definition) in self.known() {
            if name == cluster {
                merged.local = Some(Arc::clone(definition));
            } else if definition.is_exported() {
                merged.remote.insert(name.clone(), Arc::clone(definition));
            }
        }
        if imports {
            let known = self.known().map(|(name, service)| (name, service.as_ref()));
            merged.import = mcs::import(known).map(Arc::new);
        }
        if let Some(import) = &merged.import
            && import.kind == ImportKind::ClusterSetIp
            && let Some(addresses) = &self.addresses
        {
            merged.clusterset_ips.clone_from(&addresses.ips);
        }
        merged
    }

    pub(super) fn fill_endpoints(&self, cluster: &ClusterName, merged: &mut MergedService) {
        let merges = merged.local.as_ref().is_some_and(|s| s.sharing.global);
        merged.endpoints = EndpointsByCluster::new();
        merged.import_endpoints = EndpointsByCluster::new();
        for (name, offer) in &self.by_cluster {
            let Some(definition) = &offer.definition else {
                continue;
            };
            if offer.endpoints.is_empty() {
                continue;
            }
            let is_backend = name == cluster || (merges && definition.is_shared());
            if is_backend {
                let endpoints = offer.endpoints.clone();
                merged.endpoints.insert(name.clone(), endpoints);
            }
            let import = merged.import.as_ref();
            if import.is_some_and(|import| import.clusters.contains(name)) {
                let endpoints = offer.endpoints.clone();
                merged.import_endpoints.insert(name.clone(), endpoints);
            }
        }
    }
}
