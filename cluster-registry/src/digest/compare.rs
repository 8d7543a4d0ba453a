//! What two summaries of the same range say differs; the other side's may say anything.

use std::collections::BTreeMap;

use super::{Digest, KeyRange, Level, Part, Summary};
use crate::resource::Key;

/// The parts of the range that do not hold the same, neighbours joined; the whole range if the summaries do not fit together.
pub fn differing_ranges(own: &Summary, theirs: &Summary) -> Vec<KeyRange> {
    let fit = own.range == theirs.range && own.level == theirs.level && own.level != Level::KEYS;
    if !fit || !is_well_formed(theirs) {
        return vec![own.range.clone()];
    }
    let theirs: BTreeMap<(&Option<Key>, &Option<Key>), Digest> = parts(theirs).collect();
    let mut differing: Vec<KeyRange> = Vec::new();
    let mut joins_last = false;
    for ((from, until), digest) in parts(own) {
        // A part that begins or ends elsewhere on the other side is not the same either.
        let is_same = theirs.get(&(from, until)) == Some(&digest);
        match differing.last_mut() {
            _ if is_same => {}
            Some(last) if joins_last => last.until.clone_from(until),
            Some(_) | None => differing.push(KeyRange {
                from: from.clone(),
                until: until.clone(),
            }),
        }
        joins_last = !is_same;
    }
    differing
}

/// The keys that are not the same, of summaries of single keys; `None` if these do not fit together.
pub fn differing_keys(own: &Summary, theirs: &Summary) -> Option<Vec<Key>> {
    let is_of_keys = |summary: &Summary| summary.level == Level::KEYS && is_well_formed(summary);
    if own.range != theirs.range || !is_of_keys(own) || !is_of_keys(theirs) {
        return None;
    }
    let by_key = |summary: &'_ Summary| -> BTreeMap<Key, Digest> {
        let parts = summary.parts.iter();
        parts
            .filter_map(|part| Some((part.from.clone()?, part.digest)))
            .collect()
    };
    let (own, theirs) = (by_key(own), by_key(theirs));
    let mut differing: Vec<Key> = own
        .iter()
        .filter(|(key, digest)| theirs.get(key) != Some(digest))
        .map(|(key, _)| key.clone())
        .collect();
    differing.extend(theirs.into_keys().filter(|key| !own.contains_key(key)));
    differing.sort();
    Some(differing)
}

/// Whether the parts stand in order within the range, and cover it unless they are single keys.
fn is_well_formed(summary: &Summary) -> bool {
    let Summary {
        level,
        range,
        parts,
    } = summary;
    let is_inside = |part: &Part| match &part.from {
        Some(key) => range.contains(key),
        None => range.from.is_none() && *level != Level::KEYS,
    };
    let covers = *level == Level::KEYS || parts.first().is_some_and(|p| p.from == range.from);
    covers && parts.iter().all(is_inside) && parts.is_sorted_by(|one, next| one.from < next.from)
}

/// The parts with where each begins and ends.
fn parts(summary: &Summary) -> impl Iterator<Item = ((&Option<Key>, &Option<Key>), Digest)> {
    let ends = summary.parts.iter().skip(1).map(|part| &part.from);
    let ends = ends.chain([&summary.range.until]);
    let parts = summary.parts.iter().zip(ends);
    parts.map(|(part, until)| ((&part.from, until), part.digest))
}
