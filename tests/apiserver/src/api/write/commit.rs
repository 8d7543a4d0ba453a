//! Puts what a write has made into the store, unless it changes nothing or is a dry run.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    api::{Api, Target, WriteOptions},
    meta,
    refusal::Refusal,
    store::ObjectName,
};

impl Api {
    pub(super) fn commit(
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

    pub(super) fn commit_new(
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
