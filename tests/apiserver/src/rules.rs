//! The rules that a custom kind's schema states in CEL (`x-kubernetes-validations`).

use std::sync::Arc;

use cel::{Context, Program, objects::Value as CelValue};
use serde_json::Value;

use crate::refusal::Cause;

/// Checks the rules of a schema and of all below it.
///
/// `before` is the value that is replaced; a rule on `oldSelf` only counts where there is one.
pub(crate) fn check(
    value: &Value,
    before: Option<&Value>,
    schema: &Value,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let text = rule["rule"].as_str().unwrap_or_default();
        if let Err(message) = holds(text, value, before) {
            let message = message.or_else(|| rule["message"].as_str().map(str::to_owned));
            let message = message.unwrap_or_else(|| format!("failed rule: {text}"));
            causes.push(Cause::invalid(path, &shown(value), &message));
        }
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let known = schema.get("properties").and_then(|all| all.get(name));
                let Some(schema) = known.or_else(|| schema.get("additionalProperties")) else {
                    continue;
                };
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                let before = before.and_then(|before| before.get(name));
                check(field, before, schema, &path, causes);
            }
        }
        Value::Array(items) => {
            if let Some(each) = schema.get("items") {
                for (i, item) in items.iter().enumerate() {
                    check(item, None, each, &format!("{path}[{i}]"), causes);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether a text is a rule; the error tells where it is not.
pub(crate) fn parse(rule: &str) -> Result<(), String> {
    Program::compile(rule)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Whether a rule holds; the error is the message to give, or `None` for the rule's own.
fn holds(rule: &str, value: &Value, before: Option<&Value>) -> Result<(), Option<String>> {
    let program = Program::compile(rule).map_err(|error| Some(format!("rule error: {error}")))?;
    let uses_before = program.references().variables().contains(&"oldSelf");
    if uses_before && before.is_none() {
        return Ok(());
    }
    let mut context = Context::default();
    context.add_variable_from_value("self", cel_value(value));
    if let Some(before) = before {
        context.add_variable_from_value("oldSelf", cel_value(before));
    }
    match program.execute(&context) {
        Ok(CelValue::Bool(true)) => Ok(()),
        Ok(CelValue::Bool(false)) => Err(None),
        Ok(other) => Err(Some(format!("rule gave no boolean but {other:?}"))),
        Err(error) => Err(Some(format!("rule error: {error}"))),
    }
}

fn cel_value(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(flag) => CelValue::Bool(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(number) => CelValue::Int(number),
            None => CelValue::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => CelValue::String(Arc::new(text.clone())),
        Value::Array(items) => CelValue::List(Arc::new(items.iter().map(cel_value).collect())),
        Value::Object(fields) => {
            let fields: std::collections::HashMap<String, CelValue> = fields
                .iter()
                .map(|(name, field)| (name.clone(), cel_value(field)))
                .collect();
            CelValue::Map(fields.into())
        }
    }
}

/// Objects are shown by their kind only, as Kubernetes does.
fn shown(value: &Value) -> Value {
    match value {
        Value::Object(_) => Value::String("object".to_owned()),
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            value.clone()
        }
    }
}
