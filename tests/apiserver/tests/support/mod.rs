//! What the tests of API servers share: a client, and waiting.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    reason = "only tests use it, but lints do not see that from here"
)]

pub(crate) mod world;

use std::time::Duration;

use kube::{
    Client,
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};

/// Long enough for a busy machine; nothing waits as long when all is well.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) async fn client(kubeconfig: Value) -> Client {
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(DEADLINE, future).await;
    result.unwrap_or_else(|_| panic!("{what} took longer than {DEADLINE:?}"))
}

/// A custom kind with a status, a keyed list, defaults, limits and rules.
pub(crate) fn widgets() -> Value {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["size"],
            "x-kubernetes-validations": [
                {"rule": "self.size <= self.limit", "message": "size must not be over the limit"},
                {"rule": "!has(oldSelf.colour) || self.colour == oldSelf.colour", "message": "colour is immutable"},
                {"rule": "self.parts.all(p, p.name != 'bad')", "message": "no part may be bad"},
            ],
            "properties": {
                "size": {"type": "integer", "minimum": 1},
                "limit": {"type": "integer", "default": 10},
                "colour": {"type": "string", "enum": ["red", "blue"]},
                "address": {"type": "string", "format": "cidr"},
                "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
                "parts": {"type": "array", "default": [], "maxItems": 3,
                    "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "required": ["name"], "properties": {
                        "name": {"type": "string", "maxLength": 20}, "count": {"type": "integer"}}}}}},
        "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}}}});
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
            "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.test.isthmus.io"},
        "spec": {"group": "test.isthmus.io", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [version("v1alpha1", false), version("v1", true)]}})
}

pub(crate) fn resource(version: &str, kind: &str) -> ApiResource {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

pub(crate) fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}
