//! Builds views for tests, and plans them.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use cluster_registry::{
    cluster::{Cluster, Control},
    endpoint::{Conditions, Endpoint, EndpointPort},
    node::Node,
    service::{ClusterAffinity, Protocol, Service, ServiceKind, ServicePort, Sharing},
    traffic::SessionAffinity,
    view::MergedNode,
};

use super::*;

/// What east's node sees.
pub(in crate::plan) struct World {
    services: BTreeMap<ServiceName, MergedService>,
    clusters: BTreeMap<ClusterName, Cluster>,
    zone: Option<String>,
}

impl World {
    pub(in crate::plan) fn new() -> Self {
        Self {
            services: BTreeMap::new(),
            clusters: BTreeMap::new(),
            zone: None,
        }
    }

    pub(super) fn cluster(&mut self, cluster: &str) {
        let control = Control::Connected;
        self.clusters.insert(name(cluster), Cluster { control });
    }

    /// The node is in a zone.
    pub(super) fn zone(&mut self, zone: &str) {
        self.zone = Some(zone.to_owned());
    }

    pub(super) fn no_cluster(&mut self, cluster: &str) {
        self.clusters.remove(&name(cluster));
    }

    /// A service with TCP port 80 at an address, which it gets beside those it has.
    pub(super) fn service(&mut self, label: &str, address: &str) {
        let merged = self.services.entry(service(label)).or_default();
        let local = merged.local.get_or_insert_with(|| {
            Arc::new(Service {
                ports: vec![port(Protocol::Tcp)],
                sharing: Sharing {
                    global: true,
                    shared: true,
                    affinity: ClusterAffinity::None,
                },
                ..Service::default()
            })
        });
        Arc::make_mut(local).cluster_ips.push(ip(address));
    }

    pub(super) fn no_service(&mut self, label: &str) {
        self.services.remove(&service(label));
    }

    pub(super) fn headless(&mut self, label: &str) {
        self.service(label, "10.0.9.9");
        self.local(label).kind = ServiceKind::Headless;
    }

    pub(super) fn sctp(&mut self, label: &str, address: &str) {
        self.service(label, address);
        self.local(label).ports = vec![port(Protocol::Sctp)];
    }

    /// A service with UDP port 80 at an address.
    pub(super) fn udp(&mut self, label: &str, address: &str) {
        self.service(label, address);
        self.local(label).ports = vec![port(Protocol::Udp)];
    }

    pub(super) fn affinity(&mut self, label: &str, affinity: ClusterAffinity) {
        self.local(label).sharing.affinity = affinity;
    }

    /// Clients keep their backend for so many seconds.
    pub(super) fn session_affinity(&mut self, label: &str, seconds: Option<u64>) {
        let affinity = seconds.map(|seconds| SessionAffinity::ClientIp {
            timeout: Duration::from_secs(seconds),
        });
        self.local(label).session_affinity = affinity.unwrap_or_default();
    }

    pub(super) fn local(&mut self, label: &str) -> &mut Service {
        let merged = self.services.get_mut(&service(label)).unwrap();
        Arc::make_mut(merged.local.as_mut().unwrap())
    }

    /// A ready endpoint that serves at port 8080.
    pub(super) fn endpoint(&mut self, cluster: &str, label: &str, address: &str) {
        self.endpoint_in(cluster, label, address, Conditions::READY);
    }

    pub(super) fn endpoint_in(
        &mut self,
        cluster: &str,
        label: &str,
        address: &str,
        conditions: Conditions,
    ) {
        let endpoint = Endpoint {
            conditions,
            ..serving()
        };
        self.put(cluster, label, address, endpoint);
    }

    /// A ready endpoint that runs on a node.
    pub(super) fn endpoint_on(
        &mut self,
        cluster: &str,
        label: &str,
        address: &str,
        node: Option<&str>,
    ) {
        let endpoint = Endpoint {
            node: node.map(|node| NodeName::parse(node).unwrap()),
            ..serving()
        };
        self.put(cluster, label, address, endpoint);
    }

