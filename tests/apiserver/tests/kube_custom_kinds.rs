//! Objects of a custom kind are held to its definition, on a real API server and on ours alike.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use kube::{
    Api, ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use support::{
    resource,
    world::{World, us, widget},
};

#[tokio::test]
async fn kube_a_custom_kind_checks_its_objects() {
    let world = World::start("widgets").await;
    let widgets = world.widgets("v1").await;
    let bad: [(Value, &str); 8] = [
        (json!({}), "spec.size: Required value"),
        (json!({"size": "big"}), "spec.size"),
        (json!({"size": 0}), "spec.size"),
        (json!({"size": 1, "colour": "green"}), "Unsupported value"),
        (json!({"size": 11}), "size must not be over the limit"),
        (json!({"size": 1, "name": "UPPER"}), "spec.name"),
        (json!({"size": 1, "address": "10.0.0.0"}), "spec.address"),
        (
            json!({"size": 1, "parts": [{"name": "bad"}]}),
            "no part may be bad",
        ),
    ];
    for (spec, expected) in bad {
        let refused = widgets
            .create(&PostParams::default(), &widget(spec.clone()))
            .await;
        let text = refused.expect_err(&spec.to_string()).to_string();
        assert!(text.contains(expected), "{spec}: {text}");
    }
    let made = widgets
        .create(
            &PostParams::default(),
            &widget(json!({"size": 3, "colour": "red", "extra": 1})),
        )
        .await
        .unwrap();
    assert_eq!(made.data["spec"]["limit"], 10, "the default");
    assert!(
        made.data["spec"].get("extra").is_none(),
        "unknown fields are cut"
    );
    let patch = json!({"spec": {"colour": "blue"}});
    let refused = widgets
        .patch("w", &PatchParams::default(), &Patch::Merge(&patch))
        .await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("colour is immutable")
    );
}

#[tokio::test]
async fn kube_status_is_written_apart_and_does_not_count_as_a_generation() {
    let world = World::start("status").await;
    let widgets = world.widgets("v1").await;
    let mut with_status = widget(json!({"size": 3}));
    with_status.data["status"] = json!({"ready": true});
    let made = widgets
        .create(&PostParams::default(), &with_status)
        .await
        .unwrap();
    assert!(made.data.get("status").is_none());
    assert_eq!(made.metadata.generation, Some(1));

    let status =
        json!({"apiVersion": "test.isthmus.io/v1", "kind": "Widget", "status": {"ready": true}});
    let after = widgets
        .patch_status("w", &us(), &Patch::Apply(&status))
        .await
        .unwrap();
    assert_eq!(after.data["status"]["ready"], true);
    assert_eq!(after.metadata.generation, Some(1));
    let again = widgets
        .patch_status("w", &us(), &Patch::Apply(&status))
        .await
        .unwrap();
    assert_eq!(again.resource_version(), after.resource_version());

    let patch = json!({"spec": {"size": 4}, "status": {"ready": false}});
    let after = widgets
        .patch("w", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    assert_eq!(after.metadata.generation, Some(2));
    assert_eq!(after.data["status"]["ready"], true);
}

#[tokio::test]
async fn kube_both_versions_of_a_custom_kind_show_the_same_objects() {
    let world = World::start("versions").await;
    let new = world.widgets("v1").await;
    let old: Api<DynamicObject> = Api::namespaced_with(
        world.client.clone(),
        &world.namespace,
        &resource("test.isthmus.io/v1alpha1", "Widget"),
    );
    new.create(&PostParams::default(), &widget(json!({"size": 2})))
        .await
        .unwrap();
    let seen = old.get("w").await.unwrap();
    assert_eq!(seen.types.unwrap().api_version, "test.isthmus.io/v1alpha1");
    assert_eq!(seen.data["spec"]["size"], 2);
}
