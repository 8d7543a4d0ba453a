//! What a written object must be: defaults filled in, unknown fields cut, rules kept.

use serde_json::{Value, json};

use super::{Api, Target, WriteOptions, crd};
use crate::{
    meta,
    refusal::{Cause, Refusal},
    schema,
};

impl Api {
    /// Brings an object into the form in which it is kept, or says what is wrong with it.
    pub(super) fn admit(
        &mut self,
        target: &Target,
        object: &mut Value,
        before: Option<&Value>,
        options: &WriteOptions,
    ) -> Result<(), Refusal> {
        let kind = &target.kind;
        let name = meta::name(object).unwrap_or_default().to_owned();
        let fields = meta::as_map(object);
        fields.insert("apiVersion".to_owned(), json!(kind.storage_api_version()));
        fields.insert("kind".to_owned(), json!(kind.kind));
        let mut causes = Vec::new();
        check_texts(object, &mut causes);
        if let Some(schema) = target.schema() {
            let unknown = schema::prune(object, schema);
            if options.is_strict && !unknown.is_empty() {
                let texts: Vec<String> = unknown
                    .iter()
                    .map(|path| format!("unknown field {path:?}"))
                    .collect();
                return Err(Refusal::bad_request(format!(
                    "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
                    kind.kind,
                    target.version,
                    kind.kind,
                    texts.join(", ")
                )));
            }
            schema::fill_defaults(object, schema);
            causes.extend(schema::check(object, before, schema));
        }
        match (kind.resource.group.as_str(), kind.kind.as_str()) {
            ("", "Service") => self.admit_service(object, before.is_none(), &mut causes),
            ("", "Namespace") => admit_namespace(object, &name),
            ("discovery.k8s.io", "EndpointSlice") => admit_slice(object, before, &mut causes),
            ("apiextensions.k8s.io", _) => crd::admit(object, &mut causes, options.now),
            _ => {}
        }
        if causes.is_empty() {
            Ok(())
        } else {
            Err(Refusal::invalid(kind, &name, &causes))
        }
    }
}

/// Labels and annotations are texts.
fn check_texts(object: &Value, causes: &mut Vec<Cause>) {
    for map in ["labels", "annotations"] {
        for (key, value) in object["metadata"][map].as_object().into_iter().flatten() {
            if !value.is_string() {
                let message = "must be a string";
                causes.push(Cause::invalid(
                    &format!("metadata.{map}.{key}"),
                    value,
                    message,
                ));
            }
            if map == "labels" && value.as_str().is_some_and(|text| text.len() > 63) {
                let message = "must be no more than 63 bytes";
                causes.push(Cause::invalid(
                    &format!("metadata.labels.{key}"),
                    value,
                    message,
                ));
            }
        }
    }
}

fn admit_namespace(object: &mut Value, name: &str) {
    let labels = meta::of_mut(object)
        .entry("labels")
        .or_insert_with(|| json!({}));
    meta::as_map(labels).insert("kubernetes.io/metadata.name".to_owned(), json!(name));
    if object["status"]["phase"].is_null() {
        object["status"] = json!({"phase": "Active"});
    }
}

fn admit_slice(object: &mut Value, before: Option<&Value>, causes: &mut Vec<Cause>) {
    let address_type = object["addressType"].clone();
    if !matches!(address_type.as_str(), Some("IPv4" | "IPv6" | "FQDN")) {
        causes.push(Cause::required("addressType"));
    }
    if before.is_some_and(|before| before["addressType"] != address_type) {
        causes.push(Cause::invalid(
            "addressType",
            &address_type,
            "field is immutable",
        ));
    }
    if object["endpoints"].is_null() {
        object["endpoints"] = json!([]);
    }
    for (i, endpoint) in object["endpoints"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let field = format!("endpoints[{i}].addresses");
        let addresses = endpoint["addresses"].as_array();
        if addresses.is_none_or(Vec::is_empty) {
            causes.push(Cause::required(&field));
        }
        for address in addresses.into_iter().flatten() {
            let text = address.as_str().unwrap_or_default();
            let is_right = match address_type.as_str() {
                Some("IPv4") => text.parse::<std::net::Ipv4Addr>().is_ok(),
                Some("IPv6") => text.parse::<std::net::Ipv6Addr>().is_ok(),
                Some(_) | None => true,
            };
            if !is_right {
                causes.push(Cause::invalid(
                    &field,
                    address,
                    "must be a valid address of the addressType",
                ));
            }
        }
    }
    let ports = object["ports"].as_array_mut();
    for port in ports.into_iter().flatten().map(meta::as_map) {
        port.entry("name").or_insert_with(|| json!(""));
        port.entry("protocol").or_insert_with(|| json!("TCP"));
    }
}
