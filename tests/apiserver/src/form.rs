//! The form of an answer: whole objects, their metadata alone, or a table for people.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{kind::Kind, meta};

/// What the `Accept` header asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    Metadata,
    Table,
}

impl Form {
    pub(crate) fn of_accept(accept: &str) -> Self {
        for choice in accept.split(',') {
            let has = |part: &str| choice.split(';').any(|p| p.trim() == part);
            if has("as=Table") && has("v=v1") {
                return Self::Table;
            }
            if has("as=PartialObjectMetadataList") || has("as=PartialObjectMetadata") {
                return Self::Metadata;
            }
            if choice.trim() == "application/json" || choice.trim() == "*/*" {
                return Self::Whole;
            }
        }
        Self::Whole
    }

    /// One object in this form.
    pub(crate) fn object(self, object: Value, kind: &Kind, version: &str, now: Timestamp) -> Value {
        match self {
            Self::Whole => object,
            Self::Metadata => metadata_of(&object),
            Self::Table => table(&[object], json!({}), kind, version, now),
        }
    }

    /// A list in this form.
    pub(crate) fn list(self, mut list: Value, kind: &Kind, version: &str, now: Timestamp) -> Value {
        match self {
            Self::Whole => list,
            Self::Metadata => {
                list["kind"] = json!("PartialObjectMetadataList");
                list["apiVersion"] = json!("meta.k8s.io/v1");
                for item in list["items"].as_array_mut().into_iter().flatten() {
                    *item = metadata_of(item);
                }
                list
            }
            Self::Table => {
                let items = list["items"].as_array().cloned().unwrap_or_default();
                table(&items, list["metadata"].take(), kind, version, now)
            }
        }
    }
}

fn metadata_of(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn table(items: &[Value], metadata: Value, kind: &Kind, version: &str, now: Timestamp) -> Value {
    let columns = kind
        .columns
        .get(version)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let own_age = columns
        .iter()
        .any(|column| column["jsonPath"] == ".metadata.creationTimestamp");
    let definition = |name: &str, kind: &str| json!({"name": name, "type": kind, "format": "", "description": "", "priority": 0});
    let mut definitions = vec![definition("Name", "string")];
    definitions.extend(columns.iter().map(|column| {
        json!({"name": column["name"], "type": column["type"], "format": "",
            "description": column["description"].as_str().unwrap_or_default(),
            "priority": column["priority"].as_u64().unwrap_or_default()})
    }));
    if !own_age {
        definitions.push(definition("Age", "string"));
    }
    let rows = items.iter().map(|item| {
        let mut cells = vec![item["metadata"]["name"].clone()];
        cells.extend(columns.iter().map(|column| cell(item, column, now)));
        if !own_age {
            cells.push(age(&item["metadata"]["creationTimestamp"], now));
        }
        json!({"cells": cells, "object": metadata_of(item)})
    });
    let rows: Vec<Value> = rows.collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions, "rows": rows})
}

fn cell(item: &Value, column: &Value, now: Timestamp) -> Value {
    let found = at_path(item, column["jsonPath"].as_str().unwrap_or_default());
    match found {
        Some(value) if column["type"] == "date" => age(value, now),
        Some(value) if column["type"] == "string" => match value {
            Value::String(_) => value.clone(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => {
                json!(value.to_string())
            }
        },
        Some(value) => value.clone(),
        None => Value::Null,
    }
}

/// Follows the part of JSONPath that printer columns use: fields, and items by an equal field.
fn at_path<'a>(item: &'a Value, path: &str) -> Option<&'a Value> {
    let mut at = item;
    let mut rest = path.trim_start_matches('.');
    while !rest.is_empty() {
        if let Some(filter) = rest.strip_prefix("[?(@.") {
            let (filter, after) = filter.split_once(")]")?;
            let (field, value) = filter.split_once("==")?;
            let value = value.trim().trim_matches(|c| c == '"' || c == '\'');
            at = at
                .as_array()?
                .iter()
                .find(|item| item[field.trim()] == value)?;
            rest = after.trim_start_matches('.');
            continue;
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        at = at.get(&rest[..end])?;
        rest = rest[end..].trim_start_matches('.');
    }
    Some(at)
}

fn age(time: &Value, now: Timestamp) -> Value {
    let Some(since) = time
        .as_str()
        .and_then(|text| text.parse::<Timestamp>().ok())
    else {
        return json!("<unknown>");
    };
    let seconds = now.as_second().saturating_sub(since.as_second()).max(0);
    let text = match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    };
    json!(text)
}

/// The name that a status or event gives an object.
pub(crate) fn success(name: &str, kind: &Kind, object: &Value) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": name, "group": kind.resource.group, "kind": kind.resource.plural,
            "uid": meta::uid(object)}})
}
