//! What a client can ask the server about itself: its version, its groups and kinds, and their schemas.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::{api::Api, kind::Kind};

/// The release whose behaviour the server has.
const VERSION: (&str, &str) = ("1", "33");

/// Answers a path that names no kind; `None` when there is nothing there.
pub(crate) fn answer(api: &Api, path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["version"] => Some(json!({"major": VERSION.0, "minor": VERSION.1,
            "gitVersion": format!("v{}.{}.0-isthmus-double", VERSION.0, VERSION.1),
            "platform": "linux/amd64"})),
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": []})),
        ["apis"] => {
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups(api)}))
        }
        ["apis", group] => groups(api).into_iter().find(|g| g["name"] == *group),
        ["api", "v1"] => resources(api, "", "v1"),
        ["apis", group, version] => resources(api, group, version),
        ["openapi", "v3"] => Some(openapi_paths(api)),
        ["openapi", "v3", "api", "v1"] => Some(openapi(api, "", "v1")),
        ["openapi", "v3", "apis", group, version] => Some(openapi(api, group, version)),
        _ => None,
    }
}

fn groups(api: &Api) -> Vec<Value> {
    let mut versions_by_group: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for kind in api.kinds().filter(|kind| !kind.resource.group.is_empty()) {
        let versions = versions_by_group.entry(&kind.resource.group).or_default();
        for version in &kind.versions {
            if !versions.contains(&version.as_str()) {
                versions.push(version);
            }
        }
    }
    let groups = versions_by_group.into_iter().map(|(group, versions)| {
        let versions: Vec<Value> = versions
            .into_iter()
            .map(
                |version| json!({"groupVersion": format!("{group}/{version}"), "version": version}),
            )
            .collect();
        json!({"kind": "APIGroup", "apiVersion": "v1", "name": group,
            "preferredVersion": versions.first(), "versions": versions})
    });
    groups.collect()
}

fn kinds_of<'a>(api: &'a Api, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Kind> {
    let kinds = api.kinds().map(AsRef::as_ref);
    kinds.filter(move |kind: &&Kind| kind.resource.group == group && kind.serves(version))
}

fn resources(api: &Api, group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    let mut group_version = None;
    for kind in kinds_of(api, group, version) {
        group_version = Some(kind.api_version(version));
        resources.push(json!({"name": kind.resource.plural, "singularName": kind.singular,
            "namespaced": kind.namespaced, "kind": kind.kind, "shortNames": kind.short_names,
            "categories": kind.categories,
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]}));
        if kind.has_status {
            resources.push(json!({"name": format!("{}/status", kind.resource.plural), "singularName": "",
                "namespaced": kind.namespaced, "kind": kind.kind, "verbs": ["get", "patch", "update"]}));
        }
    }
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version?,
        "resources": resources}),
    )
}

fn openapi_paths(api: &Api) -> Value {
    let mut paths = Map::new();
    let mut seen = BTreeSet::new();
    for kind in api.kinds() {
        for version in &kind.versions {
            let path = match kind.resource.group.as_str() {
                "" => format!("api/{version}"),
                group => format!("apis/{group}/{version}"),
            };
            if seen.insert(path.clone()) {
                let url = format!("/openapi/v3/{path}");
                paths.insert(path, json!({"serverRelativeURL": url}));
            }
        }
    }
    json!({"paths": paths})
}

/// The schemas of a group's version; of built-in kinds only that they are objects.
fn openapi(api: &Api, group: &str, version: &str) -> Value {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    for kind in kinds_of(api, group, version) {
        let identity = json!([{"group": group, "version": version, "kind": kind.kind}]);
        let mut schema = kind.schemas.get(version).cloned();
        let schema = schema.get_or_insert_with(
            || json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        );
        schema["x-kubernetes-group-version-kind"] = identity;
        schemas.insert(format!("{group}.{version}.{}", kind.kind), schema.take());
        let base = match group {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        let path = match kind.namespaced {
            true => format!(
                "{base}/namespaces/{{namespace}}/{}/{{name}}",
                kind.resource.plural
            ),
            false => format!("{base}/{}/{{name}}", kind.resource.plural),
        };
        let gvk = json!({"group": group, "version": version, "kind": kind.kind});
        let parameters = json!([{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}},
            {"name": "dryRun", "in": "query", "schema": {"type": "string"}}]);
        let operation = |action: &str| {
            json!({"x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk,
                "parameters": parameters, "responses": {}})
        };
        paths.insert(
            path,
            json!({"get": operation("get"), "patch": operation("patch"), "put": operation("put")}),
        );
    }
    json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths, "components": {"schemas": schemas}})
}
