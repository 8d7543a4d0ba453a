//! Patches that carry their own rules: JSON merge patch (RFC 7386), JSON patch (RFC 6902) and strategic merge patch.

use serde_json::Value;

use crate::{
    layout::{Layout, ListType},
    meta,
    refusal::Refusal,
};

/// Merges a JSON merge patch into a value.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    let fields = meta::as_map(target);
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Merges a strategic merge patch: as above, but keyed lists merge item by item.
pub(crate) fn strategic(target: &mut Value, patch: &Value, layout: &Layout<'_>) {
    match patch {
        Value::Object(patch) => {
            let fields = meta::as_map(target);
            for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
                if value.is_null() {
                    fields.remove(name);
                } else {
                    let field = fields.entry(name.clone()).or_insert(Value::Null);
                    strategic(field, value, &layout.field(name));
                }
            }
        }
        Value::Array(items) => strategic_list(target, items, layout),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            *target = patch.clone();
        }
    }
}

fn strategic_list(target: &mut Value, items: &[Value], layout: &Layout<'_>) {
    let (Value::Array(live), ListType::Map(keys)) = (&mut *target, layout.list_type()) else {
        *target = Value::Array(items.to_vec());
        return;
    };
    // The first key is the patch's merge key, whatever else tells the items apart.
    let Some(key) = keys.first() else {
        return;
    };
    for item in items {
        let at = live.iter().position(|old| old.get(key) == item.get(key));
        let is_deletion = item.get("$patch").is_some_and(|patch| patch == "delete");
        match at {
            Some(at) if is_deletion => {
                live.remove(at);
            }
            Some(at) => strategic(&mut live[at], item, &layout.item()),
            None if is_deletion => {}
            None => live.push(item.clone()),
        }
    }
}

/// Carries out a JSON patch's operations, all or none.
pub(crate) fn json(target: &mut Value, operations: &Value) -> Result<(), Refusal> {
    let mut result = target.clone();
    let operations = operations
        .as_array()
        .ok_or_else(|| Refusal::bad_request("a JSON patch is a list of operations"))?;
    for operation in operations {
        step(&mut result, operation)
            .ok_or_else(|| Refusal::bad_request(format!("operation {operation} does not apply")))?;
    }
    *target = result;
    Ok(())
}

fn step(target: &mut Value, operation: &Value) -> Option<()> {
    let path = operation["path"].as_str()?;
    match operation["op"].as_str()? {
        "add" => insert(target, path, operation.get("value")?.clone()),
        "remove" => remove(target, path).map(drop),
        "replace" => {
            *target.pointer_mut(path)? = operation.get("value")?.clone();
            Some(())
        }
        "test" => (target.pointer(path)? == operation.get("value")?).then_some(()),
        "copy" => {
            let value = target.pointer(operation["from"].as_str()?)?.clone();
            insert(target, path, value)
        }
        "move" => {
            let value = remove(target, operation["from"].as_str()?)?;
            insert(target, path, value)
        }
        _ => None,
    }
}

fn insert(target: &mut Value, path: &str, value: Value) -> Option<()> {
    let (parent, last) = path.rsplit_once('/')?;
    let last = last.replace("~1", "/").replace("~0", "~");
    match target.pointer_mut(parent)? {
        Value::Object(fields) => {
            fields.insert(last, value);
        }
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            let at: usize = last.parse().ok()?;
            if at > items.len() {
                return None;
            }
            items.insert(at, value);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    }
    Some(())
}

fn remove(target: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = path.rsplit_once('/')?;
    let last = last.replace("~1", "/").replace("~0", "~");
    match target.pointer_mut(parent)? {
        Value::Object(fields) => fields.remove(&last),
        Value::Array(items) => {
            let at: usize = last.parse().ok()?;
            (at < items.len()).then(|| items.remove(at))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}
