//! What tests of source and sink do at an API server, whichever it is.

use std::path::Path;

use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::Value;

/// A client of a server, from its kubeconfig.
pub(crate) async fn client(kubeconfig: Value) -> Client {
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

/// The definition of one of our kinds, as the chart has it.
pub(crate) fn definition(plural: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../helm/isthmus/crds");
    let text = std::fs::read_to_string(folder.join(format!("{plural}.yaml"))).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

/// Applies an object.
pub(crate) async fn set(client: &Client, object: &Value) {
    let (api, name) = api_of(client, object);
    let params = PatchParams::apply("test").force();
    let applied = api.patch(&name, &params, &Patch::Apply(object)).await;
    applied.unwrap();
}

/// Deletes an object.
pub(crate) async fn delete(client: &Client, object: &Value) {
    let (api, name) = api_of(client, object);
    api.delete(&name, &DeleteParams::default()).await.unwrap();
}

/// Where objects like this one are, and its name.
pub(crate) fn api_of(client: &Client, object: &Value) -> (Api<DynamicObject>, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let version = text(&object["apiVersion"]);
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let kind = GroupVersionKind::gvk(group, version, &text(&object["kind"]));
    let resource = ApiResource::from_gvk(&kind);
    let api = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    (api, text(&object["metadata"]["name"]))
}