    /// An endpoint that is there gets other conditions.
    pub(super) fn conditions(
        &mut self,
        cluster: &str,
        label: &str,
        address: &str,
        conditions: Conditions,
    ) {
        let merged = self.services.get_mut(&service(label)).unwrap();
        let endpoints = merged.endpoints.get_mut(&name(cluster)).unwrap();
        let mut endpoint = (**endpoints.get(&ip(address)).unwrap()).clone();
        endpoint.conditions = conditions;
        endpoints.insert(ip(address), Arc::new(endpoint));
    }

    /// A ready endpoint that runs on a node in a zone.
    pub(super) fn endpoint_in_zone(&mut self, label: &str, address: &str, at: (&str, &str)) {
        let endpoint = Endpoint {
            node: Some(NodeName::parse(at.0).unwrap()),
            zone: Some(at.1.into()),
            ..serving()
        };
        self.put("east", label, address, endpoint);
    }

    fn put(&mut self, cluster: &str, label: &str, address: &str, endpoint: Endpoint) {
        let merged = self.services.entry(service(label)).or_default();
        let endpoints = merged.endpoints.get_or_default(&name(cluster));
        endpoints.insert(ip(address), Arc::new(endpoint));
    }

    pub(super) fn no_endpoint(&mut self, cluster: &str, label: &str, address: &str) {
        let merged = self.services.get_mut(&service(label)).unwrap();
        let endpoints = merged.endpoints.get_mut(&name(cluster)).unwrap();
        endpoints.remove(&ip(address));
    }

    pub(in crate::plan) fn view(&self) -> View {
        let services = self.services.iter();
        let node = MergedNode {
            node: Some(Node {
                zone: self.zone.clone(),
                ..Node::default()
            }),
            tunnel: None,
        };
        View {
            cluster: name("east"),
            clusters: self.clusters.clone(),
            nodes: [(here(), Arc::new(node))].into_iter().collect(),
            services: services
                .map(|(name, service)| (name.clone(), Arc::new(service.clone())))
                .collect(),
        }
    }

    /// A planner that has planned all of it from nothing, and the changes.
    pub(super) fn planner(&self) -> (Planner, Vec<MapOp>) {
        let mut planner = Planner::adopt(here(), Image::default());
        let ops = self.sync(&mut planner);
        (planner, ops)
    }

    /// Plans all of it, and sweeps.
    pub(super) fn sync(&self, planner: &mut Planner) -> Vec<MapOp> {
        let view = self.view();
        planner.follow_zone(&view);
        let mut ops: Vec<MapOp> = view
            .clusters
            .keys()
            .filter_map(|cluster| planner.rule(cluster, Ruling::Up))
            .collect();
        ops.extend(planner.update(&view, view.services.keys()));
        ops.extend(planner.sweep(&view));
        ops
    }

    pub(super) fn update(&self, planner: &mut Planner, labels: &[&str]) -> Vec<MapOp> {
        let names: Vec<ServiceName> = labels.iter().map(|label| service(label)).collect();
        let view = self.view();
        planner.follow_zone(&view);
        planner.update(&view, &names)
    }
}

pub(in crate::plan) fn name(text: &str) -> ClusterName {
    ClusterName::parse(text).unwrap()
}

/// The node that plans.
pub(in crate::plan) fn here() -> (ClusterName, NodeName) {
    (name("east"), NodeName::parse("n1").unwrap())
}

pub(super) fn service(label: &str) -> ServiceName {
    ServiceName::parse("shop", label).unwrap()
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn serving() -> Endpoint {
    Endpoint::ready([Protocol::Tcp, Protocol::Udp].map(|protocol| EndpointPort {
        name: None,
        protocol,
        port: 8080,
    }))
}

fn port(protocol: Protocol) -> ServicePort {
    ServicePort::new(None, protocol, 80)
}
