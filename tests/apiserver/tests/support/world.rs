//! A server with a namespace of the test's own, and the objects that tests write into it.

use apiserver_double::AnyServer;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client, Error,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{client, object, resource, widgets, within};

pub(crate) struct World {
    _server: AnyServer,
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl World {
    pub(crate) async fn start(namespace: &str) -> Self {
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

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Makes the custom kind and waits until it is served.
    pub(crate) async fn widgets(&self, version: &str) -> Api<DynamicObject> {
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

pub(crate) fn us() -> PatchParams {
    PatchParams::apply("us")
}

pub(crate) fn map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"key": value}})).unwrap()
}

pub(crate) fn applied(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

pub(crate) fn widget(spec: Value) -> DynamicObject {
    object(
        json!({"apiVersion": "test.isthmus.io/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}),
    )
}

pub(crate) fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Api(status)) => status.reason.clone(),
        other => panic!("it was not refused: {other:?}"),
    }
}
