//! Objects are made, changed and deleted as Kubernetes does it, on a real API server and on ours alike.
//!
//! Long because every case is one that a real API server is asked too.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use apiserver_double::AnyServer;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Service};
use kube::{
    Api, Client, Error, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use support::{client, object, resource, widgets, within};

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

struct World {
    _server: AnyServer,
    client: Client,
    namespace: String,
}

impl World {
    async fn start(namespace: &str) -> Self {
        let server = within("the start", AnyServer::start()).await.unwrap();
        let client = client(server.kubeconfig()).await;
        let object: Namespace =
            serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        Api::all(client.clone())
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        Self {
            _server: server,
            client,
            namespace: namespace.to_owned(),
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Makes the custom kind and waits until it is served.
    async fn widgets(&self, version: &str) -> Api<DynamicObject> {
        let kinds: Api<DynamicObject> = Api::all_with(
            self.client.clone(),
            &resource("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        );
        kinds
            .patch("widgets.test.isthmus.io", &us(), &Patch::Apply(&widgets()))
            .await
            .unwrap();
        let api: Api<DynamicObject> = Api::namespaced_with(
            self.client.clone(),
            &self.namespace,
            &resource(&format!("test.isthmus.io/{version}"), "Widget"),
        );
        within("serving the kind", async {
            while api.list(&ListParams::default()).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        api
    }
}

fn us() -> PatchParams {
    PatchParams::apply("us")
}

fn map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"key": value}})).unwrap()
}

fn applied(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn widget(spec: Value) -> DynamicObject {
    object(
        json!({"apiVersion": "test.isthmus.io/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}),
    )
}

fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Api(status)) => status.reason.clone(),
        other => panic!("it was not refused: {other:?}"),
    }
}
