//! Tests of the kinds that a server need not have: exports, imports and links, in any version, installed at any time.

use apiserver_double::AnyServer;
use serde_json::json;

use super::world::{World, definition, double, export, import, link, service, set, start, within};

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
