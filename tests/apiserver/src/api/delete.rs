//! Deleting objects, and what goes with them: dependents, a namespace's contents, a definition's objects.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Api, ListOptions, Target, WriteOptions};
use crate::{meta, refusal::Refusal, store::ObjectName};

/// Under which conditions an object is deleted, and what becomes of its dependents.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) is_orphaning: bool,
}

impl Api {
    /// Deletes an object, or marks it so when it has finalizers; returns its last state.
    pub(crate) fn delete(
        &mut self,
        target: &Target,
        name: &str,
        conditions: &DeleteOptions,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, Refusal> {
        let before = self.current(target, name)?;
        if let Some(uid) = &conditions.uid
            && *uid != meta::uid(&before)
        {
            return Err(Refusal::precondition(&target.kind, name, "UID"));
        }
        if let Some(version) = &conditions.resource_version
            && meta::text(&before, "resourceVersion") != Some(version.as_str())
        {
            return Err(Refusal::precondition(&target.kind, name, "ResourceVersion"));
        }
        if options.is_dry_run {
            return Ok(before);
        }
        let full_name = target.object_name(name);
        if meta::has_finalizers(&before) {
            if meta::is_deleting(&before) {
                return Ok(before);
            }
            let mut marked = Value::clone(&before);
            let metadata = meta::of_mut(&mut marked);
            metadata.insert("deletionTimestamp".to_owned(), meta::time_text(options.now));
            return Ok(self.store.put(full_name, marked));
        }
        if conditions.is_orphaning {
            self.orphan_dependents(&meta::uid(&before));
        }
        Ok(self.erase(&full_name).unwrap_or(before))
    }

    /// Deletes all objects that a list would show.
    pub(crate) fn delete_collection(
        &mut self,
        target: &Target,
        list: &ListOptions,
        options: &WriteOptions,
    ) -> Result<Value, Refusal> {
        let shown = self.list(target, list)?;
        for item in shown["items"].as_array().into_iter().flatten() {
            let one = Target {
                namespace: meta::text(item, "namespace").map(str::to_owned),
                ..target.clone()
            };
            let name = meta::name(item).unwrap_or_default();
            self.delete(&one, name, &DeleteOptions::default(), options)?;
        }
        Ok(shown)
    }

    /// Removes an object and what must go with it.
    pub(super) fn erase(&mut self, name: &ObjectName) -> Option<Arc<Value>> {
        let kind = self.kinds.get(&name.resource).cloned();
        let last = self.store.remove(name)?;
        if let Some(kind) = kind {
            self.addresses.release(&kind, &last);
            self.forget_kind(&kind, &last);
            if kind.resource.group.is_empty() && kind.kind == "Namespace" {
                self.erase_contents(&name.name);
            }
        }
        for dependent in self.store.dependents(&meta::uid(&last)) {
            let owners = self
                .store
                .get(&dependent)
                .map(|object| meta::owner_uids(object));
            let is_kept = owners
                .unwrap_or_default()
                .iter()
                .any(|uid| self.store.has_uid(uid));
            if !is_kept {
                self.erase(&dependent);
            }
        }
        Some(last)
    }

    fn erase_contents(&mut self, namespace: &str) {
        let kinds: Vec<_> = self
            .kinds
            .values()
            .filter(|kind| kind.namespaced)
            .cloned()
            .collect();
        for kind in kinds {
            let inside: Vec<_> = self
                .store
                .list(&kind.resource, Some(namespace))
                .map(|(name, _)| name.clone())
                .collect();
            for name in inside {
                self.erase(&name);
            }
        }
    }

    fn orphan_dependents(&mut self, uid: &str) {
        for dependent in self.store.dependents(uid) {
            let Some(object) = self.store.get(&dependent) else {
                continue;
            };
            let mut object = Value::clone(object);
            if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
                owners.retain(|owner| owner["uid"] != json!(uid));
            }
            self.store.put(dependent, object);
        }
    }
}
