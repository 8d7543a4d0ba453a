//! What clusters say of one service, and the merged service that it adds up to.

use std::sync::Arc;

use crate::{
    mcs::{self, ImportAddresses, ImportKind},
    name::ClusterName,
    service::Service,
    view::{DefinitionsByCluster, EndpointsByCluster, MergedService, OffersByCluster},
};

/// What all clusters say of one service.
#[derive(Debug, Default)]
pub(super) struct Offers {
    pub(super) by_cluster: OffersByCluster,
    /// What this cluster's import of it has.
    pub(super) addresses: Option<Arc<ImportAddresses>>,
    /// How much of the service must be merged anew; `None` when it is as it was merged last.
    pub(super) stale: Option<Stale>,
    /// Whether it is noted as touched.
    pub(super) is_touched: bool,
}

/// How much of a service must be merged anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stale {
    /// Only which endpoints there are.
    Endpoints,
    /// All.
    Definitions,
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

    /// The service with all but what [`Self::show`] adds; `imports` tells whether an import may exist in its namespace.
    pub(super) fn definitions(&self, cluster: &ClusterName, imports: bool) -> MergedService {
        let mut merged = MergedService::default();
        let own = self.by_cluster.get(cluster);
        merged.local = own.and_then(|offer| offer.definition.clone());
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

    /// Lets a service show what is offered; its cluster's own definition and its import must be there.
    pub(super) fn show(&self, cluster: &ClusterName, merged: &mut MergedService) {
        let offers = &self.by_cluster;
        let merges = merged.local.as_ref().is_some_and(|s| s.sharing.global);
        merged.remote = DefinitionsByCluster::shared_with(cluster, offers);
        merged.endpoints = EndpointsByCluster::behind_own(cluster, merges, offers);
        merged.import_endpoints = if merged.import.is_some() {
            EndpointsByCluster::behind_import(offers)
        } else {
            EndpointsByCluster::new()
        };
    }
}
