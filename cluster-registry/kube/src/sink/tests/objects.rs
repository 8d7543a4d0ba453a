//! The objects that tests make: those of the conformance suite, which are all named `hello`.

use serde_json::{Value, json};

/// Where all tests work.
pub(super) const NAMESPACE: &str = "mcs-conformance";

pub(super) fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
}

/// The service that the conformance suite exports, with changes to its spec.
pub(super) fn hello(changes: Value) -> Value {
    let mut service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "hello", "namespace": NAMESPACE, "labels": {"own": "label"}},
        "spec": {"ports": [{"name": "tcp", "port": 42, "protocol": "TCP"}, {"name": "udp", "port": 42, "protocol": "UDP"}],
            "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10}}}});
    for (field, value) in changes.as_object().unwrap() {
        service["spec"][field] = value.clone();
    }
    service
}

pub(super) fn export() -> Value {
    json!({"apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceExport",
        "metadata": {"name": "hello", "namespace": NAMESPACE}})
}

/// A slice of the service, as a cluster's own controller makes it.
pub(super) fn slice(addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"addresses": [address], "conditions": {"ready": true}, "nodeName": "n1"}))
        .collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "hello-abc", "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": "hello"}},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "tcp", "port": 42, "protocol": "TCP"}]})
}

/// The same object of another name.
pub(super) fn named(mut object: Value, name: &str) -> Value {
    object["metadata"]["name"] = name.into();
    object
}
