//! Creating, replacing and patching objects.
//!
//! Long because each verb that writes goes through the same checks.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Api, Target, WriteOptions, service};
use crate::{
    kind::Generation,
    meta,
    ownership::{self, Writer},
    patch,
    refusal::{Cause, Refusal},
    store::ObjectName,
};

/// A patch's body, by its media type.
#[derive(Debug, Clone)]
pub(crate) enum Patch {
    Merge(Value),
    Strategic(Value),
    Json(Value),
    Apply(Value),
}

/// What a write did.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) object: Arc<Value>,
    pub(crate) is_new: bool,
}

impl Api {
    /// Creates an object.
    pub(crate) fn create(
        &mut self,
        target: &Target,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, Refusal> {
        let name = self.name_for(target, &mut object)?;
        let full_name = target.object_name(&name);
        if self.store.get(&full_name).is_some() {
            return Err(Refusal::already_exists(&target.kind, &name));
        }
        self.check_namespace(target)?;
        if target.kind.has_status && target.kind.kind != "Node" {
            meta::as_map(&mut object).remove("status");
        }
        self.stamp(target, &mut object, &name, options);
        self.admit(target, &mut object, None, options)?;
        let writer = writer(target, options);
        ownership::note_update(None, &mut object, &writer, &target.layout());
        self.commit_new(target, full_name, object, options)
    }

    /// Replaces an object, or its status.
    pub(crate) fn update(
        &mut self,
        target: &Target,
        name: &str,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, Refusal> {
        let before = self.current(target, name)?;
        match meta::text(&object, "resourceVersion").filter(|text| !text.is_empty()) {
            Some(given) if meta::text(&before, "resourceVersion") != Some(given) => {
                return Err(Refusal::conflict(&target.kind, name));
            }
            None if target.schema().is_some() => {
                let field = "metadata.resourceVersion";
                let cause = Cause::invalid(field, &json!(0), "must be specified for an update");
                return Err(Refusal::invalid(&target.kind, name, &[cause]));
            }
            Some(_) | None => {}
        }
        let mut after = self.replaced(target, &before, object, options)?;
        let writer = writer(target, options);
        carry_owners(&before, &mut after);
        ownership::note_update(Some(&before), &mut after, &writer, &target.layout());
        self.commit(target, &before, after, options)
    }

    /// Patches an object, or creates it when it is applied and not there.
    pub(crate) fn patch(
        &mut self,
        target: &Target,
        name: &str,
        patch: Patch,
        options: &WriteOptions,
    ) -> Result<Written, Refusal> {
        let changed = |object| Written {
            object,
            is_new: false,
        };
        let Patch::Apply(applied) = patch else {
            let before = self.current(target, name)?;
            let mut object = Value::clone(&before);
            match &patch {
                Patch::Merge(body) => patch::merge(&mut object, body),
                Patch::Json(body) => patch::json(&mut object, body)?,
                Patch::Strategic(_) if target.schema().is_some() => {
                    return Err(Refusal::unsupported_media_type("strategic merge patch"));
                }
                Patch::Strategic(body) | Patch::Apply(body) => {
                    patch::strategic(&mut object, body, &target.layout());
                }
            }
            return self.update(target, name, object, options).map(changed);
        };
        if options.manager.is_empty() {
            return Err(Refusal::bad_request(
                "fieldManager is required for apply patch",
            ));
        }
        check_applied(target, name, &applied)?;
        match self.current(target, name) {
            Ok(before) => self.apply(target, &before, &applied, options).map(changed),
            Err(refusal) if !target.subresource.is_empty() => Err(refusal),
            Err(_) => {
                let object = self.apply_new(target, name, applied, options)?;
                Ok(Written {
                    object,
                    is_new: true,
                })
            }
        }
    }

    fn apply(
        &mut self,
        target: &Target,
        before: &Arc<Value>,
        applied: &Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, Refusal> {
        let name = meta::name(before).unwrap_or_default();
        if let Some(given) = meta::text(applied, "resourceVersion")
            && meta::text(before, "resourceVersion") != Some(given)
        {
            return Err(Refusal::conflict(&target.kind, name));
        }
        let mut applied = applied.clone();
        keep_own_part(target, &mut applied);
        let writer = writer(target, options);
        let merged = ownership::apply(before, &applied, &target.kind, &writer, &target.layout())?;
        let fields = merged["metadata"]["managedFields"].clone();
        let mut after = self.replaced(target, before, merged, options)?;
        meta::of_mut(&mut after).insert("managedFields".to_owned(), fields);
        self.commit(target, before, after, options)
    }

    fn apply_new(
        &mut self,
        target: &Target,
        name: &str,
        mut applied: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, Refusal> {
        self.check_namespace(target)?;
        if target.kind.has_status && target.kind.kind != "Node" {
            meta::as_map(&mut applied).remove("status");
        }
        let metadata = meta::of_mut(&mut applied);
        metadata.insert("name".to_owned(), json!(name));
        let empty = json!({"metadata": {"name": name}});
        let writer = writer(target, options);
        let mut object =
            ownership::apply(&empty, &applied, &target.kind, &writer, &target.layout())?;
        let fields = object["metadata"]["managedFields"].clone();
        self.stamp(target, &mut object, name, options);
        self.admit(target, &mut object, None, options)?;
        meta::of_mut(&mut object).insert("managedFields".to_owned(), fields);
        self.commit_new(target, target.object_name(name), object, options)
    }

    /// What an object becomes when a request's body replaces it: what clients may not change stays.
    fn replaced(
        &mut self,
        target: &Target,
        before: &Value,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Value, Refusal> {
        if target.subresource == "status" {
            let mut kept = before.clone();
            kept["status"] = object["status"].take();
            if kept["status"].is_null() {
                meta::as_map(&mut kept).remove("status");
            }
            object = kept;
        } else if target.kind.has_status {
            let fields = meta::as_map(&mut object);
            match before.get("status") {
                Some(status) => fields.insert("status".to_owned(), status.clone()),
                None => fields.remove("status"),
            };
        }
        let metadata = meta::of_mut(&mut object);
        for field in [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "generation",
            "namespace",
            "name",
            "resourceVersion",
        ] {
            match before["metadata"].get(field) {
                Some(value) => metadata.insert(field.to_owned(), value.clone()),
                None => metadata.remove(field),
            };
        }
        service::keep_addresses(&target.kind, before, &mut object);
        self.admit(target, &mut object, Some(before), options)?;
        if target.kind.generation == Generation::Counted && body(&object) != body(before) {
            let generation = before["metadata"]["generation"]
                .as_u64()
                .unwrap_or_default();
            meta::of_mut(&mut object).insert("generation".to_owned(), json!(generation + 1));
        }
        Ok(object)
    }

    fn commit(
        &mut self,
        target: &Target,
        before: &Arc<Value>,
        after: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, Refusal> {
        let name = meta::name(before).unwrap_or_default();
        if is_same(before, &after) {
            return Ok(Arc::clone(before));
        }
        if options.is_dry_run {
            return Ok(Arc::new(after));
        }
        let full_name = target.object_name(name);
        if meta::is_deleting(&after) && !meta::has_finalizers(&after) {
            let last = self.store.put(full_name.clone(), after);
            self.erase(&full_name);
            return Ok(last);
        }
        let object = self.store.put(full_name, after);
        self.note_kind(&target.kind, &object)?;
        Ok(object)
    }

    fn commit_new(
        &mut self,
        target: &Target,
        full_name: ObjectName,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, Refusal> {
        if options.is_dry_run {
            return Ok(Arc::new(object));
        }
        self.addresses.take(&target.kind, &object);
        let object = self.store.put(full_name.clone(), object);
        self.note_kind(&target.kind, &object)?;
        let owners = meta::owner_uids(&object);
        if !owners.is_empty() && !owners.iter().any(|uid| self.store.has_uid(uid)) {
            self.erase(&full_name);
        }
        Ok(object)
    }

    fn name_for(&mut self, target: &Target, object: &mut Value) -> Result<String, Refusal> {
        let kind = &target.kind;
        check_kind(target, object)?;
        if let Some(namespace) = meta::text(object, "namespace")
            && target.namespace.as_deref() != Some(namespace)
        {
            return Err(Refusal::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let name = match (meta::name(object), meta::text(object, "generateName")) {
            (Some(name), _) => name.to_owned(),
            (None, Some(prefix)) => {
                self.uids += 1;
                format!("{prefix}{:05x}", self.uids)
            }
            (None, None) => {
                let cause = Cause {
                    field: "metadata.name".to_owned(),
                    reason: "FieldValueRequired",
                    message: "Required value: name or generateName is required".to_owned(),
                };
                return Err(Refusal::invalid(kind, "", &[cause]));
            }
        };
        let is_valid = match (kind.resource.group.as_str(), kind.kind.as_str()) {
            ("", "Service" | "Namespace") => meta::is_label(&name, 63),
            _ => meta::is_subdomain(&name),
        };
        if !is_valid {
            let message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'";
            let cause = Cause::invalid("metadata.name", &json!(name), message);
            return Err(Refusal::invalid(kind, &name, &[cause]));
        }
        Ok(name)
    }

    fn check_namespace(&self, target: &Target) -> Result<(), Refusal> {
        let (true, Some(namespace)) = (target.kind.namespaced, &target.namespace) else {
            return Ok(());
        };
        let Some(namespaces) = self.kind("", "v1", "namespaces") else {
            return Ok(());
        };
        let name = ObjectName {
            resource: namespaces.resource.clone(),
            namespace: String::new(),
            name: namespace.clone(),
        };
        match self.store.get(&name) {
            Some(_) => Ok(()),
            None => Err(Refusal::not_found(&namespaces, namespace)),
        }
    }

    /// Gives a new object what the server gives.
    fn stamp(&mut self, target: &Target, object: &mut Value, name: &str, options: &WriteOptions) {
        let uid = self.next_uid();
        let metadata = meta::of_mut(object);
        for field in [
            "resourceVersion",
            "deletionTimestamp",
            "managedFields",
            "selfLink",
        ] {
            metadata.remove(field);
        }
        metadata.insert("name".to_owned(), json!(name));
        metadata.insert("uid".to_owned(), json!(uid));
        metadata.insert("creationTimestamp".to_owned(), meta::time_text(options.now));
        match target.kind.generation {
            Generation::Counted => metadata.insert("generation".to_owned(), json!(1)),
            Generation::Without => metadata.remove("generation"),
        };
        if let Some(namespace) = &target.namespace {
            metadata.insert("namespace".to_owned(), json!(namespace));
        }
    }
}

fn writer<'a>(target: &'a Target, options: &'a WriteOptions) -> Writer<'a> {
    Writer {
        manager: &options.manager,
        api_version: target.kind.api_version(&target.version),
        subresource: &target.subresource,
        is_forced: options.is_forced,
        now: options.now,
    }
}

/// A body may leave its kind out, but not name another one.
fn check_kind(target: &Target, object: &Value) -> Result<(), Refusal> {
    let expected = (
        target.kind.api_version(&target.version),
        target.kind.kind.as_str(),
    );
    let given = (
        object["apiVersion"].as_str().unwrap_or(&expected.0),
        object["kind"].as_str().unwrap_or(expected.1),
    );
    if given == (expected.0.as_str(), expected.1) {
        return Ok(());
    }
    Err(Refusal::bad_request(format!(
        "{} in version {:?} cannot be handled as a {}: it is in {:?}",
        given.1, expected.0, expected.1, given.0
    )))
}

fn check_applied(target: &Target, name: &str, applied: &Value) -> Result<(), Refusal> {
    if applied["apiVersion"].is_null() || applied["kind"].is_null() {
        return Err(Refusal::bad_request(
            "apiVersion and kind must be set in an applied configuration",
        ));
    }
    check_kind(target, applied)?;
    if !applied["metadata"]["managedFields"].is_null() {
        return Err(Refusal::bad_request("metadata.managedFields must be nil"));
    }
    match meta::name(applied) {
        Some(given) if given != name => Err(Refusal::bad_request(
            "the name of the object does not match the name on the URL",
        )),
        Some(_) | None => Ok(()),
    }
}

/// Cuts from an applied configuration what its path does not write.
fn keep_own_part(target: &Target, applied: &mut Value) {
    let fields = meta::as_map(applied);
    if target.subresource == "status" {
        fields.retain(|name, _| matches!(name.as_str(), "status" | "apiVersion" | "kind"));
    } else if target.kind.has_status {
        fields.remove("status");
    }
}

/// A plain write that does not speak of owners of fields leaves them.
fn carry_owners(before: &Value, after: &mut Value) {
    let metadata = meta::of_mut(after);
    match before["metadata"].get("managedFields") {
        Some(fields) => metadata.insert("managedFields".to_owned(), fields.clone()),
        None => metadata.remove("managedFields"),
    };
}

/// What counts for the generation.
fn body(object: &Value) -> Value {
    let mut body = object.clone();
    let fields = meta::as_map(&mut body);
    for field in ["metadata", "status", "apiVersion", "kind"] {
        fields.remove(field);
    }
    body
}

/// Whether a write changes nothing but times of managed fields.
fn is_same(before: &Value, after: &Value) -> bool {
    let strip = |object: &Value| {
        let mut object = object.clone();
        let fields = meta::of_mut(&mut object)
            .get_mut("managedFields")
            .and_then(Value::as_array_mut);
        for entry in fields.into_iter().flatten() {
            meta::as_map(entry).remove("time");
        }
        object
    };
    strip(before) == strip(after)
}
