//! Structural schemas of custom kinds: fills in defaults, prunes unknown fields, and checks what is given.

use std::net::{Ipv4Addr, Ipv6Addr};

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::{meta, refusal::Cause, rules};

const EMBEDDED: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Fills in defaults of fields that are not set.
pub(crate) fn fill_defaults(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(fields) => {
            for (name, property) in properties(schema) {
                if let Some(default) = property.get("default")
                    && fields.get(name).is_none_or(Value::is_null)
                {
                    fields.insert(name.clone(), default.clone());
                }
                if let Some(field) = fields.get_mut(name) {
                    fill_defaults(field, property);
                }
            }
            if let Some(every) = schema.get("additionalProperties") {
                fields
                    .values_mut()
                    .for_each(|field| fill_defaults(field, every));
            }
        }
        Value::Array(items) => {
            if let Some(each) = schema.get("items") {
                items.iter_mut().for_each(|item| fill_defaults(item, each));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Takes out the fields that the schema does not have, and returns their paths.
pub(crate) fn prune(value: &mut Value, schema: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    prune_at(value, schema, "", &mut unknown);
    unknown
}

fn prune_at(value: &mut Value, schema: &Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let keeps_all = schema["x-kubernetes-preserve-unknown-fields"] == true;
            let known = schema.get("properties").and_then(Value::as_object);
            let every = schema
                .get("additionalProperties")
                .filter(|every| every.is_object());
            let is_root = path.is_empty();
            fields.retain(|name, field| {
                let path = if is_root {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                if is_root && EMBEDDED.contains(&name.as_str()) {
                    return true;
                }
                match known.and_then(|known| known.get(name)).or(every) {
                    Some(schema) => prune_at(field, schema, &path, unknown),
                    None if keeps_all => {}
                    None => {
                        unknown.push(path);
                        return false;
                    }
                }
                true
            });
        }
        Value::Array(items) => {
            if let Some(each) = schema.get("items") {
                for (i, item) in items.iter_mut().enumerate() {
                    prune_at(item, each, &format!("{path}[{i}]"), unknown);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What is wrong with an object by its schema and the schema's rules.
pub(crate) fn check(object: &Value, before: Option<&Value>, schema: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    check_at(object, schema, "", &mut causes);
    // Rules assume values of the right types.
    if causes.is_empty() {
        rules::check(object, before, schema, "", &mut causes);
    }
    causes
}

fn check_at(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    if let Some(expected) = wrong_type(value, schema) {
        let message = format!("{path} in body must be of type {expected}");
        causes.push(Cause::invalid(path, value, &message));
        return;
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let texts: Vec<String> = allowed.iter().map(Value::to_string).collect();
        causes.push(Cause {
            field: path.to_owned(),
            reason: "FieldValueNotSupported",
            message: format!(
                "Unsupported value: {value}: supported values: {}",
                texts.join(", ")
            ),
        });
    }
    match value {
        Value::Object(fields) => check_object(fields, schema, path, causes),
        Value::Array(items) => check_list(items, value, schema, path, causes),
        Value::String(text) => check_text(text, value, schema, path, causes),
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            if schema["minimum"].as_f64().is_some_and(|min| number < min) {
                let message = format!("should be greater than or equal to {}", schema["minimum"]);
                causes.push(Cause::invalid(path, value, &message));
            }
            if schema["maximum"].as_f64().is_some_and(|max| number > max) {
                let message = format!("should be less than or equal to {}", schema["maximum"]);
                causes.push(Cause::invalid(path, value, &message));
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn wrong_type<'a>(value: &Value, schema: &'a Value) -> Option<&'a str> {
    if schema["x-kubernetes-int-or-string"] == true {
        return (!value.is_i64() && !value.is_string()).then_some("integer or string");
    }
    let expected = schema.get("type")?.as_str()?;
    let is_right = match expected {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    };
    (!is_right).then_some(expected)
}

fn check_object(fields: &Map<String, Value>, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        if !fields.contains_key(name) {
            causes.push(Cause::required(&below(name)));
        }
    }
    check_count(
        fields.len(),
        schema,
        ("minProperties", "maxProperties"),
        path,
        causes,
    );
    for (name, field) in fields {
        let known = schema.get("properties").and_then(|all| all.get(name));
        let schema = known.or_else(|| schema.get("additionalProperties"));
        let is_embedded = path.is_empty() && EMBEDDED.contains(&name.as_str());
        if let Some(schema) = schema.filter(|schema| schema.is_object() && !is_embedded) {
            check_at(field, schema, &below(name), causes);
        }
    }
}

fn check_list(items: &[Value], value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    check_count(items.len(), schema, ("minItems", "maxItems"), path, causes);
    if let Some(each) = schema.get("items") {
        for (i, item) in items.iter().enumerate() {
            check_at(item, each, &format!("{path}[{i}]"), causes);
        }
    }
    let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let list_type = schema["x-kubernetes-list-type"]
        .as_str()
        .unwrap_or_default();
    if !matches!(list_type, "set" | "map") {
        return;
    }
    let identity = |item: &Value| -> Vec<Value> {
        if list_type == "set" {
            vec![item.clone()]
        } else {
            keys.iter().map(|key| item[*key].clone()).collect()
        }
    };
    for (i, item) in items.iter().enumerate() {
        if items[..i]
            .iter()
            .any(|other| identity(other) == identity(item))
        {
            causes.push(Cause {
                field: format!("{path}[{i}]"),
                reason: "FieldValueDuplicate",
                message: format!(
                    "Duplicate value: {}",
                    if keys.is_empty() { item } else { value }
                ),
            });
        }
    }
}

fn check_count(
    count: usize,
    schema: &Value,
    (min, max): (&str, &str),
    path: &str,
    causes: &mut Vec<Cause>,
) {
    let count = count as u64;
    if let Some(max) = schema[max].as_u64().filter(|max| count > *max) {
        causes.push(Cause {
            field: path.to_owned(),
            reason: "FieldValueTooMany",
            message: format!("Too many: {count}: must have at most {max} items"),
        });
    }
    if let Some(min) = schema[min].as_u64().filter(|min| count < *min) {
        let message = format!("should have at least {min} items");
        causes.push(Cause::invalid(path, &json!(count), &message));
    }
}

fn check_text(text: &str, value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let length = text.chars().count() as u64;
    if let Some(max) = schema["maxLength"].as_u64().filter(|max| length > *max) {
        causes.push(Cause {
            field: path.to_owned(),
            reason: "FieldValueTooLong",
            message: format!("Too long: may not be more than {max} bytes"),
        });
    }
    if let Some(min) = schema["minLength"].as_u64().filter(|min| length < *min) {
        let message = format!("should be at least {min} chars long");
        causes.push(Cause::invalid(path, value, &message));
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && !Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
    {
        let message = format!("should match '{pattern}'");
        causes.push(Cause::invalid(path, value, &message));
    }
    if let Some(format) = schema["format"].as_str()
        && !has_format(text, format)
    {
        let message = format!("{path} in body must be of type {format}: {value}");
        causes.push(Cause::invalid(path, value, &message));
    }
}

fn has_format(text: &str, format: &str) -> bool {
    match format {
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => text.split_once('/').is_some_and(|(address, length)| {
            let length = length.parse::<u8>().unwrap_or(u8::MAX);
            (address.parse::<Ipv4Addr>().is_ok() && length <= 32)
                || (address.parse::<Ipv6Addr>().is_ok() && length <= 128)
        }),
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "hostname" => meta::is_subdomain(text),
        _ => true,
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}
