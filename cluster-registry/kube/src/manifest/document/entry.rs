//! Takes one parsed document: the object, or the list of objects, that it is.

use k8s_openapi::api::{
    core::v1::{Namespace, Node, Service},
    discovery::v1::EndpointSlice,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Content, Found};
use crate::{
    api::{ClusterLink, ServiceExport},
    convert::{Convert, FlawList},
};

/// The API group's version of Service, Node and Namespace.
const CORE: &str = "v1";

/// The API group's version of EndpointSlice.
const DISCOVERY: &str = "discovery.k8s.io/v1";

/// The API group's versions of ServiceExport, which have the same fields.
const MCS: &str = "multicluster.x-k8s.io/v1beta1";
const OLD_MCS: &str = "multicluster.x-k8s.io/v1alpha1";

/// The API group's version of ClusterLink.
const ISTHMUS: &str = "isthmus.io/v1alpha1";

/// The kinds that count, each with its API versions, the preferred first.
const KINDS: [(&str, &str); 7] = [
    ("Service", CORE),
    ("EndpointSlice", DISCOVERY),
    ("Node", CORE),
    ("Namespace", CORE),
    ("ServiceExport", MCS),
    ("ServiceExport", OLD_MCS),
    ("ClusterLink", ISTHMUS),
];

enum Shape {
    Object,
    /// With the kind and version that its items need not repeat, if it is a list of one kind.
    List(Option<(&'static str, &'static str)>),
}

/// Reads a document's value into the content.
pub(super) fn read(content: &mut Content, document: usize, value: Value) {
    let items_kind = match shape(&value) {
        Shape::List(items_kind) => items_kind,
        Shape::Object => {
            let entry = Entry {
                content,
                document,
                prefix: String::new(),
            };
            entry.read(value, None);
            return;
        }
    };
    let Some(Value::Array(items)) = into_field(value, "items") else {
        content.complain(
            document,
            "a List needs 'items', a sequence of objects".to_owned(),
        );
        return;
    };
    for (i, item) in items.into_iter().enumerate() {
        let entry = Entry {
            content,
            document,
            prefix: format!("item {}: ", i + 1),
        };
        entry.read(item, items_kind);
    }
}

/// One object of a document.
struct Entry<'a> {
    content: &'a mut Content,
    document: usize,
    /// Tells its place in a list.
    prefix: String,
}

impl Entry<'_> {
    /// Reads the object; `listed` is the kind and version that its list gives to those without.
    fn read(mut self, value: Value, listed: Option<(&'static str, &'static str)>) {
        if value.is_null() {
            return;
        }
        if !value.is_object() {
            self.complain(
                "it is no Kubernetes object: a mapping with apiVersion and kind is needed",
            );
            return;
        }
        let kind = text_field(&value, "kind").or_else(|| listed.map(|(kind, _)| kind));
        let Some(kind) = kind.map(str::to_owned) else {
            self.complain("it has no kind");
            return;
        };
        let version =
            text_field(&value, "apiVersion").or_else(|| listed.map(|(_, version)| version));
        let Some(version) = version.map(str::to_owned) else {
            self.complain(&format!("{kind} has no apiVersion"));
            return;
        };
        match (version.as_str(), kind.as_str()) {
            (CORE, "Service") => self.convert::<Service>(value),
            (CORE, "Node") => self.convert::<Node>(value),
            (CORE, "Namespace") => self.convert::<Namespace>(value),
            (DISCOVERY, "EndpointSlice") => self.convert::<EndpointSlice>(value),
            (MCS | OLD_MCS, "ServiceExport") => self.convert::<ServiceExport>(value),
            (ISTHMUS, "ClusterLink") => self.convert::<ClusterLink>(value),
            _ => self.refuse(&kind, &version),
        }
    }

    /// Tells a wrong version of a kind that counts from a kind that does not.
    fn refuse(mut self, kind: &str, version: &str) {
        let known = KINDS.iter().find(|(known, _)| *known == kind);
        let group = |version: &str| version.split_once('/').map(|(group, _)| group.to_owned());
        match known {
            Some((_, right)) if group(version) == group(right) => {
                self.complain(&format!(
                    "{kind} of apiVersion {version} is not read: {right} is"
                ));
            }
            Some(_) | None => {
                let text = format!("{}{kind} of {version} is not read", self.prefix);
                self.content.skip(self.document, text);
            }
        }
    }

    fn convert<T: Convert + DeserializeOwned>(mut self, value: Value) {
        let title = title(&value);
        let given: T = match serde_path_to_error::deserialize(value) {
            Ok(given) => given,
            Err(error) => {
                let hint = quoting_hint(&error);
                self.complain(&format!("{title}: {error}{hint}"));
                return;
            }
        };
        let key = match given.key() {
            Ok(key) => key,
            Err(error) => {
                self.complain(&format!("{title}: {error}"));
                return;
            }
        };
        let mut flaws = Vec::new();
        let converted = given.convert(&mut flaws);
        if !flaws.is_empty() {
            self.complain(&format!("{key}: {}", FlawList(&flaws)));
        }
        match converted {
            Ok(object) => self.content.objects.push(Found {
                document: self.document,
                key,
                object,
            }),
            Err(reason) => {
                let text = format!("{}{key}: {reason}", self.prefix);
                self.content.skip(self.document, text);
            }
        }
    }

    fn complain(&mut self, text: &str) {
        let text = format!("{}{text}", self.prefix);
        self.content.complain(self.document, text);
    }
}

/// What to call an object before it is known to have a proper name.
fn title(value: &Value) -> String {
    let kind = text_field(value, "kind").unwrap_or("object");
    let name = value
        .get("metadata")
        .and_then(|meta| text_field(meta, "name"));
    match name {
        Some(name) => format!("{kind} '{name}'"),
        None => kind.to_owned(),
    }
}

/// The commonest mistake with annotations and labels deserves a word.
fn quoting_hint(error: &serde_path_to_error::Error<serde_json::Error>) -> &'static str {
    let path = error.path().to_string();
    let in_text_map = ["metadata.annotations", "metadata.labels"]
        .iter()
        .any(|map| path.starts_with(map));
    if in_text_map {
        " (annotations and labels are texts: put the value in quotes)"
    } else {
        ""
    }
}

/// Whether a document is one object or a list of them.
fn shape(value: &Value) -> Shape {
    let kind = text_field(value, "kind").unwrap_or_default();
    let version = text_field(value, "apiVersion").unwrap_or_default();
    let Some(items) = kind.strip_suffix("List") else {
        return Shape::Object;
    };
    if items.is_empty() && version == CORE {
        return Shape::List(None);
    }
    let known = KINDS
        .into_iter()
        .find(|(known, of)| *known == items && *of == version);
    match known {
        Some(known) => Shape::List(Some(known)),
        None => Shape::Object,
    }
}

fn text_field<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

fn into_field(value: Value, name: &str) -> Option<Value> {
    match value {
        Value::Object(mut fields) => fields.remove(name),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            None
        }
    }
}
