//! What all files together say: which object counts where several files have one of the same name.
//!
//! A pure machine: [`Catalog::set`] for each file that changed, then [`Catalog::settle`] once. Files rank by their
//! paths and documents by their numbers, so the result never depends on the order in which files came.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use cluster_registry::name::ServiceName;

use super::document::{Complaint, Content};
use crate::{
    index::Index,
    object::{Object, ObjectKey},
    source::Problem,
};

/// How many problems are kept and shown; a directory with more has one cause, not as many.
const MAX_PROBLEMS: usize = 1_000;

/// The files and the resources that follow from them.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    file_by_path: BTreeMap<String, File>,
    /// What the index was last told.
    told: BTreeMap<ObjectKey, Arc<Object>>,
    index: Index,
    problems: Vec<Problem>,
}

#[derive(Debug)]
struct File {
    objects: Vec<(usize, ObjectKey, Arc<Object>)>,
    complaints: Vec<Complaint>,
}

/// The place of a document.
type Place<'a> = (&'a str, usize);

impl Catalog {
    /// Sets what a file holds, or that it is gone.
    pub(super) fn set(&mut self, path: &str, content: Option<Content>) {
        let Some(content) = content else {
            self.file_by_path.remove(path);
            return;
        };
        let objects = content.objects.into_iter();
        let file = File {
            objects: objects
                .map(|found| (found.document, found.key, Arc::new(found.object)))
                .collect(),
            complaints: content.complaints,
        };
        self.file_by_path.insert(path.to_owned(), file);
    }

    /// The paths of the files that it has.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.file_by_path.keys().map(String::as_str)
    }

    /// Works out what counts; the index then has the changes and [`Self::problems`] what is wrong.
    pub(super) fn settle(&mut self) -> &mut Index {
        let mut problems = Vec::new();
        let winners = self.winners(&mut problems);
        for key in self.told.keys() {
            if !winners.contains_key(key) {
                self.index.set(key.clone(), None);
            }
        }
        for (key, object) in &winners {
            if self.told.get(key) != Some(object) {
                self.index.set(key.clone(), Some(Object::clone(object)));
            }
        }
        self.told = winners;
        for (path, file) in &self.file_by_path {
            let complaints = file.complaints.iter();
            problems.extend(complaints.map(|c| Problem::new(path, c.document, &c.text)));
        }
        problems.sort();
        self.problems = problems;
        &mut self.index
    }

    /// What was wrong when it last settled, by place; at most a fixed number, the last then says how many more.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut shown: Vec<Problem> = self.problems.iter().take(MAX_PROBLEMS).cloned().collect();
        match self.problems.len().checked_sub(MAX_PROBLEMS) {
            None | Some(0) => {}
            Some(more) => shown.push(Problem::new(".", 0, &format!("and {more} more problems"))),
        }
        shown
    }

    fn winners(&self, problems: &mut Vec<Problem>) -> BTreeMap<ObjectKey, Arc<Object>> {
        let mut place_by_key: BTreeMap<&ObjectKey, Place<'_>> = BTreeMap::new();
        let mut owner_by_ip: BTreeMap<IpAddr, (&ServiceName, Place<'_>)> = BTreeMap::new();
        let mut winners = BTreeMap::new();
        for (path, file) in &self.file_by_path {
            for (document, key, object) in &file.objects {
                let place = (path.as_str(), *document);
                if let Some((path, document)) = place_by_key.get(key) {
                    let text = format!(
                        "{key} is already there in {path}, document {document}: this one is ignored"
                    );
                    problems.push(Problem::new(place.0, place.1, &text));
                    continue;
                }
                place_by_key.insert(key, place);
                let object = without_taken_ips(key, object, place, &mut owner_by_ip, problems);
                winners.insert(key.clone(), object);
            }
        }
        winners
    }
}

/// Takes from a service the cluster IPs that an earlier one has: an address can lead to one service only.
fn without_taken_ips<'a>(
    key: &'a ObjectKey,
    object: &Arc<Object>,
    place: Place<'a>,
    owner_by_ip: &mut BTreeMap<IpAddr, (&'a ServiceName, Place<'a>)>,
    problems: &mut Vec<Problem>,
) -> Arc<Object> {
    let (ObjectKey::Service(name), Object::Service(service)) = (key, &**object) else {
        return Arc::clone(object);
    };
    let mut taken = BTreeSet::new();
    for ip in &service.cluster_ips {
        let (owner, (path, document)) = owner_by_ip.entry(*ip).or_insert((name, place));
        if *owner != name {
            let text = format!(
                "{key}: cluster IP '{ip}' is already that of {owner} in {path}, document {document}: it is left out"
            );
            problems.push(Problem::new(place.0, place.1, &text));
            taken.insert(*ip);
        }
    }
    if taken.is_empty() {
        return Arc::clone(object);
    }
    let mut service = service.clone();
    service.cluster_ips.retain(|ip| !taken.contains(ip));
    Arc::new(Object::Service(service))
}

#[cfg(test)]
mod tests;
