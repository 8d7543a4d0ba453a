//! The view: the immutable merged result that the datapath's plan and DNS read.

mod offered;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use crate::{
    cluster::Cluster,
    endpoint::Endpoint,
    mcs::{Import, ImportKind},
    name::{ClusterName, NodeName, ServiceName},
    node::{Node, Tunnel},
    service::{Service, ServicePort},
    shared_map::SharedMap,
};

pub use offered::{DefinitionsByCluster, EndpointsByCluster};
pub(crate) use offered::{Offer, OffersByCluster};

/// The endpoints that one cluster has of one service.
pub type Endpoints = SharedMap<IpAddr, Arc<Endpoint>>;

// Most services of most clusters have one endpoint, which stands in the map itself.
const _: () = assert!(size_of::<Endpoints>() == 32);

/// A service as this cluster's clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MergedService {
    /// This cluster's own definition, which gives the frontends; `None` when only other clusters have the service.
    pub local: Option<Arc<Service>>,
    /// The definitions of the other clusters that share or export it.
    pub remote: DefinitionsByCluster,
    /// The endpoints behind the service's own cluster IPs, by cluster and address.
    ///
    /// Other clusters' are in it only where both definitions are global by annotation and theirs is shared.
    pub endpoints: EndpointsByCluster,
    /// What the clusters' ServiceExports add up to; `None` when no cluster exports it or its namespace is not here.
    pub import: Option<Arc<Import>>,
    /// The addresses of the import in this cluster, at most one per family; empty for a headless one.
    pub clusterset_ips: Vec<IpAddr>,
    /// The endpoints behind the import, by cluster and address: those of the clusters that export it, and no others.
    pub import_endpoints: EndpointsByCluster,
}

impl MergedService {
    /// Whether clients of this cluster reach it through the clusterset's names.
    pub fn is_global(&self) -> bool {
        match &self.local {
            Some(service) => service.sharing.global || self.import.is_some(),
            None => !self.remote.is_empty(),
        }
    }

    /// A cluster's own definition, be it this or another cluster.
    fn definition_of(&self, cluster: &ClusterName) -> Option<&Service> {
        // Another cluster's is told apart from ours by being among the remote ones.
        let definition = self.remote.get(cluster).or(self.local.as_ref());
        definition.map(AsRef::as_ref)
    }

    /// The clusters whose endpoints traffic to a port of the import's addresses may go to.
    pub fn import_endpoints_of(
        &self,
        port: &ServicePort,
    ) -> impl Iterator<Item = (&ClusterName, &Endpoints)> {
        let endpoints = self.import_endpoints.iter();
        endpoints.filter(|(cluster, _)| self.is_exposed_by(cluster, port))
    }

    /// Whether a cluster's own definition has a port of the import.
    pub(crate) fn is_exposed_by(&self, cluster: &ClusterName, port: &ServicePort) -> bool {
        self.definition_of(cluster)
            .is_some_and(|definition| Import::is_served_by(port, definition))
    }

    /// The import, if its clients dial addresses of its own.
    pub fn addressed_import(&self) -> Option<&Import> {
        let import = self.import.as_deref();
        import.filter(|import| import.kind == ImportKind::ClusterSetIp)
    }
}

/// A node and, once its agent has announced it, its tunnel end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MergedNode {
    /// What its cluster's source says.
    pub node: Option<Node>,
    /// What its agent says.
    pub tunnel: Option<Tunnel>,
}

/// Everything that this cluster knows, merged.
///
/// Its maps share what they hold with those of earlier and later views, so keeping one is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The cluster whose view it is.
    pub cluster: ClusterName,
    /// The other clusters, and whether their control sessions live.
    pub clusters: BTreeMap<ClusterName, Cluster>,
    /// The nodes of all clusters, this one's too.
    pub nodes: SharedMap<(ClusterName, NodeName), Arc<MergedNode>>,
    /// The services of this cluster and those that others share.
    pub services: SharedMap<ServiceName, Arc<MergedService>>,
}

impl View {
    /// The view of a cluster that knows nothing.
    pub fn new(cluster: ClusterName) -> Self {
        Self {
            cluster,
            clusters: BTreeMap::new(),
            nodes: SharedMap::new(),
            services: SharedMap::new(),
        }
    }
}
