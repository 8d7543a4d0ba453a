//! The view: the immutable merged result that the datapath's plan and DNS read.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use crate::{
    cluster::Cluster,
    endpoint::Endpoint,
    name::{ClusterName, NodeName, ServiceName},
    node::{Node, Tunnel},
    service::Service,
};

/// A service as this cluster's clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MergedService {
    /// This cluster's own definition, which gives the frontends; `None` when only other clusters have the service.
    pub local: Option<Service>,
    /// The definitions of the other clusters that share it with us.
    pub remote: BTreeMap<ClusterName, Service>,
    /// The endpoints that clients of this cluster may use, by cluster and address.
    ///
    /// Other clusters' are in it only where both definitions are global and theirs is shared.
    pub endpoints: BTreeMap<ClusterName, BTreeMap<IpAddr, Arc<Endpoint>>>,
}

impl MergedService {
    /// Whether clients of this cluster reach it through the clusterset's names.
    pub fn is_global(&self) -> bool {
        match &self.local {
            Some(service) => service.sharing.global,
            None => !self.remote.is_empty(),
        }
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The cluster whose view it is.
    pub cluster: ClusterName,
    /// The other clusters, and whether their control sessions live.
    pub clusters: BTreeMap<ClusterName, Cluster>,
    /// The nodes of all clusters, this one's too.
    pub nodes: BTreeMap<(ClusterName, NodeName), Arc<MergedNode>>,
    /// The services of this cluster and those that others share.
    pub services: BTreeMap<ServiceName, Arc<MergedService>>,
}
