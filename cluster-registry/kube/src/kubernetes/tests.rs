//! Tests of the source against an API server: a real one where there is one, and for what goes wrong the double.
//!
//! Long because every case plays against one server and one running source.

use std::{collections::BTreeMap, path::Path, time::Duration};

use apiserver_double::{AnyServer, ApiServer, Settings};
use cluster_registry::{
    link::LinkSpec,
    name::ClusterName,
    resource::{Resource, ResourceId},
};
use kube::{
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

use super::*;

/// Long enough for a busy machine and a few attempts; nothing waits as long when all is well.
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_first_thing_told_is_the_complete_state() {
    let server = double();
    for n in 0..1_200 {
        set(&server, service(&format!("web-{n}"), "None"));
    }
    set(&server, node("n1"));
    set(&server, slice("web-1", &["10.1.0.2", "10.1.0.3"]));

    let mut running = start(server.kubeconfig()).await;
    running.until(|state| !state.is_empty()).await;

    assert_eq!(objects(&running).len(), 1_200 + 1 + 2);
    assert_eq!(running.snapshots, 1);
    assert_eq!(lists(&server, "services"), 0, "lists are streamed");
}

#[tokio::test]
async fn a_server_that_refuses_streaming_lists_is_asked_for_pages() {
    let server = double();
    server.refuse_streaming_lists();
    for n in 0..1_200 {
        set(&server, service(&format!("web-{n}"), "None"));
    }
    let mut running = start(server.kubeconfig()).await;
    running.until(|state| !state.is_empty()).await;

    assert_eq!(objects(&running).len(), 1_200);
    assert_eq!(lists(&server, "services"), 3, "pages of 500");
}

#[tokio::test]
async fn kube_changes_follow() {
    let server = within(AnyServer::start()).await.unwrap();
    let world = World::new(server.kubeconfig()).await;
    let mut running = start(server.kubeconfig()).await;
    running.until(|_| true).await;

    world.set(service("web", "10.96.7.1")).await;
    running
        .until(|state| state.contains_key("service shop/web"))
        .await;
    let mut not_global =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    not_global["metadata"]["annotations"] = json!({"isthmus.io/global": "false"});
    world.set(not_global).await;
    running
        .until(|state| state["service shop/web"].contains("global: false"))
        .await;
    world.set(slice("web", &["10.1.0.2"])).await;
    running
        .until(|state| state.contains_key("endpoint shop/web 10.1.0.2"))
        .await;
    world.set(slice("web", &["10.1.0.3"])).await;
    running
        .until(|state| !state.contains_key("endpoint shop/web 10.1.0.2"))
        .await;
    world.delete(service("web", "10.96.7.1")).await;
    running
        .until(|state| !state.contains_key("service shop/web"))
        .await;
    world.delete(slice("web", &[])).await;
    running
        .until(|state| !state.contains_key("endpoint shop/web 10.1.0.3"))
        .await;
    assert_eq!(running.snapshots, 1);
}

#[tokio::test]
async fn kube_exports_imports_and_links_are_followed() {
    let server = within(AnyServer::start()).await.unwrap();
    let world = World::new(server.kubeconfig()).await;
    for file in ["serviceexports", "serviceimports", "clusterlinks"] {
        world.set(definition(file)).await;
    }
    let mut running = start(server.kubeconfig()).await;
    running.until(|_| true).await;

    world.set(service("web", "10.96.7.2")).await;
    world.set(export("web")).await;
    running
        .until(|state| {
            let service = state.get("service shop/web");
            service.is_some_and(|text| text.contains("export: Some"))
        })
        .await;
    world.set(import("web")).await;
    running
        .until(|state| {
            let import = state.get("import shop/web");
            import.is_some_and(|text| text.contains("10.97.0.1"))
        })
        .await;
    world.set(link("west")).await;
    running.until_links(1).await;

    world.delete(export("web")).await;
    running
        .until(|state| state["service shop/web"].contains("export: None"))
        .await;
    world.delete(import("web")).await;
    running
        .until(|state| !state.contains_key("import shop/web"))
        .await;
    world.delete(link("west")).await;
    running.until_links(0).await;
}

#[tokio::test]
async fn kinds_that_are_installed_later_are_noticed() {
    let server = double();
    let mut running = start(server.kubeconfig()).await;
    running.until(|_| true).await;
    running
        .until_problem("the Multi-Cluster Services API is off until")
        .await;

    set(&server, definition("serviceexports"));
    set(&server, service("web", "10.96.0.7"));
    set(&server, export("web"));

    running
        .until(|state| {
            let service = state.get("service shop/web");
            service.is_some_and(|text| text.contains("export: Some"))
        })
        .await;
    running.until_no_problem("watch of serviceexports").await;
    running.until_problem("watch of serviceimports").await;
}

#[tokio::test]
async fn the_older_version_is_read_where_only_it_is_served() {
    let server = double();
    let mut old = definition("serviceexports");
    let versions = old["spec"]["versions"].as_array_mut().unwrap();
    versions.retain(|version| version["name"] == "v1alpha1");
    versions[0]["storage"] = json!(true);
    set(&server, old);
    set(&server, service("web", "10.96.0.7"));
    let mut exported = export("web");
    exported["apiVersion"] = json!("multicluster.x-k8s.io/v1alpha1");
    set(&server, exported);

    let mut running = start(server.kubeconfig()).await;
    running
        .until(|state| {
            let service = state.get("service shop/web");
            service.is_some_and(|text| text.contains("export: Some"))
        })
        .await;
}

#[tokio::test]
async fn a_cut_watch_is_resumed_without_listing_again() {
    let server = double();
    set(&server, service("api", "10.96.0.5"));
    let mut running = start(server.kubeconfig()).await;
    running
        .until(|state| state.contains_key("service shop/api"))
        .await;
    let watches = watches(&server, "services");

    server.cut_watches();
    set(&server, service("web", "10.96.0.2"));
    running
        .until(|state| state.contains_key("service shop/web"))
        .await;
    assert_eq!(running.snapshots, 1);
    assert_eq!(running.withdrawn, [] as [String; 0]);
    assert!(watches < self::watches(&server, "services"));
}

#[tokio::test]
async fn a_watch_whose_place_has_expired_lists_again_and_misses_nothing() {
    let server = double();
    set(&server, service("api", "10.96.0.5"));
    set(&server, service("old", "10.96.0.3"));
    let mut running = start(server.kubeconfig()).await;
    running.until(|state| state.len() > 1).await;

    server.pause_watches(true);
    server.delete(&service("old", "10.96.0.3")).unwrap();
    set(&server, service("web", "10.96.0.2"));
    server.compact();
    server.pause_watches(false);

    running
        .until(|state| {
            state.contains_key("service shop/api")
                && state.contains_key("service shop/web")
                && !state.contains_key("service shop/old")
        })
        .await;
    assert_eq!(running.snapshots, 1);
    assert_eq!(running.withdrawn, ["service shop/old"]);
}

#[tokio::test]
async fn a_restarted_api_server_is_followed_and_nothing_flaps() {
    let server = double();
    set(&server, service("api", "10.96.0.5"));
    set(&server, service("old", "10.96.0.3"));
    let mut running = start(server.kubeconfig()).await;
    running.until(|state| state.len() > 1).await;

    server.refuse_connections().await;
    running.until_problem("watch of services: ").await;
    server.delete(&service("old", "10.96.0.3")).unwrap();
    set(&server, service("web", "10.96.0.2"));
    server.restart().await.unwrap();

    running
        .until(|state| {
            state.contains_key("service shop/web") && !state.contains_key("service shop/old")
        })
        .await;
    assert_eq!(running.withdrawn, ["service shop/old"]);
    assert_eq!(running.snapshots, 1);
}

#[tokio::test]
async fn a_slow_list_delays_the_snapshot_and_nothing_else() {
    let server = double();
    server.refuse_streaming_lists();
    server.delay_lists(Duration::from_millis(300));
    set(&server, service("api", "10.96.0.5"));
    let mut running = start(server.kubeconfig()).await;
    running
        .until(|state| state.contains_key("service shop/api"))
        .await;
    assert_eq!(running.snapshots, 1);
}

#[tokio::test]
async fn a_refused_list_is_told_and_tried_again() {
    let server = double();
    server.forbid("", "nodes", &["list", "watch"]);
    let mut running = start(server.kubeconfig()).await;

    running.until_problem("nodes is forbidden").await;
    assert_eq!(running.snapshots, 0);

    server.permit("", "nodes");
    running.until(|_| true).await;
    running.until_no_problem("nodes").await;
}

#[tokio::test]
async fn a_refusal_of_links_is_told_and_the_rest_goes_on() {
    let server = double();
    set(&server, definition("clusterlinks"));
    set(&server, link("west"));
    server.forbid("isthmus.io", "clusterlinks", &[]);
    let mut running = start(server.kubeconfig()).await;

    running.until(|_| true).await;
    running
        .until_problem("linking by objects is off until this is allowed")
        .await;

    server.permit("isthmus.io", "clusterlinks");
    running.until_links(1).await;
    running.until_no_problem("clusterlinks").await;
}

#[tokio::test]
async fn objects_are_never_polled() {
    let server = double();
    let mut running = start(server.kubeconfig()).await;
    running.until(|_| true).await;
    server.until_watched("services", 1).await.unwrap();
    for n in 0..50 {
        set(&server, service("web", "None"));
        set(&server, slice("web", &[&format!("10.1.0.{}", n + 1)]));
    }
    running
        .until(|state| state.contains_key("endpoint shop/web 10.1.0.50"))
        .await;
    for plural in ["services", "nodes", "namespaces"] {
        assert_eq!(lists(&server, plural), 0, "{plural}");
        assert_eq!(watches(&server, plural), 1, "{plural}");
        assert_eq!(server.requests("get", "", plural).count, 0, "{plural}");
    }
}

#[tokio::test]
async fn another_proxys_services_are_not_asked_for() {
    let server = double();
    let mut running = start(server.kubeconfig()).await;
    running.until(|_| true).await;

    let asked = |group, plural| server.requests("watch", group, plural);
    assert_eq!(
        asked("", "services").label_selector,
        "!service.kubernetes.io/service-proxy-name"
    );
    assert_eq!(
        asked("discovery.k8s.io", "endpointslices").label_selector,
        "kubernetes.io/service-name,!service.kubernetes.io/service-proxy-name"
    );
    let accept = asked("", "namespaces").accept;
    assert!(accept.contains("PartialObjectMetadata"), "{accept}");
}

#[tokio::test]
async fn it_ends_with_its_receiver_and_with_the_token() {
    let server = double();
    let running = start(server.kubeconfig()).await;
    drop(running.events);
    within(running.task).await.unwrap();

    let running = start(server.kubeconfig()).await;
    running.shutdown.cancel();
    within(running.task).await.unwrap();
}

fn double() -> ApiServer {
    let server = ApiServer::start(Settings::default()).unwrap();
    set(
        &server,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
    );
    server
}

fn set(server: &ApiServer, object: Value) {
    server.apply(&object).unwrap();
}

fn lists(server: &ApiServer, plural: &str) -> usize {
    server.requests("list", "", plural).count
}

fn watches(server: &ApiServer, plural: &str) -> usize {
    server.requests("watch", "", plural).count
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(DEADLINE, future).await;
    result.unwrap_or_else(|_| panic!("it took longer than {DEADLINE:?}"))
}

/// What was told beside namespaces, which every server has some of.
fn objects(running: &Running) -> Vec<&String> {
    let names = running.state.keys();
    names
        .filter(|name| !name.starts_with("namespace "))
        .collect()
}

fn definition(file: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../helm/isthmus/crds");
    let text = std::fs::read_to_string(folder.join(format!("{file}.yaml"))).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

fn service(name: &str, cluster_ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "annotations": {"isthmus.io/global": "true"}},
        "spec": {"clusterIP": cluster_ip, "ports": [{"port": 80}]}})
}

fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.18.0.2"}]}})
}

fn slice(name: &str, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"addresses": [address]}))
        .collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 8080}]})
}

fn export(name: &str) -> Value {
    json!({"apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceExport",
        "metadata": {"name": name, "namespace": "shop"}})
}

fn import(name: &str) -> Value {
    json!({"apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceImport",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"type": "ClusterSetIP", "ports": [{"port": 80}], "ips": ["10.97.0.1"]}})
}

fn link(name: &str) -> Value {
    json!({"apiVersion": "isthmus.io/v1alpha1", "kind": "ClusterLink", "metadata": {"name": name},
        "spec": {"addresses": ["gw.west.example:4700"]}})
}

/// The objects of any server, through its API.
struct World {
    client: Client,
}

impl World {
    async fn new(kubeconfig: Value) -> Self {
        let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let client = Client::try_from(config.unwrap()).unwrap();
        let world = Self { client };
        world
            .set(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}))
            .await;
        world
    }

    async fn set(&self, object: Value) {
        let (api, name) = self.api(&object);
        let params = PatchParams::apply("test").force();
        api.patch(&name, &params, &Patch::Apply(&object))
            .await
            .unwrap();
    }

    async fn delete(&self, object: Value) {
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
}

/// A running source, followed.
struct Running {
    events: mpsc::Receiver<SourceEvent>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    /// Each resource as text, by its id as text.
    state: BTreeMap<String, String>,
    problems: Vec<String>,
    links: BTreeMap<ClusterName, LinkSpec>,
    snapshots: usize,
    withdrawn: Vec<String>,
}

