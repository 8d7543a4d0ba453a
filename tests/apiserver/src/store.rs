//! The objects by revision: what is there, what happened since the compaction floor, and who owns whom.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use serde_json::{Value, json};

use crate::{kind::GroupResource, meta};

/// How many changes are remembered before the oldest are compacted.
const MAX_LOG: usize = 50_000;

/// What an object is called; cluster-wide ones have an empty namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectName {
    pub(crate) resource: GroupResource,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What happened to one object.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) name: ObjectName,
    /// How it was before; `None` when it was created.
    pub(crate) before: Option<Arc<Value>>,
    /// How it is now; of a deleted object its last state, at the revision of the deletion.
    pub(crate) object: Arc<Value>,
    pub(crate) is_deletion: bool,
}

/// The objects.
#[derive(Debug, Default)]
pub(crate) struct Store {
    revision: u64,
    /// Changes at or below are forgotten.
    floor: u64,
    objects: BTreeMap<ObjectName, Arc<Value>>,
    log: VecDeque<Change>,
    name_by_uid: BTreeMap<String, ObjectName>,
    dependents_by_uid: BTreeMap<String, BTreeSet<ObjectName>>,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            revision: 1,
            ..Self::default()
        }
    }

    /// The objects of an earlier life at its last revision; what happened before is forgotten.
    pub(crate) fn restored(revision: u64, objects: Vec<(ObjectName, Value)>) -> Self {
        let mut store = Self {
            revision,
            floor: revision,
            ..Self::default()
        };
        for (name, object) in objects {
            store.index(&name, &object);
            store.objects.insert(name, Arc::new(object));
        }
        store
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn get(&self, name: &ObjectName) -> Option<&Arc<Value>> {
        self.objects.get(name)
    }

    /// The objects of all kinds.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&ObjectName, &Arc<Value>)> {
        self.objects.iter()
    }

    /// The objects of a kind, of one namespace or of all, in the order of their names.
    pub(crate) fn list<'a>(
        &'a self,
        resource: &'a GroupResource,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a ObjectName, &'a Arc<Value>)> {
        let first = ObjectName {
            resource: resource.clone(),
            namespace: namespace.unwrap_or_default().to_owned(),
            name: String::new(),
        };
        self.objects.range(first..).take_while(move |(name, _)| {
            name.resource == *resource && namespace.is_none_or(|ns| name.namespace == ns)
        })
    }

    /// Puts an object, whose `resourceVersion` is set to the new revision.
    pub(crate) fn put(&mut self, name: ObjectName, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(object);
        let before = self.objects.insert(name.clone(), Arc::clone(&object));
        if let Some(before) = &before {
            self.forget_owners(&name, before);
        }
        self.index(&name, &object);
        self.note(Change {
            revision: self.revision,
            name,
            before,
            object: Arc::clone(&object),
            is_deletion: false,
        });
        object
    }

    pub(crate) fn remove(&mut self, name: &ObjectName) -> Option<Arc<Value>> {
        let before = self.objects.remove(name)?;
        self.revision += 1;
        self.forget_owners(name, &before);
        self.name_by_uid.remove(&meta::uid(&before));
        let mut last = Value::clone(&before);
        last["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let last = Arc::new(last);
        self.note(Change {
            revision: self.revision,
            name: name.clone(),
            before: Some(before),
            object: Arc::clone(&last),
            is_deletion: true,
        });
        Some(last)
    }

    pub(crate) fn has_uid(&self, uid: &str) -> bool {
        self.name_by_uid.contains_key(uid)
    }

    /// Those that name the object as one of their owners.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<ObjectName> {
        let found = self.dependents_by_uid.get(uid);
        found.into_iter().flatten().cloned().collect()
    }

    /// What happened after a revision, oldest first; `None` when that is no longer known.
    pub(crate) fn changes_after(&self, revision: u64) -> Option<impl Iterator<Item = &Change>> {
        if revision < self.floor {
            return None;
        }
        let start = self
            .log
            .partition_point(|change| change.revision <= revision);
        Some(self.log.range(start..))
    }

    /// Forgets what happened up to now.
    pub(crate) fn compact(&mut self) {
        self.floor = self.revision;
        self.log.clear();
    }

    /// Spends a revision on nothing, as writes to kinds that nobody watches do.
    pub(crate) fn skip_revision(&mut self) {
        self.revision += 1;
    }

    fn index(&mut self, name: &ObjectName, object: &Value) {
        for owner in meta::owner_uids(object) {
            self.dependents_by_uid
                .entry(owner)
                .or_default()
                .insert(name.clone());
        }
        self.name_by_uid.insert(meta::uid(object), name.clone());
    }

    fn forget_owners(&mut self, name: &ObjectName, before: &Value) {
        for owner in meta::owner_uids(before) {
            let Some(dependents) = self.dependents_by_uid.get_mut(&owner) else {
                continue;
            };
            dependents.remove(name);
            if dependents.is_empty() {
                self.dependents_by_uid.remove(&owner);
            }
        }
    }

    fn note(&mut self, change: Change) {
        self.log.push_back(change);
        if self.log.len() > MAX_LOG
            && let Some(oldest) = self.log.pop_front()
        {
            self.floor = oldest.revision;
        }
    }
}
