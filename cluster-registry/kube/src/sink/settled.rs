//! What was written and how the server answered, so that a server that keeps an object otherwise than it was told is not
//! told again and again: an old definition of a kind, for example, drops the fields that it does not know.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use cluster_registry::name::{ClusterName, ServiceName};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use serde::Serialize;

use super::{existing::Existing, plan::Write};
use crate::api::ClusterLink;

/// A part of the objects of one service's name that is written by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Import,
    ImportStatus,
    ExportStatus,
    Slice(String),
    ServiceCondition,
}

/// What a write was about.
#[derive(Debug)]
enum Target {
    Service(ServiceName, Part),
    Link(ClusterName),
}

/// A write in short.
#[derive(Debug)]
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
            Write::ServiceCondition(name, condition) => {
                let all = timeless(
                    condition
                        .as_deref()
                        .map(std::slice::from_ref)
                        .unwrap_or_default(),
                );
                (of_service(name, Part::ServiceCondition), digest(&all))
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
    /// Takes that a write was answered, with what the server has now.
    pub(super) fn note(&mut self, mark: Mark, existing: &Existing) {
        match mark.target {
            Target::Service(name, part) => {
                let Some(kept) = kept(existing, &name, &part) else {
                    return;
                };
                let answer = (mark.digest, kept);
                let answers = self.services.entry(name).or_default();
                answers.insert(part, answer);
            }
            Target::Link(name) => {
                let kept = existing.links().get(&name).map(kept_link);
                let answer = kept.map(|kept| (name, (mark.digest, kept)));
                self.links.extend(answer);
            }
        }
    }

    /// Leaves out the writes of one service's name that were answered already, by what is still so.
    pub(super) fn leave_out(
        &mut self,
        name: &ServiceName,
        existing: &Existing,
        writes: &mut Vec<Write>,
    ) {
        let Some(answers) = self.services.get_mut(name) else {
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
            let answer = kept(existing, name, &part).map(|kept| (digest, kept));
            answer.is_none() || answers.get(&part) != answer.as_ref()
        });
        answers.retain(|part, _| kept(existing, name, part).is_some());
        // What was told stays told.
        if !writes.iter().any(Write::is_condition) {
            writes.retain(|write| !matches!(write, Write::Event { .. }));
        }
        if answers.is_empty() {
            self.services.remove(name);
        }
    }

    /// Whether a write to a link's object was answered already, by what it still is.
    pub(super) fn has_link(&self, name: &ClusterName, object: &ClusterLink, write: &Write) -> bool {
        let digest = Mark::of(write).map(|mark| mark.digest);
        let answer = digest.map(|digest| (digest, kept_link(object)));
        answer.is_some() && self.links.get(name) == answer.as_ref()
    }

    /// Forgets the links that have no object any more.
    pub(super) fn keep_links(&mut self, objects: &BTreeMap<ClusterName, ClusterLink>) {
        self.links.retain(|name, _| objects.contains_key(name));
    }
}

fn of_service(name: &ServiceName, part: Part) -> Target {
    Target::Service(name.clone(), part)
}

/// A digest of what the server has of a part; `None` when it has no such object.
fn kept(existing: &Existing, name: &ServiceName, part: &Part) -> Option<u64> {
    let objects = existing.objects(name);
    let import = || objects.and_then(|objects| objects.import.as_ref());
    Some(match part {
        Part::Import => {
            let import = import()?;
            let metadata = &import.metadata;
            digest(&(&import.spec, &metadata.labels, &metadata.annotations))
        }
        Part::ImportStatus => {
            let status = import()?.status.as_ref();
            digest(&status.map(|status| (&status.clusters, timeless(&status.conditions))))
        }
        Part::ExportStatus => {
            let status = objects?.export.as_ref()?.status.as_ref();
            digest(&status.map(|status| timeless(&status.conditions)))
        }
        Part::Slice(name) => {
            let slice = objects?.slices.get(name)?;
            let metadata = &slice.metadata;
            digest(&(
                &metadata.labels,
                &metadata.owner_references,
                &slice.endpoints,
                &slice.ports,
            ))
        }
        Part::ServiceCondition => digest(&timeless(existing.own(name)?.condition.as_slice())),
    })
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
