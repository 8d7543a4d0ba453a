//! Patches and server-side apply change what Kubernetes changes by them, on a real API server and on ours alike.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use support::world::{World, applied, map, reason, us};

#[tokio::test]
async fn kube_an_apply_that_changes_nothing_keeps_the_resource_version() {
    let world = World::start("noop").await;
    let maps: Api<ConfigMap> = world.api();
    let applied = applied("a", json!({"x": "1", "y": "2"}));

    let first = maps
        .patch("a", &us(), &Patch::Apply(&applied))
        .await
        .unwrap();
    let second = maps
        .patch("a", &us(), &Patch::Apply(&applied))
        .await
        .unwrap();

    assert_eq!(first.resource_version(), second.resource_version());
    assert_eq!(first.managed_fields(), second.managed_fields());
}

#[tokio::test]
async fn kube_a_field_that_a_manager_no_longer_applies_goes_unless_another_applies_it() {
    let world = World::start("fields").await;
    let maps: Api<ConfigMap> = world.api();
    let theirs = PatchParams::apply("them");
    maps.patch(
        "a",
        &us(),
        &Patch::Apply(&applied("a", json!({"x": "1", "y": "2", "z": "3"}))),
    )
    .await
    .unwrap();
    maps.patch(
        "a",
        &theirs,
        &Patch::Apply(&applied("a", json!({"y": "2"}))),
    )
    .await
    .unwrap();

    let after = maps
        .patch("a", &us(), &Patch::Apply(&applied("a", json!({"x": "1"}))))
        .await
        .unwrap();

    let data = after.data.unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["x", "y"]);
}

#[tokio::test]
async fn kube_a_field_of_another_manager_is_only_taken_by_force() {
    let world = World::start("force").await;
    let maps: Api<ConfigMap> = world.api();
    maps.create(
        &PostParams {
            field_manager: Some("them".to_owned()),
            ..PostParams::default()
        },
        &map("a", "theirs"),
    )
    .await
    .unwrap();
    let applied = applied("a", json!({"key": "ours"}));

    let refused = maps.patch("a", &us(), &Patch::Apply(&applied)).await;
    assert_eq!(reason(refused), "Conflict");
    let forced = maps
        .patch("a", &us().force(), &Patch::Apply(&applied))
        .await
        .unwrap();
    assert_eq!(forced.data.unwrap()["key"], "ours");
    let owners: Vec<String> = forced
        .metadata
        .managed_fields
        .unwrap()
        .into_iter()
        .filter(|entry| {
            entry
                .fields_v1
                .as_ref()
                .is_some_and(|f| f.0["f:data"]["f:key"].is_object())
        })
        .filter_map(|entry| entry.manager)
        .collect();
    assert_eq!(owners, ["us"]);
}

#[tokio::test]
async fn kube_merge_patches_change_what_they_name() {
    let world = World::start("merge").await;
    let maps: Api<ConfigMap> = world.api();
    maps.create(&PostParams::default(), &map("a", "1"))
        .await
        .unwrap();
    let patch = json!({"data": {"key": null, "other": "2"}, "metadata": {"labels": {"l": "v"}}});
    let after = maps
        .patch("a", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    assert_eq!(after.labels()["l"], "v");
    assert_eq!(after.data.unwrap().keys().collect::<Vec<_>>(), ["other"]);

    let services: Api<Service> = world.api();
    let service: Service = serde_json::from_value(json!({"metadata": {"name": "web"},
        "spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}}))
    .unwrap();
    services
        .create(&PostParams::default(), &service)
        .await
        .unwrap();
    let patch = json!({"spec": {"ports": [{"port": 81, "targetPort": 8081}]}});
    let after = services
        .patch("web", &PatchParams::default(), &Patch::Strategic(&patch))
        .await
        .unwrap();
    let ports = after.spec.unwrap().ports.unwrap();
    assert_eq!(ports.len(), 2, "{ports:?}");
    let merged = ports.iter().find(|port| port.port == 81).unwrap();
    assert_eq!(merged.name.as_deref(), Some("b"), "the rest of it stays");
}

#[tokio::test]
async fn kube_an_empty_map_that_is_applied_with_fields_later_stays() {
    let world = World::start("empty").await;
    let maps: Api<ConfigMap> = world.api();
    for data in [json!({}), json!({"x": "1"})] {
        let applied = applied("a", data);
        maps.patch("a", &us(), &Patch::Apply(&applied))
            .await
            .unwrap();
    }
    assert_eq!(maps.get("a").await.unwrap().data.unwrap()["x"], "1");
}

#[tokio::test]
async fn kube_keyed_lists_are_applied_item_by_item() {
    let world = World::start("keyed").await;
    let widgets = world.widgets("v1").await;
    let apply = |parts: Value| {
        json!({"apiVersion": "test.isthmus.io/v1", "kind": "Widget", "metadata": {"name": "w"},
        "spec": {"size": 1, "parts": parts}})
    };
    let (ours, theirs) = (
        apply(json!([{"name": "a", "count": 1}, {"name": "b"}])),
        apply(json!([{"name": "c"}])),
    );
    widgets
        .patch("w", &us(), &Patch::Apply(&ours))
        .await
        .unwrap();
    widgets
        .patch("w", &PatchParams::apply("them"), &Patch::Apply(&theirs))
        .await
        .unwrap();
    let after = widgets
        .patch("w", &us(), &Patch::Apply(&apply(json!([{"name": "b"}]))))
        .await
        .unwrap();
    let names: Vec<&str> = after.data["spec"]["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["b", "c"]);
}
