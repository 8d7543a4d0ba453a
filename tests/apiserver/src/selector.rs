//! Label and field selectors.

use serde_json::{Map, Value};

use crate::{meta, refusal::Refusal};

/// What a list or a watch is restricted to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Debug, Clone)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

#[derive(Debug, Clone)]
struct FieldRequirement {
    path: Vec<String>,
    value: String,
    is_equal: bool,
}

impl Selector {
    pub(crate) fn parse(labels: &str, fields: &str) -> Result<Self, Refusal> {
        let labels = split(labels)
            .into_iter()
            .map(requirement)
            .collect::<Result<_, _>>()?;
        let fields = split(fields)
            .into_iter()
            .map(field_requirement)
            .collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = meta::labels(object);
        self.labels.iter().all(|one| one.matches(labels))
            && self.fields.iter().all(|one| one.matches(object))
    }
}

impl Requirement {
    fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        let value = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
        match self {
            Self::Exists(key) => value(key).is_some(),
            Self::Absent(key) => value(key).is_none(),
            Self::In(key, any) => value(key).is_some_and(|v| any.iter().any(|a| a == v)),
            Self::NotIn(key, any) => value(key).is_none_or(|v| any.iter().all(|a| a != v)),
        }
    }
}

impl FieldRequirement {
    fn matches(&self, object: &Value) -> bool {
        let found = self.path.iter().try_fold(object, |at, part| at.get(part));
        let text = match found {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        };
        (text == self.value) == self.is_equal
    }
}

/// Cuts at the commas that are outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let parts = text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect()
}

fn requirement(text: &str) -> Result<Requirement, Refusal> {
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Requirement::Absent(key.trim().to_owned()));
    }
    if let Some((key, values)) = set_of(text, " notin ") {
        return Ok(Requirement::NotIn(key, values));
    }
    if let Some((key, values)) = set_of(text, " in ") {
        return Ok(Requirement::In(key, values));
    }
    if let Some((key, value)) = text.split_once("!=") {
        let value = value.trim().to_owned();
        return Ok(Requirement::NotIn(key.trim().to_owned(), vec![value]));
    }
    if let Some((key, value)) = text.split_once('=') {
        let value = value.trim_start_matches('=').trim().to_owned();
        return Ok(Requirement::In(key.trim().to_owned(), vec![value]));
    }
    if text.contains(char::is_whitespace) {
        return Err(Refusal::bad_request(format!(
            "unable to parse requirement: {text}"
        )));
    }
    Ok(Requirement::Exists(text.to_owned()))
}

fn set_of(text: &str, word: &str) -> Option<(String, Vec<String>)> {
    let (key, set) = text.split_once(word)?;
    let set = set.trim().strip_prefix('(')?.strip_suffix(')')?;
    let values = set.split(',').map(|value| value.trim().to_owned());
    Some((key.trim().to_owned(), values.collect()))
}

fn field_requirement(text: &str) -> Result<FieldRequirement, Refusal> {
    let (path, value, is_equal) = if let Some((path, value)) = text.split_once("!=") {
        (path, value, false)
    } else if let Some((path, value)) = text.split_once('=') {
        (path, value.trim_start_matches('='), true)
    } else {
        return Err(Refusal::bad_request(format!(
            "invalid field selector: {text}"
        )));
    };
    Ok(FieldRequirement {
        path: path.trim().split('.').map(str::to_owned).collect(),
        value: value.trim().to_owned(),
        is_equal,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_are_selected_by_equality_sets_and_existence() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}});
        for (text, expected) in [
            ("app=web", true),
            ("app==web,tier!=back", true),
            ("app in (web, api),!missing", true),
            ("app notin (web,api)", false),
            ("missing", false),
            ("missing!=x", true),
            ("", true),
        ] {
            let selector = Selector::parse(text, "").unwrap();
            assert_eq!(selector.matches(&object), expected, "{text}");
        }
    }

    #[test]
    fn fields_are_selected_by_their_path() {
        let object = json!({"metadata": {"name": "web"}, "spec": {"nodeName": "n1"}});
        for (text, expected) in [
            ("metadata.name=web", true),
            ("spec.nodeName!=n1", false),
            ("status.phase=", true),
        ] {
            let selector = Selector::parse("", text).unwrap();
            assert_eq!(selector.matches(&object), expected, "{text}");
        }
    }
}
