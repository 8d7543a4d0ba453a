//! What every object has: reading and setting parts of `metadata`, and names that Kubernetes takes.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The longest name of an object.
const MAX_NAME: usize = 253;

pub(crate) fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object.get("metadata")?.get(field)?.as_str()
}

pub(crate) fn name(object: &Value) -> Option<&str> {
    text(object, "name").filter(|name| !name.is_empty())
}

pub(crate) fn uid(object: &Value) -> String {
    text(object, "uid").unwrap_or_default().to_owned()
}

pub(crate) fn is_deleting(object: &Value) -> bool {
    text(object, "deletionTimestamp").is_some()
}

pub(crate) fn has_finalizers(object: &Value) -> bool {
    let finalizers = object["metadata"]["finalizers"].as_array();
    finalizers.is_some_and(|list| !list.is_empty())
}

pub(crate) fn owner_uids(object: &Value) -> Vec<String> {
    let owners = object["metadata"]["ownerReferences"].as_array();
    let uids = owners.into_iter().flatten().map(|owner| &owner["uid"]);
    uids.filter_map(Value::as_str).map(str::to_owned).collect()
}

pub(crate) fn labels(object: &Value) -> Option<&Map<String, Value>> {
    object["metadata"]["labels"].as_object()
}

/// The time as objects have it, in whole seconds.
pub(crate) fn time_text(now: Timestamp) -> Value {
    json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// The `metadata` of an object, which must be one or becomes one.
pub(crate) fn of_mut(object: &mut Value) -> &mut Map<String, Value> {
    let fields = as_map(object);
    as_map(fields.entry("metadata").or_insert_with(|| json!({})))
}

/// The fields of a value, which becomes an object if it is none.
pub(crate) fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            unreachable!("it has just been made an object")
        }
    }
}

/// Whether a text is an RFC 1123 subdomain.
pub(crate) fn is_subdomain(name: &str) -> bool {
    name.len() <= MAX_NAME && name.split('.').all(|label| is_label(label, MAX_NAME))
}

/// Whether a text is a DNS label of at most so many bytes.
pub(crate) fn is_label(name: &str, max: usize) -> bool {
    let is_outer = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.len() <= max
        && bytes.first().copied().is_some_and(is_outer)
        && bytes.last().copied().is_some_and(is_outer)
        && bytes.iter().all(|&c| is_outer(c) || c == b'-')
}
