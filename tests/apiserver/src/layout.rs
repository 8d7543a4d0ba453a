//! How lists and maps of a kind merge: as one value, as a set, or item by item under keys.

use serde_json::Value;

/// How a list merges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListType {
    /// As one value.
    Atomic,
    /// Each scalar is an item.
    Set,
    /// Each item is known by these of its fields.
    Map(Vec<String>),
}

/// The lists of built-in kinds that merge item by item, by path, `[]` being an item.
const KEYED: [(&str, &str, &[&str]); 9] = [
    ("", "metadata.ownerReferences", &["uid"]),
    ("", "status.conditions", &["type"]),
    ("Service", "spec.ports", &["port", "protocol"]),
    ("Pod", "spec.containers", &["name"]),
    ("Pod", "spec.volumes", &["name"]),
    ("Pod", "status.podIPs", &["ip"]),
    ("Node", "status.addresses", &["type"]),
    ("Node", "spec.taints", &["key", "effect"]),
    ("Pod", "spec.initContainers", &["name"]),
];

/// The lists of built-in kinds that are sets.
const SETS: [&str; 2] = ["metadata.finalizers", "spec.podCIDRs"];

/// The maps of built-in kinds that merge as one value.
const ATOMIC_MAPS: [(&str, &str); 1] = [("Service", "spec.selector")];

/// A place in the objects of a kind.
#[derive(Debug, Clone)]
pub(crate) struct Layout<'a> {
    kind: &'a str,
    path: String,
    schema: Option<&'a Value>,
}

impl<'a> Layout<'a> {
    pub(crate) fn new(kind: &'a str, schema: Option<&'a Value>) -> Self {
        Self {
            kind,
            path: String::new(),
            schema,
        }
    }

    pub(crate) fn field(&self, name: &str) -> Self {
        let schema = self.schema.and_then(|schema| {
            let property = schema.get("properties").and_then(|all| all.get(name));
            property.or_else(|| schema.get("additionalProperties"))
        });
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        };
        Self {
            kind: self.kind,
            path,
            schema,
        }
    }

    pub(crate) fn item(&self) -> Self {
        Self {
            kind: self.kind,
            path: format!("{}[]", self.path),
            schema: self.schema.and_then(|schema| schema.get("items")),
        }
    }

    pub(crate) fn list_type(&self) -> ListType {
        if let Some(schema) = self.schema {
            match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
                Some("set") => return ListType::Set,
                Some("map") => return ListType::Map(keys(schema)),
                Some(_) | None => {}
            }
        }
        let is_ours = |kind: &str| kind.is_empty() || kind == self.kind;
        let keyed = KEYED
            .iter()
            .find(|(kind, path, _)| is_ours(kind) && *path == self.path);
        match keyed {
            // A custom kind's schema has the last word on what is outside of metadata.
            Some((_, path, keys)) if self.schema.is_none() || path.starts_with("metadata") => {
                ListType::Map(keys.iter().map(|&key| key.to_owned()).collect())
            }
            Some(_) => ListType::Atomic,
            None if SETS.contains(&self.path.as_str()) => ListType::Set,
            None => ListType::Atomic,
        }
    }

    pub(crate) fn is_atomic_map(&self) -> bool {
        let by_schema = self
            .schema
            .and_then(|schema| schema.get("x-kubernetes-map-type"))
            .is_some_and(|kind| kind == "atomic");
        by_schema || ATOMIC_MAPS.contains(&(self.kind, self.path.as_str()))
    }
}

fn keys(schema: &Value) -> Vec<String> {
    let keys = schema["x-kubernetes-list-map-keys"].as_array();
    let texts = keys.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}
