//! Tests of the source against an API server in this process that lists in pages, watches, and forgets its past.

mod api_server;

use std::collections::BTreeMap;

use cluster_registry::resource::{Resource, ResourceId};
use serde_json::{Value, json};

use self::api_server::ApiServer;
use super::*;

/// Long enough for a busy machine and a few attempts; nothing waits as long when all is well.
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_first_thing_told_is_the_complete_state() {
    let server = ApiServer::start().await;
    for n in 0..1_200 {
        server.set("services", service(&format!("web-{n}"), "None"));
    }
    server.set("nodes", node("n1"));
    server.set("endpointslices", slice("web-1", &["10.1.0.2", "10.1.0.3"]));

    let mut running = start(&server);
    running.until(|state| !state.is_empty()).await;

    assert_eq!(running.state.len(), 1_200 + 1 + 2);
    assert_eq!(running.snapshots, 1);
    assert_eq!(server.lists("services"), 3, "pages of 500");
}

#[tokio::test]
async fn changes_follow() {
    let server = ApiServer::start().await;
    let mut running = start(&server);
    running.until(BTreeMap::is_empty).await;

    server.set("services", service("web", "10.96.0.1"));
    running
        .until(|state| state.contains_key("service shop/web"))
        .await;
    server.set("services", service("web", "10.96.0.2"));
    running
        .until(|state| state["service shop/web"].contains("10.96.0.2"))
        .await;
    server.set(
        "namespaces",
        json!({"metadata": {"name": "shop", "annotations": {"isthmus.io/global": "false"}}}),
    );
    running
        .until(|state| state["service shop/web"].contains("global: false"))
        .await;
    server.set("endpointslices", slice("web", &["10.1.0.2"]));
    running
        .until(|state| state.contains_key("endpoint shop/web 10.1.0.2"))
        .await;
    server.set("endpointslices", slice("web", &["10.1.0.3"]));
    running
        .until(|state| !state.contains_key("endpoint shop/web 10.1.0.2"))
        .await;
    server.delete("services", "web");
    running
        .until(|state| !state.contains_key("service shop/web"))
        .await;
    server.delete("endpointslices", "web");
    server.delete("namespaces", "shop");
    running.until(BTreeMap::is_empty).await;
    assert_eq!(server.lists("services"), 1);
}

#[tokio::test]
async fn a_cut_watch_is_resumed_without_listing_again() {
    let server = ApiServer::start().await;
    server.set("services", service("api", "10.96.0.1"));
    let mut running = start(&server);
    running.until(|state| state.len() == 1).await;

    server.cut();
    server.delete("services", "api");
    server.set("services", service("web", "10.96.0.2"));

    running
        .until(|state| state.len() == 1 && state.contains_key("service shop/web"))
        .await;
    assert_eq!(server.lists("services"), 1);
    assert_eq!(running.snapshots, 1);
}

#[tokio::test]
async fn bookmarks_keep_a_quiet_watch_resumable() {
    let server = ApiServer::start().await;
    server.set("services", service("api", "10.96.0.1"));
    let mut running = start(&server);
    running.until(|state| state.len() == 1).await;
    server.until_watched("services").await;

    server.set("nodes", node("n1"));
    server.bookmark();
    running.until(|state| state.contains_key("node n1")).await;
    server.until_told("services").await;
    server.forget_history();
    server.cut();
    server.set("services", service("web", "10.96.0.2"));

    running
        .until(|state| state.contains_key("service shop/web"))
        .await;
    assert_eq!(server.lists("services"), 1);
}

#[tokio::test]
async fn a_watch_whose_place_has_expired_lists_again_and_misses_nothing() {
    let server = ApiServer::start().await;
    server.set("services", service("api", "10.96.0.1"));
    server.set("services", service("old", "10.96.0.3"));
    let mut running = start(&server);
    running.until(|state| state.len() == 2).await;
    server.until_watched("services").await;

    server.pause();
    server.delete("services", "old");
    server.set("services", service("web", "10.96.0.2"));
    server.forget_history();
    server.resume();

    running
        .until(|state| {
            state.len() == 2
                && state.contains_key("service shop/api")
                && state.contains_key("service shop/web")
        })
        .await;
    assert_eq!(server.lists("services"), 2);
    assert_eq!(running.snapshots, 1);
    assert_eq!(running.withdrawn, ["service shop/old"]);
}

#[tokio::test]
async fn a_refused_list_is_told_and_tried_again() {
    let server = ApiServer::start().await;
    server.refuse("nodes", true);
    let mut running = start(&server);

    let problem = running.until_problem().await;
    assert!(
        problem.starts_with("watch of nodes: failed to perform initial object list: ")
            && problem.contains("forbidden"),
        "{problem}"
    );
    assert_eq!(running.snapshots, 0);

    server.refuse("nodes", false);
    running.until(BTreeMap::is_empty).await;
    running.until_no_problem().await;
}

#[tokio::test]
async fn another_proxys_services_are_not_asked_for() {
    let server = ApiServer::start().await;
    let mut running = start(&server);
    running.until(BTreeMap::is_empty).await;

    assert_eq!(
        server.selector("services"),
        "!service.kubernetes.io/service-proxy-name"
    );
    assert_eq!(
        server.selector("endpointslices"),
        "kubernetes.io/service-name,!service.kubernetes.io/service-proxy-name"
    );
    assert!(
        server
            .accept("namespaces")
            .contains("PartialObjectMetadataList")
    );
}

#[tokio::test]
async fn it_ends_with_its_receiver_and_with_the_token() {
    let server = ApiServer::start().await;
    let running = start(&server);
    drop(running.events);
    tokio::time::timeout(DEADLINE, running.task)
        .await
        .unwrap()
        .unwrap();

    let running = start(&server);
    running.shutdown.cancel();
    tokio::time::timeout(DEADLINE, running.task)
        .await
        .unwrap()
        .unwrap();
}

fn service(name: &str, cluster_ip: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "annotations": {"isthmus.io/global": "true"}},
        "spec": {"clusterIP": cluster_ip, "ports": [{"port": 80}]}})
}

fn node(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"podCIDRs": ["10.1.0.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.18.0.2"}]}})
}

fn slice(name: &str, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"addresses": [address]}))
        .collect();
    json!({"metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 8080}]})
}

/// A running source, followed.
struct Running {
    events: mpsc::Receiver<SourceEvent>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    /// Each resource as text, by its id as text.
    state: BTreeMap<String, String>,
    problems: Vec<String>,
    snapshots: usize,
    withdrawn: Vec<String>,
}

fn start(server: &ApiServer) -> Running {
    let client = Client::try_from(kube::Config::new(server.url())).unwrap();
    let (events_tx, events) = mpsc::channel(8);
    let shutdown = CancellationToken::new();
    Running {
        events,
        task: tokio::spawn(KubernetesSource::new(client).run(events_tx, shutdown.clone())),
        shutdown,
        state: BTreeMap::new(),
        problems: Vec::new(),
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

    async fn until_problem(&mut self) -> String {
        while self.problems.is_empty() {
            self.follow().await;
        }
        self.problems[0].clone()
    }

    async fn until_no_problem(&mut self) {
        while !self.problems.is_empty() {
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
            SourceEvent::Links(links) => panic!("nobody asked for links: {links:?}"),
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
        ResourceId::Cluster | ResourceId::Tunnel(_) | ResourceId::Import(_) => panic!("{id:?}"),
    }
}

fn text(resource: &Resource) -> String {
    format!("{resource:?}")
}
