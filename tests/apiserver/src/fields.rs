//! Sets of fields as `managedFields` keeps them (`FieldsV1`), and what they do to values.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::layout::{Layout, ListType};

/// Which fields of an object: a tree by path elements, each as `FieldsV1` spells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FieldSet {
    /// Whether the place itself is in the set, beside what is below it.
    is_member: bool,
    below: BTreeMap<String, Self>,
}

impl FieldSet {
    pub(crate) fn is_empty(&self) -> bool {
        !self.is_member && self.below.is_empty()
    }

    /// The fields that a value sets.
    pub(crate) fn of(value: &Value, layout: &Layout<'_>) -> Self {
        let mut set = Self::default();
        match value {
            Value::Object(fields) if !layout.is_atomic_map() && !fields.is_empty() => {
                for (name, value) in fields {
                    set.below
                        .insert(format!("f:{name}"), Self::of(value, &layout.field(name)));
                }
            }
            Value::Array(items) if layout.list_type() != ListType::Atomic && !items.is_empty() => {
                let list_type = layout.list_type();
                for item in items {
                    let mut below = Self::of(item, &layout.item());
                    below.is_member = true;
                    set.below.insert(element(item, &list_type), below);
                }
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => set.is_member = true,
        }
        set
    }

    /// The fields in which two values differ.
    pub(crate) fn between(
        before: Option<&Value>,
        after: Option<&Value>,
        layout: &Layout<'_>,
    ) -> Self {
        match (before, after) {
            (Some(before), Some(after)) if before == after => Self::default(),
            (Some(Value::Object(before)), Some(Value::Object(after)))
                if !layout.is_atomic_map() && !before.is_empty() && !after.is_empty() =>
            {
                let mut set = Self::default();
                for name in before.keys().chain(after.keys()) {
                    let below =
                        Self::between(before.get(name), after.get(name), &layout.field(name));
                    if !below.is_empty() {
                        set.below.insert(format!("f:{name}"), below);
                    }
                }
                set
            }
            (Some(Value::Array(before)), Some(Value::Array(after)))
                if layout.list_type() != ListType::Atomic =>
            {
                let list_type = layout.list_type();
                let (before, after) = (
                    by_element(before, &list_type),
                    by_element(after, &list_type),
                );
                let mut set = Self::default();
                for key in before.keys().chain(after.keys()) {
                    let (old, new) = (before.get(key).copied(), after.get(key).copied());
                    let below = Self::between(old, new, &layout.item());
                    if !below.is_empty() {
                        set.below.insert(key.clone(), below);
                    }
                }
                set
            }
            (_, Some(after)) => {
                let mut set = Self::of(after, layout);
                if let Some(before) = before {
                    set.add(&Self::of(before, layout));
                }
                set
            }
            (Some(before), None) => Self::of(before, layout),
            (None, None) => Self::default(),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.is_member |= other.is_member;
        for (element, below) in &other.below {
            self.below.entry(element.clone()).or_default().add(below);
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.is_member &= !other.is_member;
        for (element, gone) in &other.below {
            if let Some(below) = self.below.get_mut(element) {
                below.subtract(gone);
                if below.is_empty() {
                    self.below.remove(element);
                }
            }
        }
    }

    /// Drops the places at or below which another set has anything.
    pub(crate) fn subtract_held(&mut self, other: &Self) {
        self.is_member &= other.is_empty();
        for (element, held) in &other.below {
            if let Some(below) = self.below.get_mut(element) {
                below.subtract_held(held);
                if below.is_empty() {
                    self.below.remove(element);
                }
            }
        }
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let mut set = Self {
            is_member: self.is_member && other.is_member,
            below: BTreeMap::new(),
        };
        for (element, below) in &self.below {
            let Some(theirs) = other.below.get(element) else {
                continue;
            };
            let both = below.intersection(theirs);
            if !both.is_empty() {
                set.below.insert(element.clone(), both);
            }
        }
        set
    }

    /// Drops what a value does not have.
    pub(crate) fn retain_present(&mut self, value: &Value, layout: &Layout<'_>) {
        let present = Self::of(value, layout);
        *self = self.within(&present);
    }

    /// The part of the set that exists in a present one; a member stays where the place has anything.
    fn within(&self, present: &Self) -> Self {
        let mut set = Self {
            is_member: self.is_member && !present.is_empty(),
            below: BTreeMap::new(),
        };
        for (element, below) in &self.below {
            let Some(there) = present.below.get(element) else {
                continue;
            };
            let kept = below.within(there);
            if !kept.is_empty() {
                set.below.insert(element.clone(), kept);
            }
        }
        set
    }

    /// Takes the set's fields out of a value, and the containers that are empty after it.
    pub(crate) fn remove_from(&self, value: &mut Value, layout: &Layout<'_>) {
        match value {
            Value::Object(fields) => {
                for (element, below) in &self.below {
                    let Some(name) = element.strip_prefix("f:") else {
                        continue;
                    };
                    let Some(field) = fields.get_mut(name) else {
                        continue;
                    };
                    below.remove_from(field, &layout.field(name));
                    if below.is_spent(field) {
                        fields.remove(name);
                    }
                }
            }
            Value::Array(items) => {
                let list_type = layout.list_type();
                items.retain_mut(|item| {
                    let Some(below) = self.below.get(&element(item, &list_type)) else {
                        return true;
                    };
                    below.remove_from(item, &layout.item());
                    !below.is_member
                });
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn is_spent(&self, value: &Value) -> bool {
        match value {
            Value::Object(fields) => fields.is_empty() || (self.is_member && self.below.is_empty()),
            Value::Array(items) => items.is_empty() || (self.is_member && self.below.is_empty()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => self.is_member,
        }
    }

    /// The paths in the set, for people.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, prefix: &str, paths: &mut Vec<String>) {
        if self.is_member && !prefix.is_empty() {
            paths.push(prefix.to_owned());
        }
        for (element, below) in &self.below {
            let path = match element.split_once(':') {
                Some(("f", name)) => format!("{prefix}.{name}"),
                Some((_, keys)) => format!("{prefix}[{keys}]"),
                None => format!("{prefix}.{element}"),
            };
            below.collect(&path, paths);
        }
    }

    /// As `fieldsV1`.
    pub(crate) fn to_json(&self) -> Value {
        let mut fields = Map::new();
        if self.is_member && !self.below.is_empty() {
            fields.insert(".".to_owned(), json!({}));
        }
        for (element, below) in &self.below {
            fields.insert(element.clone(), below.to_json());
        }
        Value::Object(fields)
    }

    /// Reads `fieldsV1`.
    pub(crate) fn from_json(value: &Value) -> Self {
        let mut set = Self::default();
        let Some(fields) = value.as_object() else {
            return set;
        };
        set.is_member = fields.is_empty() || fields.contains_key(".");
        for (element, below) in fields.iter().filter(|(element, _)| *element != ".") {
            set.below.insert(element.clone(), Self::from_json(below));
        }
        set
    }
}

/// How `FieldsV1` spells an item of a list.
fn element(item: &Value, list_type: &ListType) -> String {
    match list_type {
        ListType::Map(keys) => {
            // Kubernetes fills in the defaults of keys; of ours only a port's protocol has one.
            let keys: BTreeMap<&str, Value> = keys
                .iter()
                .map(|key| {
                    let given = item.get(key).cloned();
                    let default = || {
                        if key == "protocol" {
                            json!("TCP")
                        } else {
                            Value::Null
                        }
                    };
                    (key.as_str(), given.unwrap_or_else(default))
                })
                .collect();
            format!("k:{}", json!(keys))
        }
        ListType::Set | ListType::Atomic => format!("v:{item}"),
    }
}

fn by_element<'a>(items: &'a [Value], list_type: &ListType) -> BTreeMap<String, &'a Value> {
    items
        .iter()
        .map(|item| (element(item, list_type), item))
        .collect()
}

/// Lays an applied value over a live one.
pub(crate) fn overlay(live: &mut Value, applied: &Value, layout: &Layout<'_>) {
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) if !layout.is_atomic_map() => {
            for (name, value) in applied {
                match live.get_mut(name) {
                    Some(field) => overlay(field, value, &layout.field(name)),
                    None => {
                        live.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(live), Value::Array(applied)) if layout.list_type() != ListType::Atomic => {
            let list_type = layout.list_type();
            for item in applied {
                let key = element(item, &list_type);
                match live.iter_mut().find(|old| element(old, &list_type) == key) {
                    Some(old) => overlay(old, item, &layout.item()),
                    None => live.push(item.clone()),
                }
            }
        }
        (live, applied) => *live = applied.clone(),
    }
}
