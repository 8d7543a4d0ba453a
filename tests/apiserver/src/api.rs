//! The server's state and what each request does to it: pure, so time comes in as an argument.
//!
//! Garbage collection and the deletion of namespaces happen at once and within the request that causes them.

mod admit;
mod crd;
mod delete;
mod read;
mod saved;
mod service;
mod write;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use serde_json::{Value, json};

use self::service::Addresses;
pub(crate) use self::{
    delete::DeleteOptions,
    read::{ListOptions, in_version},
    write::Patch,
};
use crate::{
    kind::{GroupResource, Kind, builtin},
    layout::Layout,
    refusal::Refusal,
    store::{ObjectName, Store},
};

/// Where a request goes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) kind: Arc<Kind>,
    pub(crate) version: String,
    /// The namespace of the path.
    pub(crate) namespace: Option<String>,
    /// The object's name in the path.
    pub(crate) name: Option<String>,
    /// `status` or nothing.
    pub(crate) subresource: String,
}

impl Target {
    fn object_name(&self, name: &str) -> ObjectName {
        ObjectName {
            resource: self.kind.resource.clone(),
            namespace: self.namespace.clone().unwrap_or_default(),
            name: name.to_owned(),
        }
    }

    fn schema(&self) -> Option<&Value> {
        self.kind.schemas.get(&self.version)
    }

    fn layout(&self) -> Layout<'_> {
        Layout::new(&self.kind.kind, self.schema())
    }
}

/// How a write is meant.
#[derive(Debug, Clone)]
pub(crate) struct WriteOptions {
    pub(crate) manager: String,
    pub(crate) is_dry_run: bool,
    pub(crate) is_forced: bool,
    /// Whether a field that the schema does not have is an error.
    pub(crate) is_strict: bool,
    pub(crate) now: Timestamp,
}

/// The kinds and objects of one server.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) store: Store,
    kinds: BTreeMap<GroupResource, Arc<Kind>>,
    addresses: Addresses,
    uids: u64,
}

impl Api {
    /// A server with the namespaces that every cluster has.
    pub(crate) fn new(service_cidrs: &[(IpAddr, u8)], now: Timestamp) -> Self {
        let kinds = builtin().into_iter();
        let mut api = Self {
            store: Store::new(),
            kinds: kinds
                .map(|kind| (kind.resource.clone(), Arc::new(kind)))
                .collect(),
            addresses: Addresses::new(service_cidrs),
            uids: 0,
        };
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            api.create_namespace(name, now);
        }
        api
    }

    /// The kind that a path names, in a version that it serves.
    pub(crate) fn kind(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        let kind = self.kinds.get(&GroupResource::new(group, plural))?;
        kind.serves(version).then(|| Arc::clone(kind))
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.values()
    }

    pub(crate) fn has_kind(&self, resource: &GroupResource) -> bool {
        self.kinds.contains_key(resource)
    }

    /// The kind that a body's `apiVersion` and `kind` name, with the version.
    pub(crate) fn kind_of(&self, object: &Value) -> Option<(Arc<Kind>, String)> {
        let (group, version) = match object["apiVersion"].as_str()?.split_once('/') {
            Some(both) => both,
            None => ("", object["apiVersion"].as_str()?),
        };
        let kind = self.kinds.values().find(|kind| {
            kind.resource.group == group && object["kind"] == kind.kind && kind.serves(version)
        })?;
        Some((Arc::clone(kind), version.to_owned()))
    }

    fn create_namespace(&mut self, name: &str, now: Timestamp) {
        let Some(kind) = self.kind("", "v1", "namespaces") else {
            return;
        };
        let target = Target {
            kind,
            version: "v1".to_owned(),
            namespace: None,
            name: None,
            subresource: String::new(),
        };
        let options = WriteOptions {
            manager: "apiserver".to_owned(),
            is_dry_run: false,
            is_forced: false,
            is_strict: false,
            now,
        };
        let object = json!({"metadata": {"name": name}});
        let created = self.create(&target, object, &options);
        debug_assert!(created.is_ok(), "{created:?}");
    }

    fn next_uid(&mut self) -> String {
        self.uids += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.uids)
    }

    fn current(&self, target: &Target, name: &str) -> Result<Arc<Value>, Refusal> {
        self.store
            .get(&target.object_name(name))
            .cloned()
            .ok_or_else(|| Refusal::not_found(&target.kind, name))
    }
}
