//! Creating, replacing and patching objects.

mod check;
mod commit;

use std::sync::Arc;

use serde_json::{Value, json};

use self::check::check_applied;
use super::{Api, Target, WriteOptions, service};
use crate::{
    kind::Generation,
    meta,
    ownership::{self, Writer},
    patch,
    refusal::{Cause, Refusal},
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
