//! Tests that what an API server has is told whole at first, and then by its changes, without ever asking again.

use apiserver_double::AnyServer;
use serde_json::json;

use super::world::{
    World, double, lists, node, objects, service, set, slice, start, watches, within,
};

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
