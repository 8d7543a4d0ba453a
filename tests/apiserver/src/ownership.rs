//! Who set which field: keeps `managedFields` over writes, and merges a server-side apply.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    fields::{FieldSet, overlay},
    kind::Kind,
    layout::Layout,
    meta,
    refusal::Refusal,
};

/// The fields of metadata that no manager owns.
const UNOWNED: [&str; 11] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
    "generateName",
];

/// Who writes, and how.
#[derive(Debug, Clone)]
pub(crate) struct Writer<'a> {
    pub(crate) manager: &'a str,
    pub(crate) api_version: String,
    /// `status` or nothing.
    pub(crate) subresource: &'a str,
    pub(crate) is_forced: bool,
    pub(crate) now: Timestamp,
}

/// One manager's entry.
struct Entry {
    raw: Value,
    set: FieldSet,
}

impl Entry {
    fn new(writer: &Writer<'_>, operation: &str) -> Self {
        let mut raw = json!({"manager": writer.manager, "operation": operation,
            "apiVersion": writer.api_version, "fieldsType": "FieldsV1"});
        if !writer.subresource.is_empty() {
            raw["subresource"] = json!(writer.subresource);
        }
        Self {
            raw,
            set: FieldSet::default(),
        }
    }

    fn is_of(&self, writer: &Writer<'_>, operation: &str) -> bool {
        self.raw["manager"] == writer.manager
            && self.raw["operation"] == operation
            && self.raw["subresource"].as_str().unwrap_or_default() == writer.subresource
    }
}

/// Gives the fields in which a plain write differs to its writer.
pub(crate) fn note_update(
    before: Option<&Value>,
    after: &mut Value,
    writer: &Writer<'_>,
    layout: &Layout<'_>,
) {
    let changed = FieldSet::between(before.map(owned).as_ref(), Some(&owned(after)), layout);
    let mut entries = before.map(entries).unwrap_or_default();
    if changed.is_empty() {
        store(after, entries);
        return;
    }
    for entry in &mut entries {
        entry.set.subtract(&changed);
    }
    let mut own = take(&mut entries, writer, "Update");
    own.set.add(&changed);
    own.raw["time"] = meta::time_text(writer.now);
    entries.push(own);
    settle(after, entries, layout);
}

/// Merges an applied configuration into an object; the object must exist, if only by its name.
pub(crate) fn apply(
    live: &Value,
    applied: &Value,
    kind: &Kind,
    writer: &Writer<'_>,
    layout: &Layout<'_>,
) -> Result<Value, Refusal> {
    let applied = owned(applied);
    let set = FieldSet::of(&applied, layout);
    let mut entries = entries(live);
    let mut own = take(&mut entries, writer, "Apply");

    let mut merged = live.clone();
    overlay(&mut merged, &applied, layout);
    let mut dropped = own.set.clone();
    dropped.subtract_held(&set);
    for entry in &entries {
        dropped.subtract_held(&entry.set);
    }
    dropped.remove_from(&mut merged, layout);

    let changed = FieldSet::between(Some(&owned(live)), Some(&owned(&merged)), layout);
    let taken = changed.intersection(&set);
    if !writer.is_forced {
        let conflicts: Vec<(String, String)> = entries
            .iter()
            .flat_map(|entry| {
                let manager = entry.raw["manager"].as_str().unwrap_or_default();
                let fields = entry.set.intersection(&taken).paths();
                fields
                    .into_iter()
                    .map(move |field| (manager.to_owned(), field))
            })
            .collect();
        if !conflicts.is_empty() {
            let name = meta::name(live).unwrap_or_default();
            return Err(Refusal::field_conflicts(kind, name, &conflicts));
        }
    }
    for entry in &mut entries {
        entry.set.subtract(&taken);
    }
    if own.set != set || !changed.is_empty() || own.raw["time"].is_null() {
        own.raw["time"] = meta::time_text(writer.now);
    }
    own.raw["apiVersion"] = json!(writer.api_version);
    own.set = set;
    entries.push(own);
    settle(&mut merged, entries, layout);
    Ok(merged)
}

fn take(entries: &mut Vec<Entry>, writer: &Writer<'_>, operation: &str) -> Entry {
    let found = entries.iter().position(|e| e.is_of(writer, operation));
    match found {
        Some(at) => entries.remove(at),
        None => Entry::new(writer, operation),
    }
}

fn entries(object: &Value) -> Vec<Entry> {
    let raw = object["metadata"]["managedFields"].as_array();
    let entries = raw.into_iter().flatten().map(|raw| Entry {
        set: FieldSet::from_json(&raw["fieldsV1"]),
        raw: raw.clone(),
    });
    entries.collect()
}

/// Keeps in each entry what the object has, and the entries that have anything.
fn settle(object: &mut Value, mut entries: Vec<Entry>, layout: &Layout<'_>) {
    let present = owned(object);
    for entry in &mut entries {
        entry.set.retain_present(&present, layout);
    }
    entries.retain(|entry| !entry.set.is_empty());
    store(object, entries);
}

fn store(object: &mut Value, mut entries: Vec<Entry>) {
    entries.sort_by_key(|entry| {
        let text = |field: &str| entry.raw[field].as_str().unwrap_or_default().to_owned();
        (text("operation"), text("manager"), text("subresource"))
    });
    let metadata = meta::of_mut(object);
    if entries.is_empty() {
        metadata.remove("managedFields");
        return;
    }
    let raw = entries.into_iter().map(|entry| {
        let mut raw = entry.raw;
        raw["fieldsV1"] = entry.set.to_json();
        raw
    });
    metadata.insert("managedFields".to_owned(), raw.collect());
}

/// The part of an object that managers can own.
fn owned(object: &Value) -> Value {
    let mut object = object.clone();
    let fields = meta::as_map(&mut object);
    fields.remove("apiVersion");
    fields.remove("kind");
    if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
        metadata.retain(|field, _| !UNOWNED.contains(&field.as_str()));
        if metadata.is_empty() {
            fields.remove("metadata");
        }
    }
    object
}
