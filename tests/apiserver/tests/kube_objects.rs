//! Objects are made, listed, changed and deleted as Kubernetes does it, on a real API server and on ours alike.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use k8s_openapi::api::core::v1::{ConfigMap, Node, Service};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;
use support::world::{World, map, reason};

#[tokio::test]
async fn kube_an_object_lives_from_create_to_delete() {
    let world = World::start("life").await;
    let maps: Api<ConfigMap> = world.api();

    let made = maps
        .create(&PostParams::default(), &map("a", "1"))
        .await
        .unwrap();
    assert!(made.uid().is_some() && made.creation_timestamp().is_some());
    let again = maps.create(&PostParams::default(), &map("a", "1")).await;
    assert_eq!(reason(again), "AlreadyExists");

    let mut new = made.clone();
    new.data
        .get_or_insert_default()
        .insert("key".to_owned(), "2".to_owned());
    let replaced = maps
        .replace("a", &PostParams::default(), &new)
        .await
        .unwrap();
    assert_ne!(replaced.resource_version(), made.resource_version());
    let stale = maps.replace("a", &PostParams::default(), &new).await;
    assert_eq!(reason(stale), "Conflict");

    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(reason(maps.get("a").await), "NotFound");
}

#[tokio::test]
async fn kube_lists_come_in_pages_and_by_selector() {
    let world = World::start("pages").await;
    let maps: Api<ConfigMap> = world.api();
    for n in 0..5 {
        let mut map = map(&format!("m{n}"), "1");
        map.labels_mut().insert(
            "parity".to_owned(),
            if n % 2 == 0 { "even" } else { "odd" }.to_owned(),
        );
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    let mut names = Vec::new();
    let mut params = ListParams::default().labels("parity").limit(2);
    loop {
        let page = maps.list(&params).await.unwrap();
        assert!(page.items.len() <= 2);
        names.extend(page.items.iter().map(ResourceExt::name_any));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4"]);

    let odd = maps
        .list(&ListParams::default().labels("parity=odd"))
        .await
        .unwrap();
    assert_eq!(odd.items.len(), 2);
    let one = maps
        .list(&ListParams::default().fields("metadata.name=m3"))
        .await
        .unwrap();
    assert_eq!(one.items.len(), 1);
    let metadata = maps
        .list_metadata(&ListParams::default().labels("parity!=odd,parity"))
        .await
        .unwrap();
    assert_eq!(metadata.items.len(), 3);
}

#[tokio::test]
async fn kube_a_service_gets_an_address_and_keeps_it() {
    let world = World::start("service").await;
    let services: Api<Service> = world.api();
    let service: Service = serde_json::from_value(
        json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}),
    )
    .unwrap();
    let made = services
        .create(&PostParams::default(), &service)
        .await
        .unwrap();
    let spec = made.spec.clone().unwrap();
    let ip = spec.cluster_ip.clone().unwrap();
    assert!(ip.parse::<std::net::IpAddr>().is_ok(), "{ip}");
    assert_eq!(spec.internal_traffic_policy.as_deref(), Some("Cluster"));

    let mut without = made.clone();
    without.spec.as_mut().unwrap().cluster_ip = None;
    without.spec.as_mut().unwrap().cluster_ips = None;
    let replaced = services
        .replace("web", &PostParams::default(), &without)
        .await
        .unwrap();
    assert_eq!(replaced.spec.unwrap().cluster_ip, Some(ip.clone()));

    let other: Service = serde_json::from_value(json!({"metadata": {"name": "other"},
        "spec": {"clusterIP": ip, "ports": [{"port": 80}]}}))
    .unwrap();
    assert_eq!(
        reason(services.create(&PostParams::default(), &other).await),
        "Invalid"
    );
}

#[tokio::test]
async fn kube_an_object_needs_its_namespace_and_a_name() {
    let world = World::start("names").await;
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), "nowhere");
    assert_eq!(
        reason(maps.create(&PostParams::default(), &map("a", "1")).await),
        "NotFound"
    );
    let maps: Api<ConfigMap> = world.api();
    assert_eq!(
        reason(
            maps.create(&PostParams::default(), &map("Bad_Name", "1"))
                .await
        ),
        "Invalid"
    );
}

#[tokio::test]
async fn kube_a_node_keeps_the_status_it_is_made_with() {
    let world = World::start("node").await;
    let nodes: Api<Node> = Api::all(world.client.clone());
    let node: Node = serde_json::from_value(json!({"metadata": {"name": world.namespace},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.18.0.2"}]}}))
    .unwrap();
    let made = nodes.create(&PostParams::default(), &node).await.unwrap();
    assert_eq!(made.status.unwrap().addresses.unwrap().len(), 1);
}
