//! A cluster's objects by the files that they come from, in a folder of manifests or in an API server.
//!
//! The folder is kept in both modes. With an API server it is the record of what was applied, so that a changed file
//! takes away what it no longer has.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::{apiserver, mode::Mode, plan::Plan, slices};

/// Writes or replaces a file of objects, as `kubectl apply --prune` would.
pub(crate) fn write(plan: &Plan, cluster: &str, file: &str, text: &str) -> Result<()> {
    let path = plan.manifests_dir(cluster).join(file);
    match plan.mode {
        Mode::Manifests => {}
        Mode::Kubernetes => {
            let new = parse(text).with_context(|| format!("understanding {file}"))?;
            let gone = no_longer(plan, cluster, &path, &new)?;
            apiserver::apply(plan, cluster, &new, &gone)?;
        }
    }
    slices::write_atomically(&path, text)
}

/// Removes a file and its objects.
pub(crate) fn remove(plan: &Plan, cluster: &str, file: &str) -> Result<()> {
    let path = plan.manifests_dir(cluster).join(file);
    match plan.mode {
        Mode::Manifests => {}
        Mode::Kubernetes => {
            let gone = no_longer(plan, cluster, &path, &[])?;
            apiserver::apply(plan, cluster, &[], &gone)?;
        }
    }
    fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))
}

/// The objects of a text of YAML documents, lists taken apart.
pub(crate) fn parse(text: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let object = Value::deserialize(document)?;
        let is_list = object["kind"].as_str().is_some_and(|k| k.ends_with("List"));
        match object["items"].as_array() {
            Some(items) if is_list => objects.extend(items.iter().cloned()),
            Some(_) | None if object.is_object() => objects.push(object),
            Some(_) | None => {}
        }
    }
    Ok(objects)
}

/// What a file has now, and neither its new objects nor another file of the folder has, the last first.
fn no_longer(plan: &Plan, cluster: &str, path: &Path, new: &[Value]) -> Result<Vec<Value>> {
    let mut kept: Vec<_> = new.iter().map(key).collect();
    let read = |path: &Path| parse(&fs::read_to_string(path).unwrap_or_default());
    for other in slices::manifest_files(&plan.manifests_dir(cluster))? {
        if other != path {
            kept.extend(read(&other)?.iter().map(key));
        }
    }
    let old = read(path)?;
    Ok(old
        .into_iter()
        .rev()
        .filter(|object| !kept.contains(&key(object)))
        .collect())
}

/// What tells objects apart; the version does not.
fn key(object: &Value) -> [String; 4] {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = text(&object["apiVersion"]);
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let metadata = &object["metadata"];
    [
        group.to_owned(),
        text(&object["kind"]),
        text(&metadata["namespace"]),
        text(&metadata["name"]),
    ]
}
