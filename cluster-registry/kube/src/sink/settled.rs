//! What was written and how the server answered, so that a server that keeps an object otherwise than it was told is not
//! told again and again: an old definition of a kind, for example, drops the fields that it does not know.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use cluster_registry::name::{ClusterName, ServiceName};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use serde::Serialize;

use super::{
    plan::{Objects, Write},
    writer::Written,
};
use crate::api::ClusterLink;

/// A part of the objects of one service's name that is written by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Import,
    ImportStatus,
    ExportStatus,
    Slice(String),
}

/// What a write was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Service(ServiceName, Part),
    Link(ClusterName),
}

/// A write in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    target: Target,
    digest: u64,
}

/// The digests of what was written, and of what the server had of it then.
type Answer = (u64, u64);

/// The answers to the newest writes.
#[derive(Debug, Default)]
pub(super) struct Settled {
    services: BTreeMap<ServiceName, BTreeMap<Part, Answer>>,
    links: BTreeMap<ClusterName, Answer>,
}

impl Mark {
    /// Of deletions and Events there is none: they do not come twice.
    pub(super) fn of(write: &Write) -> Option<Self> {
        let (target, digest) = match write {
            Write::Import(name, import) => {
                let metadata = &import.metadata;
                let all = (&import.spec, &metadata.labels, &metadata.annotations);
                (of_service(name, Part::Import), digest(&all))
            }
            Write::ImportStatus(name, status) => {
                let all = (&status.clusters, timeless(&status.conditions));
                (of_service(name, Part::ImportStatus), digest(&all))
            }
            Write::ExportStatus(name, status) => {
                let all = timeless(&status.conditions);
                (of_service(name, Part::ExportStatus), digest(&all))
            }
            Write::Slice(name, slice) => {
                let part = Part::Slice(slice.metadata.name.clone().unwrap_or_default());
                (of_service(name, part), digest(slice))
            }
            Write::LinkStatus(name, status) => {
                let mut status = status.clone();
                status.conditions = timeless(&status.conditions);
                (Target::Link(name.clone()), digest(&status))
            }
            Write::DeleteImport(..) | Write::DeleteSlice(..) | Write::Event { .. } => return None,
        };
        Some(Self { target, digest })
    }
}

impl Settled {
    /// Takes what a write was answered by.
    pub(super) fn note(&mut self, mark: Mark, written: &Written) {
        let answer = (mark.digest, answered(&mark.target, written));
        match mark.target {
            Target::Service(name, part) => {
                self.services.entry(name).or_default().insert(part, answer);
            }
            Target::Link(name) => {
                self.links.insert(name, answer);
            }
        }
    }

    /// Leaves out what was written already to objects that are still as they were after it.
    pub(super) fn leave_out_services(
        &self,
        name: &ServiceName,
        objects: &Objects,
        writes: &mut Vec<Write>,
    ) {
        let Some(answers) = self.services.get(name) else {
            return;
        };
        writes.retain(|write| {
            let Some(Mark {
                target: Target::Service(_, part),
                digest,
            }) = Mark::of(write)
            else {
                return true;
            };
            answers.get(&part) != Some(&(digest, kept(objects, &part)))
        });
    }

    /// Whether a write to a link's object is one that was answered by it as it is now.
    pub(super) fn has_link(&self, write: &Write, object: &ClusterLink) -> bool {
        let Some(Mark {
            target: Target::Link(name),
            digest,
        }) = Mark::of(write)
        else {
            return false;
        };
        self.links.get(&name) == Some(&(digest, kept_link(object)))
    }

    /// Forgets a service of whose name there is no object any more.
    pub(super) fn forget(&mut self, name: &ServiceName) {
        self.services.remove(name);
    }

    /// Forgets a slice that was deleted.
    pub(super) fn forget_slice(&mut self, name: &ServiceName, slice: &str) {
        if let Some(answers) = self.services.get_mut(name) {
            answers.remove(&Part::Slice(slice.to_owned()));
        }
    }

    /// Keeps only these links.
    pub(super) fn keep_links(&mut self, links: &BTreeSet<&ClusterName>) {
        self.links.retain(|name, _| links.contains(name));
    }
}

fn of_service(name: &ServiceName, part: Part) -> Target {
    Target::Service(name.clone(), part)
}

fn answered(target: &Target, written: &Written) -> u64 {
    let mut objects = Objects::default();
    match (written, target) {
        (Written::Link(_, link), Target::Link(_) | Target::Service(..)) => return kept_link(link),
        (Written::Import(_, import), _) => objects.import = import.as_deref().cloned(),
        (Written::Export(_, export), _) => objects.export = Some((**export).clone()),
        (Written::Slice(_, name, slice), _) => {
            let slice = slice.as_deref().cloned();
            objects
                .slices
                .extend(slice.map(|slice| (name.clone(), slice)));
        }
        (Written::Nothing, _) => {}
    }
    match target {
        Target::Service(_, part) => kept(&objects, part),
        Target::Link(_) => 0,
    }
}

/// A digest of what the server has of a part.
fn kept(objects: &Objects, part: &Part) -> u64 {
    match part {
        Part::Import => {
            let import = objects.import.as_ref();
            digest(&import.map(|o| (&o.spec, &o.metadata.labels, &o.metadata.annotations)))
        }
        Part::ImportStatus => {
            let status = objects.import.as_ref().and_then(|o| o.status.as_ref());
            digest(&status.map(|status| (&status.clusters, timeless(&status.conditions))))
        }
        Part::ExportStatus => {
            let status = objects.export.as_ref().and_then(|o| o.status.as_ref());
            digest(&status.map(|status| timeless(&status.conditions)))
        }
        Part::Slice(name) => digest(&objects.slices.get(name).map(|slice| {
            let metadata = &slice.metadata;
            (
                &metadata.labels,
                &metadata.owner_references,
                &slice.endpoints,
                &slice.ports,
            )
        })),
    }
}

fn kept_link(link: &ClusterLink) -> u64 {
    let mut status = link.status.clone().unwrap_or_default();
    status.conditions = timeless(&status.conditions);
    digest(&status)
}

/// Conditions without their times, which are new in each plan as long as the condition is not kept.
fn timeless(conditions: &[Condition]) -> Vec<Condition> {
    let timeless = |condition: &Condition| Condition {
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        ..condition.clone()
    };
    conditions.iter().map(timeless).collect()
}

fn digest(value: &impl Serialize) -> u64 {
    let mut hasher = DefaultHasher::new();
    // What cannot be written as JSON cannot be sent either, and fails there.
    serde_json::to_string(value)
        .unwrap_or_default()
        .hash(&mut hasher);
    hasher.finish()
}
