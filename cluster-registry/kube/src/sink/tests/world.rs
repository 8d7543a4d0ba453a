//! Clusters with an API server, a source, a merge and a sink each; what one exports, the others hear at once.
//!
//! Long because servers, sinks and what is awaited of them make one world.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use apiserver_double::AnyServer;
use cluster_registry::{
    link::LinkStatus,
    mcs::addresses::Allocator,
    merge::Merge,
    name::ClusterName,
    resource::{Key, Resource, ResourceId},
    view::View,
};
use kube::{
    Api, Client, Resource as _, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{ServiceExport, ServiceImport},
    kubernetes::KubernetesSource,
    sink::{LinkStatuses, Settings, Sink},
    source::SourceEvent,
};

/// Long enough for a busy machine; nothing waits as long when all is well.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Where all tests work.
pub(super) const NAMESPACE: &str = "mcs-conformance";

/// One cluster.
pub(super) struct Cluster {
    pub(super) server: AnyServer,
    pub(super) client: Client,
    pub(super) views: watch::Receiver<Option<Arc<View>>>,
    pub(super) links: watch::Sender<Option<LinkStatuses>>,
    name: ClusterName,
}

/// The clusters.
pub(super) struct World {
    pub(super) clusters: Vec<Cluster>,
    shutdown: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl World {
    /// Two clusters, `c1` and `c2`, with the namespace in both and one sink each.
    pub(super) async fn start() -> Self {
        let world = Self::without_sinks(2).await;
        for cluster in &world.clusters {
            cluster.set(namespace()).await;
            cluster.start_sink("replica-1", &world.shutdown);
        }
        world
    }

    pub(super) async fn without_sinks(count: usize) -> Self {
        Self::with_definitions(count, |_| {}).await
    }

    /// Clusters with other definitions of the kinds.
    pub(super) async fn with_definitions(count: usize, change: impl Fn(&mut Value)) -> Self {
        let shutdown = CancellationToken::new();
        let (events_tx, events) = mpsc::channel(16);
        let mut clusters = Vec::new();
        let mut views = Vec::new();
        for number in 0..count {
            let server = AnyServer::start().await.unwrap();
            let client = client(server.kubeconfig()).await;
            let name = ClusterName::parse(&format!("c{}", number + 1)).unwrap();
            let (views_tx, views_rx) = watch::channel(None);
            views.push((name.clone(), views_tx));
            let cluster = Cluster {
                server,
                client: client.clone(),
                views: views_rx,
                links: watch::channel(Some(LinkStatuses::default())).0,
                name,
            };
            for file in ["serviceexports", "serviceimports", "clusterlinks"] {
                let mut definition = definition(file);
                change(&mut definition);
                cluster.set(definition).await;
            }
            let (source_tx, source) = mpsc::channel(8);
            tokio::spawn(KubernetesSource::new(client).run(source_tx, shutdown.clone()));
            tokio::spawn(pass_on(number, source, events_tx.clone()));
            clusters.push(cluster);
        }
        tokio::spawn(exchange(events, views));
        Self { clusters, shutdown }
    }

    pub(super) fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Lets what is made next be younger than what is there.
    pub(super) async fn later(&self) {
        for cluster in &self.clusters {
            if let AnyServer::Double(double) = &cluster.server {
                double.advance_clock(Duration::from_secs(5));
            } else {
                // Objects of a real server carry its clock, in whole seconds.
                tokio::time::sleep(Duration::from_millis(1_100)).await;
            }
        }
    }
}

/// Marks a source's events with its cluster's number.
async fn pass_on(
    number: usize,
    mut source: mpsc::Receiver<SourceEvent>,
    events: mpsc::Sender<(usize, SourceEvent)>,
) {
    while let Some(event) = source.recv().await {
        if events.send((number, event)).await.is_err() {
            return;
        }
    }
}

/// Merges what the sources say, and tells each cluster's exports to the others.
async fn exchange(
    mut events: mpsc::Receiver<(usize, SourceEvent)>,
    views: Vec<(ClusterName, watch::Sender<Option<Arc<View>>>)>,
) {
    let mut merges: Vec<Merge> = views
        .iter()
        .map(|(name, _)| Merge::new(name.clone()))
        .collect();
    while let Some((number, event)) = events.recv().await {
        let changes: Vec<(ResourceId, Option<Resource>)> = match event {
            SourceEvent::Snapshot(resources) => resources
                .into_iter()
                .map(|(id, value)| (id, Some(value)))
                .collect(),
            SourceEvent::Changed(changes) => changes
                .into_iter()
                .map(|(id, value, _)| (id, value))
                .collect(),
            SourceEvent::Links(_) | SourceEvent::Problems(_) => continue,
        };
        for (id, value) in changes {
            let key = Key {
                cluster: views[number].0.clone(),
                id,
            };
            for (other, merge) in merges.iter_mut().enumerate() {
                if other == number {
                    merge.apply(&key, value.as_ref());
                } else if let Some(told) = told(&key.id, value.as_ref()) {
                    merge.apply(&key, told.as_ref());
                }
            }
        }
        for (merge, (_, views_tx)) in merges.iter_mut().zip(&views) {
            views_tx.send_replace(Some(merge.view()));
        }
    }
}

/// What other clusters hear of a change; `None` when nothing.
fn told(id: &ResourceId, value: Option<&Resource>) -> Option<Option<Resource>> {
    match (id, value) {
        (ResourceId::Service(_), Some(Resource::Service(service))) => {
            let told = service
                .is_exported()
                .then(|| Resource::from(service.for_peers()));
            Some(told)
        }
        (ResourceId::Service(_) | ResourceId::Endpoint(..), value) => Some(value.cloned()),
        (
            ResourceId::Cluster
            | ResourceId::Node(_)
            | ResourceId::Tunnel(_)
            | ResourceId::Namespace(_)
            | ResourceId::Import(_),
            _,
        ) => None,
    }
}

impl Cluster {
    /// Starts a sink, which ends with the token.
    pub(super) fn start_sink(&self, identity: &str, shutdown: &CancellationToken) {
        let pools = ["10.97.0.0/16", "fd97::/112"].map(|pool| pool.parse().unwrap());
        let settings = Settings {
            cluster: self.name.clone(),
            identity: identity.to_owned(),
            lease_namespace: "default".to_owned(),
            pools: Allocator::try_new(pools).unwrap(),
            views: self.views.clone(),
            links: self.links.subscribe(),
        };
        let sink = Sink::new(self.client.clone(), settings);
        tokio::spawn(sink.run(shutdown.clone()));
    }

