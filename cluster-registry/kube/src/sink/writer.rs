//! Carries writes out, by server-side apply, and gives the objects that came of them.

use cluster_registry::name::{ClusterName, ServiceName};
use k8s_openapi::{
    api::{
        core::v1::{ObjectReference, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    core::DynamicResourceScope,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    FIELD_MANAGER,
    plan::{About, Write},
};
use crate::api::{ClusterLink, MCS_GROUP, McsVersion, ServiceExport, ServiceImport};

/// The versions in which the server has the kinds of the Multi-Cluster Services API.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Versions {
    pub(super) exports: McsVersion,
    pub(super) imports: McsVersion,
}

/// What a write left behind.
#[derive(Debug)]
pub(super) enum Written {
    Import(ServiceName, Option<Box<ServiceImport>>),
    Export(ServiceName, Box<ServiceExport>),
    Slice(ServiceName, String, Option<Box<EndpointSlice>>),
    Link(ClusterName, Box<ClusterLink>),
    Service(ServiceName, Box<Service>),
    /// Nothing that is watched.
    Nothing,
}

/// Writes to one API server.
#[derive(Clone)]
pub(super) struct Writer {
    client: Client,
    recorder: Recorder,
}

impl Writer {
    pub(super) fn new(client: Client, identity: &str) -> Self {
        let reporter = Reporter {
            controller: FIELD_MANAGER.to_owned(),
            instance: Some(identity.to_owned()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
        }
    }

    pub(super) async fn write(&self, write: Write, versions: Versions) -> kube::Result<Written> {
        let Versions { exports, imports } = versions;
        match write {
            Write::Import(name, import) => {
                let api = self.of::<ServiceImport>(&name, imports);
                let import = apply(&api, name.name.as_str(), &*import, imports).await?;
                Ok(Written::Import(name, Some(Box::new(import))))
            }
            Write::ImportStatus(name, status) => {
                let api = self.of::<ServiceImport>(&name, imports);
                let import = apply_status(&api, name.name.as_str(), &status, imports).await?;
                Ok(Written::Import(name, Some(Box::new(import))))
            }
            Write::DeleteImport(name, uid) => {
                let api = self.of::<ServiceImport>(&name, imports);
                delete(&api, name.name.as_str(), Some(uid)).await?;
                Ok(Written::Import(name, None))
            }
            Write::Slice(name, slice) => {
                let slice_name = slice.metadata.name.clone().unwrap_or_default();
                let api = Api::namespaced(self.client.clone(), name.namespace.as_str());
                let slice = apply(&api, &slice_name, &*slice, ()).await?;
                Ok(Written::Slice(name, slice_name, Some(Box::new(slice))))
            }
            Write::DeleteSlice(name, slice_name) => {
                let api = Api::namespaced(self.client.clone(), name.namespace.as_str());
                delete::<EndpointSlice>(&api, &slice_name, None).await?;
                Ok(Written::Slice(name, slice_name, None))
            }
            Write::ExportStatus(name, status) => {
                let api = self.of::<ServiceExport>(&name, exports);
                let export = apply_status(&api, name.name.as_str(), &status, exports).await?;
                Ok(Written::Export(name, Box::new(export)))
            }
            Write::LinkStatus(name, status) => {
                let api = Api::all(self.client.clone());
                let link = apply_status(&api, name.as_str(), &status, ()).await?;
                Ok(Written::Link(name, Box::new(link)))
            }
            Write::ServiceCondition(name, condition) => {
                let api = Api::namespaced(self.client.clone(), name.namespace.as_str());
                let service = apply_condition(&api, name.name.as_str(), condition).await?;
                Ok(Written::Service(name, Box::new(service)))
            }
            Write::Event {
                about,
                uid,
                reason,
                message,
            } => {
                let regarding = reference(&about, uid, exports);
                self.tell(&about, &regarding, reason, message).await?;
                Ok(Written::Nothing)
            }
        }
    }

    async fn tell(
        &self,
        about: &About,
        regarding: &ObjectReference,
        reason: String,
        message: String,
    ) -> kube::Result<()> {
        let action = match about {
            About::Export(_) => "Export",
            About::Service(_) => "Serve",
        };
        let event = Event {
            type_: EventType::Warning,
            reason,
            note: Some(message),
            action: action.to_owned(),
            secondary: None,
        };
        self.recorder.publish(&event, regarding).await
    }

    fn of<K>(&self, name: &ServiceName, version: McsVersion) -> Api<K>
    where
        K: Resource<DynamicType = McsVersion, Scope = DynamicResourceScope>,
    {
        Api::namespaced_with(self.client.clone(), name.namespace.as_str(), &version)
    }
}

async fn apply<K>(api: &Api<K>, name: &str, object: &K, kind: K::DynamicType) -> kube::Result<K>
where
    K: Resource + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    let mut body = serde_json::to_value(object).map_err(kube::Error::SerdeError)?;
    body["apiVersion"] = json!(K::api_version(&kind));
    body["kind"] = json!(K::kind(&kind));
    api.patch(name, &params(), &Patch::Apply(&body)).await
}

async fn apply_status<K>(
    api: &Api<K>,
    name: &str,
    status: &impl Serialize,
    kind: K::DynamicType,
) -> kube::Result<K>
where
    K: Resource + DeserializeOwned,
{
    let body: Value =
        json!({"apiVersion": K::api_version(&kind), "kind": K::kind(&kind), "status": status});
    api.patch_status(name, &params(), &Patch::Apply(&body))
        .await
}

/// Applies a condition, or by applying none takes away what was applied before.
async fn apply_condition(
    api: &Api<Service>,
    name: &str,
    condition: Option<Box<Condition>>,
) -> kube::Result<Service> {
    let status = match condition {
        Some(condition) => json!({"conditions": [condition]}),
        None => json!({}),
    };
    apply_status(api, name, &status, ()).await
}

/// Deletes an object; one that is gone, or is another by now, is as well.
async fn delete<K>(api: &Api<K>, name: &str, uid: Option<String>) -> kube::Result<()>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let params = DeleteParams {
        preconditions: uid.map(|uid| Preconditions {
            uid: Some(uid),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}

fn params() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

fn reference(about: &About, uid: String, exports: McsVersion) -> ObjectReference {
    let name = about.name();
    let api_version = match about {
        About::Export(_) => format!("{MCS_GROUP}/{}", exports.as_str()),
        About::Service(_) => "v1".to_owned(),
    };
    ObjectReference {
        api_version: Some(api_version),
        kind: Some(about.kind().to_owned()),
        namespace: Some(name.namespace.to_string()),
        name: Some(name.name.to_string()),
        uid: Some(uid),
        ..ObjectReference::default()
    }
}
