//! API servers with objects in them, and a running source of one, followed.

use std::{collections::BTreeMap, time::Duration};

use apiserver_double::{ApiServer, Settings};
use cluster_registry::{
    link::LinkSpec,
    name::ClusterName,
    resource::{Resource, ResourceId},
};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(super) use crate::testing::definition;
use crate::{
    kubernetes::KubernetesSource,
    source::SourceEvent,
    testing::{self, client},
};

/// Long enough for a busy machine and a few attempts; nothing waits as long when all is well.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

pub(super) fn double() -> ApiServer {
    let server = ApiServer::start(Settings::default()).unwrap();
    set(
        &server,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
    );
    server
}

pub(super) fn set(server: &ApiServer, object: Value) {
    server.apply(&object).unwrap();
}

pub(super) fn lists(server: &ApiServer, plural: &str) -> usize {
    server.requests("list", "", plural).count
}

pub(super) fn watches(server: &ApiServer, plural: &str) -> usize {
    server.requests("watch", "", plural).count
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(DEADLINE, future).await;
    result.unwrap_or_else(|_| panic!("it took longer than {DEADLINE:?}"))
}

/// What was told beside namespaces, which every server has some of.
pub(super) fn objects(running: &Running) -> Vec<&String> {
    let names = running.state.keys();
    names
        .filter(|name| !name.starts_with("namespace "))
        .collect()
}

pub(super) fn service(name: &str, cluster_ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "annotations": {"isthmus.io/global": "true"}},
        "spec": {"clusterIP": cluster_ip, "ports": [{"port": 80}]}})
}

pub(super) fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.18.0.2"}]}})
}

pub(super) fn slice(name: &str, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"addresses": [address]}))
        .collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 8080}]})
}

pub(super) fn export(name: &str) -> Value {
    json!({"apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceExport",
        "metadata": {"name": name, "namespace": "shop"}})
}

pub(super) fn import(name: &str) -> Value {
    json!({"apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceImport",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"type": "ClusterSetIP", "ports": [{"port": 80}], "ips": ["10.97.0.1"]}})
}

pub(super) fn link(name: &str) -> Value {
    json!({"apiVersion": "isthmus.io/v1alpha1", "kind": "ClusterLink", "metadata": {"name": name},
        "spec": {"addresses": ["gw.west.example:4700"]}})
}

/// The objects of any server, through its API.
pub(super) struct World {
    pub(super) client: Client,
}

impl World {
    pub(super) async fn new(kubeconfig: Value) -> Self {
        let client = client(kubeconfig).await;
        let world = Self { client };
        world
            .set(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}))
            .await;
        world
    }

    pub(super) async fn set(&self, object: Value) {
        testing::set(&self.client, &object).await;
    }

    pub(super) async fn delete(&self, object: Value) {
        testing::delete(&self.client, &object).await;
    }
}

/// A running source, followed.
pub(super) struct Running {
    pub(super) events: mpsc::Receiver<SourceEvent>,
    pub(super) shutdown: CancellationToken,
    pub(super) task: tokio::task::JoinHandle<()>,
    /// Each resource as text, by its id as text.
    pub(super) state: BTreeMap<String, String>,
    pub(super) problems: Vec<String>,
    pub(super) links: BTreeMap<ClusterName, LinkSpec>,
    pub(super) snapshots: usize,
    pub(super) withdrawn: Vec<String>,
}

pub(super) async fn start(kubeconfig: Value) -> Running {
    let client = client(kubeconfig).await;
    let (events_tx, events) = mpsc::channel(8);
    let shutdown = CancellationToken::new();
    Running {
        events,
        task: tokio::spawn(KubernetesSource::new(client).run(events_tx, shutdown.clone())),
        shutdown,
        state: BTreeMap::new(),
        problems: Vec::new(),
        links: BTreeMap::new(),
        snapshots: 0,
        withdrawn: Vec::new(),
    }
}

impl Running {
    pub(super) async fn until(&mut self, is_reached: impl Fn(&BTreeMap<String, String>) -> bool) {
        while self.snapshots == 0 || !is_reached(&self.state) {
            self.follow().await;
        }
    }

    /// Waits until a problem has this text in it.
    pub(super) async fn until_problem(&mut self, text: &str) {
        while !self.problems.iter().any(|problem| problem.contains(text)) {
            self.follow().await;
        }
    }

    /// Waits until no problem has this text in it.
    pub(super) async fn until_no_problem(&mut self, text: &str) {
        while self.problems.iter().any(|problem| problem.contains(text)) {
            self.follow().await;
        }
    }

    pub(super) async fn until_links(&mut self, count: usize) {
        while self.links.len() != count {
            self.follow().await;
        }
    }

    pub(super) async fn follow(&mut self) {
        let event = tokio::time::timeout(DEADLINE, self.events.recv()).await;
        let Ok(event) = event else {
            panic!(
                "nothing more was told: {:?} {:?}",
                self.state, self.problems
            );
        };
        match event.expect("the source ended") {
            SourceEvent::Snapshot(resources) => {
                self.snapshots += 1;
                let resources = resources.into_iter();
                self.state = resources
                    .map(|(id, resource)| (name(&id), text(&resource)))
                    .collect();
            }
            SourceEvent::Changed(changes) => {
                for (id, resource, _) in changes {
                    match resource {
                        Some(resource) => {
                            self.state.insert(name(&id), text(&resource));
                        }
                        None => {
                            self.state.remove(&name(&id));
                            self.withdrawn.push(name(&id));
                        }
                    }
                }
            }
            SourceEvent::Links(links) => self.links = links,
            SourceEvent::Problems(problems) => {
                self.problems = problems.iter().map(ToString::to_string).collect();
            }
        }
    }
}

pub(super) fn name(id: &ResourceId) -> String {
    match id {
        ResourceId::Service(service) => format!("service {service}"),
        ResourceId::Endpoint(service, address) => format!("endpoint {service} {address}"),
        ResourceId::Node(node) => format!("node {node}"),
        ResourceId::Namespace(namespace) => format!("namespace {namespace}"),
        ResourceId::Import(service) => format!("import {service}"),
        ResourceId::Cluster | ResourceId::Tunnel(_) => panic!("{id:?}"),
    }
}

pub(super) fn text(resource: &Resource) -> String {
    format!("{resource:?}")
}