async fn start(kubeconfig: Value) -> Running {
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let client = Client::try_from(config.unwrap()).unwrap();
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
    async fn until(&mut self, is_reached: impl Fn(&BTreeMap<String, String>) -> bool) {
        while self.snapshots == 0 || !is_reached(&self.state) {
            self.follow().await;
        }
    }

    /// Waits until a problem has this text in it.
    async fn until_problem(&mut self, text: &str) {
        while !self.problems.iter().any(|problem| problem.contains(text)) {
            self.follow().await;
        }
    }

    /// Waits until no problem has this text in it.
    async fn until_no_problem(&mut self, text: &str) {
        while self.problems.iter().any(|problem| problem.contains(text)) {
            self.follow().await;
        }
    }

    async fn until_links(&mut self, count: usize) {
        while self.links.len() != count {
            self.follow().await;
        }
    }

    async fn follow(&mut self) {
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

fn name(id: &ResourceId) -> String {
    match id {
        ResourceId::Service(service) => format!("service {service}"),
        ResourceId::Endpoint(service, address) => format!("endpoint {service} {address}"),
        ResourceId::Node(node) => format!("node {node}"),
        ResourceId::Namespace(namespace) => format!("namespace {namespace}"),
        ResourceId::Import(service) => format!("import {service}"),
        ResourceId::Cluster | ResourceId::Tunnel(_) => panic!("{id:?}"),
    }
}

fn text(resource: &Resource) -> String {
    format!("{resource:?}")
}
