//! Whether a new object is named and placed as it may be, and what the server itself gives it.

use serde_json::{Value, json};

use crate::{
    api::{Api, Target, WriteOptions},
    kind::Generation,
    meta,
    refusal::{Cause, Refusal},
    store::ObjectName,
};

impl Api {
    pub(super) fn name_for(
        &mut self,
        target: &Target,
        object: &mut Value,
    ) -> Result<String, Refusal> {
        let kind = &target.kind;
        check_kind(target, object)?;
        if let Some(namespace) = meta::text(object, "namespace")
            && target.namespace.as_deref() != Some(namespace)
        {
            return Err(Refusal::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let name = match (meta::name(object), meta::text(object, "generateName")) {
            (Some(name), _) => name.to_owned(),
            (None, Some(prefix)) => {
                self.uids += 1;
                format!("{prefix}{:05x}", self.uids)
            }
            (None, None) => {
                let cause = Cause {
                    field: "metadata.name".to_owned(),
                    reason: "FieldValueRequired",
                    message: "Required value: name or generateName is required".to_owned(),
                };
                return Err(Refusal::invalid(kind, "", &[cause]));
            }
        };
        let is_valid = match (kind.resource.group.as_str(), kind.kind.as_str()) {
            ("", "Service" | "Namespace") => meta::is_label(&name, 63),
            _ => meta::is_subdomain(&name),
        };
        if !is_valid {
            let message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'";
            let cause = Cause::invalid("metadata.name", &json!(name), message);
            return Err(Refusal::invalid(kind, &name, &[cause]));
        }
        Ok(name)
    }

    pub(super) fn check_namespace(&self, target: &Target) -> Result<(), Refusal> {
        let (true, Some(namespace)) = (target.kind.namespaced, &target.namespace) else {
            return Ok(());
        };
        let Some(namespaces) = self.kind("", "v1", "namespaces") else {
            return Ok(());
        };
        let name = ObjectName {
            resource: namespaces.resource.clone(),
            namespace: String::new(),
            name: namespace.clone(),
        };
        match self.store.get(&name) {
            Some(_) => Ok(()),
            None => Err(Refusal::not_found(&namespaces, namespace)),
        }
    }

    /// Gives a new object what the server gives.
    pub(super) fn stamp(
        &mut self,
        target: &Target,
        object: &mut Value,
        name: &str,
        options: &WriteOptions,
    ) {
        let uid = self.next_uid();
        let metadata = meta::of_mut(object);
        for field in [
            "resourceVersion",
            "deletionTimestamp",
            "managedFields",
            "selfLink",
        ] {
            metadata.remove(field);
        }
        metadata.insert("name".to_owned(), json!(name));
        metadata.insert("uid".to_owned(), json!(uid));
        metadata.insert("creationTimestamp".to_owned(), meta::time_text(options.now));
        match target.kind.generation {
            Generation::Counted => metadata.insert("generation".to_owned(), json!(1)),
            Generation::Without => metadata.remove("generation"),
        };
        if let Some(namespace) = &target.namespace {
            metadata.insert("namespace".to_owned(), json!(namespace));
        }
    }
}

/// A body may leave its kind out, but not name another one.
fn check_kind(target: &Target, object: &Value) -> Result<(), Refusal> {
    let expected = (
        target.kind.api_version(&target.version),
        target.kind.kind.as_str(),
    );
    let given = (
        object["apiVersion"].as_str().unwrap_or(&expected.0),
        object["kind"].as_str().unwrap_or(expected.1),
    );
    if given == (expected.0.as_str(), expected.1) {
        return Ok(());
    }
    Err(Refusal::bad_request(format!(
        "{} in version {:?} cannot be handled as a {}: it is in {:?}",
        given.1, expected.0, expected.1, given.0
    )))
}

pub(super) fn check_applied(target: &Target, name: &str, applied: &Value) -> Result<(), Refusal> {
    if applied["apiVersion"].is_null() || applied["kind"].is_null() {
        return Err(Refusal::bad_request(
            "apiVersion and kind must be set in an applied configuration",
        ));
    }
    check_kind(target, applied)?;
    if !applied["metadata"]["managedFields"].is_null() {
        return Err(Refusal::bad_request("metadata.managedFields must be nil"));
    }
    match meta::name(applied) {
        Some(given) if given != name => Err(Refusal::bad_request(
            "the name of the object does not match the name on the URL",
        )),
        Some(_) | None => Ok(()),
    }
}
