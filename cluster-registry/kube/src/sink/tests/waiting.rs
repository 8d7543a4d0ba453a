//! Waits until objects are as they shall be, by watching them.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use futures_util::StreamExt;
use kube::{
    Api, Resource, ResourceExt,
    api::DynamicObject,
    core::{ApiResource, GroupVersionKind},
    runtime::{
        WatchStreamExt,
        wait::await_condition,
        watcher::{Config, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{objects::NAMESPACE, world::Cluster};
use crate::{
    api::{ServiceExport, ServiceImport},
    testing::api_of,
};

/// Long enough for a busy machine; nothing waits as long when all is well.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until an object is so, or is not there if that is what is waited for.
pub(super) async fn until<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    is_so: impl Fn(Option<&K>) -> bool,
) -> Option<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let reached = await_condition(api.clone(), name, is_so);
    match tokio::time::timeout(DEADLINE, reached).await {
        Ok(object) => object.unwrap(),
        Err(_) => panic!("{name} never was {what}: {:?}", api.get_opt(name).await),
    }
}

impl Cluster {
    fn imports(&self) -> Api<ServiceImport> {
        Api::namespaced_with(self.client.clone(), NAMESPACE, &Default::default())
    }

    /// The import of `hello`; `None` when there is none.
    pub(super) async fn import(&self) -> Option<ServiceImport> {
        self.imports().get_opt("hello").await.unwrap()
    }

    /// Waits until the import of `hello` is so.
    pub(super) async fn until_import(
        &self,
        what: &str,
        is_reached: impl Fn(&ServiceImport) -> bool,
    ) -> ServiceImport {
        let is_so = |import: Option<&ServiceImport>| import.is_some_and(&is_reached);
        let import = until(&self.imports(), "hello", what, is_so).await;
        import.unwrap()
    }

    /// Waits until the service of this name has an import.
    pub(super) async fn until_imported(&self, name: &str) {
        until(&self.imports(), name, "imported", |import| import.is_some()).await;
    }

    pub(super) async fn until_no_import(&self) {
        until(&self.imports(), "hello", "gone", |import| import.is_none()).await;
    }

    /// Waits until an object has a condition of this status, if the API server keeps such.
    pub(super) async fn until_true(&self, object: &Value, kind: &str) {
        let (api, name) = api_of(&self.client, object);
        let is_so = |object: Option<&DynamicObject>| {
            let conditions = object.and_then(|o| o.data["status"]["conditions"].as_array());
            let mut conditions = conditions.into_iter().flatten();
            conditions.any(|one| one["type"] == kind && one["status"] == "True")
        };
        until(&api, &name, kind, is_so).await;
    }

    /// Waits until the export of `hello` has a condition with this status and reason, and returns its message.
    pub(super) async fn until_condition(&self, kind: &str, status: &str, reason: &str) -> String {
        let api: Api<ServiceExport> =
            Api::namespaced_with(self.client.clone(), NAMESPACE, &Default::default());
        let find = |export: &ServiceExport| {
            let conditions = export.status.iter().flat_map(|s| &s.conditions);
            let mut found =
                conditions.filter(|c| c.type_ == kind && c.status == status && c.reason == reason);
            found.next().cloned()
        };
        let is_so = |export: Option<&ServiceExport>| export.and_then(find).is_some();
        let what = format!("{kind} {status} for {reason}");
        let export = until(&api, "hello", &what, is_so).await.unwrap();
        let condition = find(&export).unwrap();
        assert_eq!(condition.observed_generation, export.meta().generation);
        condition.message
    }

    /// Waits until our slices, each as its source cluster and addresses, are these.
    pub(super) async fn until_slices(&self, expected: &[(&str, &[&str])]) -> Vec<DynamicObject> {
        let owned = |texts: &[&str]| texts.iter().map(|a| (*a).to_owned()).collect();
        let expected: BTreeMap<String, Vec<String>> = expected
            .iter()
            .map(|(cluster, addresses)| ((*cluster).to_owned(), owned(addresses)))
            .collect();
        let kind = GroupVersionKind::gvk("discovery.k8s.io", "v1", "EndpointSlice");
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), NAMESPACE, &resource);
        let ours = Config::default().labels("multicluster.kubernetes.io/service-name=hello");
        let mut events = watcher(api, ours).default_backoff().boxed();
        let mut slices = BTreeMap::new();
        let reached = async {
            loop {
                let is_whole = note(&mut slices, events.next().await.unwrap().unwrap());
                let now: BTreeMap<_, _> = slices.values().map(addresses).collect();
                if is_whole && now == expected {
                    return slices.values().cloned().collect();
                }
            }
        };
        let reached = tokio::time::timeout(DEADLINE, reached).await;
        reached.unwrap_or_else(|_| panic!("the slices are not {expected:?}"))
    }
}

/// Takes what a watch says; returns whether all that there is has been said.
fn note(objects: &mut BTreeMap<String, DynamicObject>, event: Event<DynamicObject>) -> bool {
    match event {
        Event::Init => objects.clear(),
        Event::InitApply(object) => {
            objects.insert(object.name_any(), object);
        }
        Event::InitDone => return true,
        Event::Apply(object) => {
            objects.insert(object.name_any(), object);
            return true;
        }
        Event::Delete(object) => {
            objects.remove(&object.name_any());
            return true;
        }
    }
    false
}

fn addresses(slice: &DynamicObject) -> (String, Vec<String>) {
    let cluster = slice.labels()["multicluster.kubernetes.io/source-cluster"].clone();
    let endpoints = slice.data["endpoints"].as_array().unwrap();
    let addresses = endpoints
        .iter()
        .map(|e| e["addresses"][0].as_str().unwrap().to_owned());
    (cluster, addresses.collect())
}
