//! What a server keeps in its folder, so that one that was killed comes back as it was.

use std::{fs, path::Path};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Api;
use crate::{
    kind::GroupResource,
    store::{ObjectName, Store},
};

/// The file's name in the folder.
const FILE: &str = "objects.json";

/// The whole file.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    revision: u64,
    uids: u64,
    objects: Vec<SavedObject>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedObject {
    group: String,
    plural: String,
    namespace: String,
    name: String,
    object: Value,
}

impl Api {
    /// Takes the objects of an earlier life over, if a folder has any, and makes it if not; watches from before get 410 Gone.
    pub(crate) fn restore(&mut self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let file = folder.join(FILE);
        if !file.exists() {
            return Ok(());
        }
        let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        let saved: Saved = serde_json::from_slice(&text)
            .with_context(|| format!("understanding {}", file.display()))?;
        let objects = saved.objects.into_iter().map(|saved| {
            let name = ObjectName {
                resource: GroupResource::new(&saved.group, &saved.plural),
                namespace: saved.namespace,
                name: saved.name,
            };
            (name, saved.object)
        });
        let objects: Vec<_> = objects.collect();
        for (name, object) in &objects {
            // What is to be noted of an object is that of built-in kinds, so the order does not matter.
            if let Some(kind) = self.kinds.get(&name.resource).cloned() {
                self.addresses.take(&kind, object);
                self.note_kind(&kind, object).with_context(|| {
                    format!("restoring {} of {}", name.name, name.resource.plural)
                })?;
            }
        }
        self.uids = saved.uids;
        self.store = Store::restored(saved.revision, objects);
        Ok(())
    }

    /// Writes all objects to a folder, whole or not at all.
    pub(crate) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        let objects = self.store.all().map(|(name, object)| SavedObject {
            group: name.resource.group.clone(),
            plural: name.resource.plural.clone(),
            namespace: name.namespace.clone(),
            name: name.name.clone(),
            object: Value::clone(object),
        });
        let saved = Saved {
            revision: self.store.revision(),
            uids: self.uids,
            objects: objects.collect(),
        };
        let text = serde_json::to_vec(&saved).context("writing the objects down")?;
        let beside = folder.join(format!("{FILE}.new"));
        fs::write(&beside, text)
            .and_then(|()| fs::rename(&beside, folder.join(FILE)))
            .with_context(|| format!("writing the objects to {}", folder.display()))
    }
}