    pub(super) async fn set(&self, object: Value) {
        let (api, name) = self.api(&object);
        let params = PatchParams::apply("test").force();
        // A kind that has just been made is not served at once by a real server.
        let set = async {
            while let Err(error) = api.patch(&name, &params, &Patch::Apply(&object)).await {
                let is_unknown = matches!(&error, kube::Error::Api(status) if status.code == 404);
                assert!(is_unknown, "{error}");
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(DEADLINE, set).await.unwrap();
    }

    pub(super) async fn delete(&self, object: Value) {
        let (api, name) = self.api(&object);
        api.delete(&name, &DeleteParams::default()).await.unwrap();
    }

    fn api(&self, object: &Value) -> (Api<DynamicObject>, String) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let version = text(&object["apiVersion"]);
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let kind = GroupVersionKind::gvk(group, version, &text(&object["kind"]));
        let resource = ApiResource::from_gvk(&kind);
        let client = self.client.clone();
        let api = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        (api, text(&object["metadata"]["name"]))
    }

    /// The import of `hello`; `None` when there is none.
    pub(super) async fn import(&self) -> Option<ServiceImport> {
        let api = Api::namespaced_with(self.client.clone(), NAMESPACE, &Default::default());
        api.get_opt("hello").await.unwrap()
    }

    /// Waits until the import of `hello` is so.
    pub(super) async fn until_import(
        &self,
        what: &str,
        is_reached: impl Fn(&ServiceImport) -> bool,
    ) -> ServiceImport {
        let mut last = None;
        let reached = async {
            loop {
                last = self.import().await;
                if let Some(import) = last.as_ref().filter(|import| is_reached(import)) {
                    return import.clone();
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let reached = tokio::time::timeout(DEADLINE, reached).await;
        reached.unwrap_or_else(|_| panic!("{}: no import {what}: {last:?}", self.name))
    }

    /// Waits until an object is so.
    pub(super) async fn until_object(
        &self,
        object: &Value,
        is_reached: impl Fn(&DynamicObject) -> bool,
    ) {
        let (api, name) = self.api(object);
        let mut last = None;
        let reached = async {
            loop {
                last = api.get_opt(&name).await.unwrap();
                if last.as_ref().is_some_and(&is_reached) {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let reached = tokio::time::timeout(DEADLINE, reached).await;
        reached.unwrap_or_else(|_| panic!("{}: the object is {last:?}", self.name));
    }

    /// Waits until the service of this name has an import.
    pub(super) async fn until_imported(&self, name: &str) {
        let api: Api<ServiceImport> =
            Api::namespaced_with(self.client.clone(), NAMESPACE, &Default::default());
        let made = async {
            while api.get_opt(name).await.unwrap().is_none() {
                tokio::time::sleep(POLL).await;
            }
        };
        let made = tokio::time::timeout(DEADLINE, made).await;
        made.unwrap_or_else(|_| panic!("{}: no import of {name}", self.name));
    }

    pub(super) async fn until_no_import(&self) {
        let gone = async {
            while self.import().await.is_some() {
                tokio::time::sleep(POLL).await;
            }
        };
        let gone = tokio::time::timeout(DEADLINE, gone).await;
        gone.unwrap_or_else(|_| panic!("{}: the import stays", self.name));
    }

    /// Waits until the export of `hello` has a condition with this status and reason.
    pub(super) async fn until_condition(&self, kind: &str, status: &str, reason: &str) -> String {
        let api: Api<ServiceExport> =
            Api::namespaced_with(self.client.clone(), NAMESPACE, &Default::default());
        let mut last = None;
        let reached = async {
            loop {
                last = api.get_opt("hello").await.unwrap();
                let conditions = last
                    .iter()
                    .flat_map(|e| e.status.iter().flat_map(|s| &s.conditions));
                let mut found = conditions
                    .filter(|c| c.type_ == kind && c.status == status && c.reason == reason);
                if let Some(condition) = found.next() {
                    assert_eq!(
                        condition.observed_generation,
                        last.as_ref().unwrap().meta().generation
                    );
                    return condition.message.clone();
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let reached = tokio::time::timeout(DEADLINE, reached).await;
        reached.unwrap_or_else(|_| {
            panic!(
                "{}: {kind} never was {status}/{reason}: {last:?}",
                self.name
            )
        })
    }

    /// Waits until our slices, each as its source cluster and addresses, are these.
    pub(super) async fn until_slices(&self, expected: &[(&str, &[&str])]) -> Vec<DynamicObject> {
        let expected: BTreeMap<String, Vec<String>> = expected
            .iter()
            .map(|(cluster, addresses)| {
                (
                    (*cluster).to_owned(),
                    addresses.iter().map(|a| (*a).to_owned()).collect(),
                )
            })
            .collect();
        let kind = GroupVersionKind::gvk("discovery.k8s.io", "v1", "EndpointSlice");
        let api: Api<DynamicObject> = Api::namespaced_with(
            self.client.clone(),
            NAMESPACE,
            &ApiResource::from_gvk(&kind),
        );
        let ours = ListParams::default().labels("multicluster.kubernetes.io/service-name=hello");
        let mut last = BTreeMap::new();
        let reached = async {
            loop {
                let slices = api.list(&ours).await.unwrap().items;
                last = slices.iter().map(addresses).collect();
                if last == expected {
                    return slices;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let reached = tokio::time::timeout(DEADLINE, reached).await;
        reached.unwrap_or_else(|_| panic!("{}: the slices are {last:?}", self.name))
    }

    pub(super) fn tell_link(&self, cluster: &str, status: LinkStatus) {
        let name = ClusterName::parse(cluster).unwrap();
        self.links.send_modify(|links| {
            Arc::make_mut(links.get_or_insert_default()).insert(name, status);
        });
    }
}

fn addresses(slice: &DynamicObject) -> (String, Vec<String>) {
    let cluster = slice.labels()["multicluster.kubernetes.io/source-cluster"].clone();
    let endpoints = slice.data["endpoints"].as_array().unwrap();
    let addresses = endpoints
        .iter()
        .map(|e| e["addresses"][0].as_str().unwrap().to_owned());
    (cluster, addresses.collect())
}

async fn client(kubeconfig: Value) -> Client {
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

fn definition(file: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../helm/isthmus/crds");
    let text = std::fs::read_to_string(folder.join(format!("{file}.yaml"))).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

pub(super) fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
}

/// The service that the conformance suite exports, with changes to its spec.
pub(super) fn hello(changes: Value) -> Value {
    let mut service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "hello", "namespace": NAMESPACE, "labels": {"own": "label"}},
        "spec": {"ports": [{"name": "tcp", "port": 42, "protocol": "TCP"}, {"name": "udp", "port": 42, "protocol": "UDP"}],
            "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10}}}});
    for (field, value) in changes.as_object().unwrap() {
        service["spec"][field] = value.clone();
    }
    service
}

pub(super) fn export() -> Value {
    json!({"apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceExport",
        "metadata": {"name": "hello", "namespace": NAMESPACE}})
}

/// A slice of the service, as a cluster's own controller makes it.
pub(super) fn slice(addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"addresses": [address], "conditions": {"ready": true}, "nodeName": "n1"}))
        .collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "hello-abc", "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": "hello"}},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "tcp", "port": 42, "protocol": "TCP"}]})
}
