//! Custom kinds: a CustomResourceDefinition makes one, and its deletion ends it with all its objects.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Api;
use crate::{
    kind::{Generation, GroupResource, Kind},
    meta,
    refusal::{Cause, Refusal},
    rules,
};

/// Checks a definition and says in its status that it is established.
pub(super) fn admit(object: &mut Value, causes: &mut Vec<Cause>, now: Timestamp) {
    let names = object["spec"]["names"].clone();
    let group = object["spec"]["group"].as_str().unwrap_or_default();
    let expected = format!("{}.{group}", names["plural"].as_str().unwrap_or_default());
    let name = meta::name(object).unwrap_or_default();
    if name != expected {
        let message = "must be spec.names.plural+\".\"+spec.group";
        causes.push(Cause::invalid("metadata.name", &json!(name), message));
    }
    let versions = object["spec"]["versions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let stored: Vec<&Value> = versions
        .iter()
        .filter(|version| version["storage"] == true)
        .map(|version| &version["name"])
        .collect();
    if stored.len() != 1 {
        let message = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid(
            "spec.versions",
            &json!(stored.len()),
            message,
        ));
    }
    for (i, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{i}].schema.openAPIV3Schema");
        let schema = &version["schema"]["openAPIV3Schema"];
        if schema.is_null() {
            causes.push(Cause::required(&path));
        }
        check_schema(schema, &path, causes);
    }
    let status = meta::as_map(object)
        .entry("status")
        .or_insert_with(|| json!({}));
    meta::as_map(status);
    if status["conditions"].is_null() {
        let condition = |kind: &str, reason: &str| {
            json!({"type": kind, "status": "True", "reason": reason, "message": "",
                "lastTransitionTime": meta::time_text(now)})
        };
        status["conditions"] = json!([
            condition("NamesAccepted", "NoConflicts"),
            condition("Established", "InitialNamesAccepted"),
        ]);
    }
    status["acceptedNames"] = names;
    status["storedVersions"] = json!(stored);
}

/// A structural schema has a type everywhere, and rules that can be read.
fn check_schema(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let has_type = schema.get("type").is_some()
        || schema["x-kubernetes-int-or-string"] == true
        || schema["x-kubernetes-preserve-unknown-fields"] == true;
    if schema.is_object() && !has_type {
        causes.push(Cause::required(&format!("{path}.type")));
    }
    for (i, rule) in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let text = rule["rule"].as_str().unwrap_or_default();
        if let Err(error) = rules::parse(text) {
            let field = format!("{path}.x-kubernetes-validations[{i}].rule");
            causes.push(Cause::invalid(&field, &json!(text), &error));
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        check_schema(property, &format!("{path}.properties[{name}]"), causes);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(schema) = schema.get(below).filter(|schema| schema.is_object()) {
            check_schema(schema, &format!("{path}.{below}"), causes);
        }
    }
}

impl Api {
    /// Serves the kind that a definition defines.
    pub(super) fn note_kind(&mut self, kind: &Kind, object: &Value) -> Result<(), Refusal> {
        if kind.kind == "CustomResourceDefinition" {
            let defined = defined(object)
                .ok_or_else(|| Refusal::bad_request("the definition has no names or versions"))?;
            self.kinds
                .insert(defined.resource.clone(), Arc::new(defined));
        }
        Ok(())
    }

    /// Ends the kind that a deleted definition defined.
    pub(super) fn forget_kind(&mut self, kind: &Kind, object: &Value) {
        if kind.kind != "CustomResourceDefinition" {
            return;
        }
        let Some(defined) = defined(object) else {
            return;
        };
        let objects: Vec<_> = self
            .store
            .list(&defined.resource, None)
            .map(|(name, _)| name.clone())
            .collect();
        for name in objects {
            self.erase(&name);
        }
        self.kinds.remove(&defined.resource);
        // Watches notice that their kind is gone when the revision moves.
        self.store.skip_revision();
    }
}

fn defined(object: &Value) -> Option<Kind> {
    let spec = &object["spec"];
    let names = &spec["names"];
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut versions = Vec::new();
    let mut storage = None;
    let mut schemas = BTreeMap::new();
    let mut columns = BTreeMap::new();
    let mut has_status = false;
    for version in spec["versions"].as_array()? {
        let name = version["name"].as_str()?.to_owned();
        if version["served"] == true {
            versions.push(name.clone());
        }
        if version["storage"] == true {
            storage = Some(name.clone());
        }
        has_status |= version["subresources"]["status"].is_object();
        schemas.insert(name.clone(), version["schema"]["openAPIV3Schema"].clone());
        let given = version["additionalPrinterColumns"].as_array();
        columns.insert(name, given.cloned().unwrap_or_default());
    }
    // Clients prefer v1 to v1beta1 to v1alpha1.
    versions.sort_by_key(|version| {
        let rank = (!version.contains("alpha"), !version.contains("beta"));
        std::cmp::Reverse((rank, version.clone()))
    });
    Some(Kind {
        resource: GroupResource::new(spec["group"].as_str()?, names["plural"].as_str()?),
        kind: names["kind"].as_str()?.to_owned(),
        singular: names["singular"].as_str().unwrap_or_default().to_owned(),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        has_status,
        generation: Generation::Counted,
        versions,
        storage: storage?,
        schemas,
        columns,
    })
}
