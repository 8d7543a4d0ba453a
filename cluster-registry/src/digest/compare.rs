//! What two summaries of the same range say differs, and what to say next; the other side's may say anything.

use std::collections::BTreeMap;

use super::{Digest, KeyRange, Level, Part, Summary};
use crate::resource::Key;

/// The most parts that one side says at once: those of a million keys that all differ.
pub const MAX_PARTS: usize = 16 * 1024;

/// What one side answers to the summaries of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Both hold the same.
    Same,
    /// What these ranges hold is to be said in full.
    Differ(Vec<KeyRange>),
    /// Both hold different things, and this is what this side holds, in finer parts.
    Finer(Vec<Summary>),
}

/// Begins a comparison of all that both sides hold.
pub fn first_step(mut own: impl FnMut(Level, &KeyRange) -> Summary) -> Step {
    Step::Finer(vec![own(Level::ROOT, &KeyRange::default())])
}

/// Answers the other side's summaries; `own` says what this side holds.
///
/// Each answer is about finer parts than what it answers, so that a comparison ends after as many as there are levels.
pub fn next_step(theirs: &[Summary], mut own: impl FnMut(Level, &KeyRange) -> Summary) -> Step {
    let mut differing = Vec::new();
    for theirs in theirs {
        differing.append(&mut differing_ranges(
            &own(theirs.level, &theirs.range),
            theirs,
        ));
    }
    let Some(mut level) = theirs.iter().map(|theirs| theirs.level).min() else {
        return Step::Same;
    };
    if differing.is_empty() {
        return Step::Same;
    }
    // A level at which ranges have but one part would only repeat what is known.
    while let Some(finer) = level.finer().filter(|finer| *finer > Level::KEYS) {
        let summaries: Vec<Summary> = differing.iter().map(|range| own(finer, range)).collect();
        let parts: usize = summaries.iter().map(|summary| summary.parts.len()).sum();
        if parts > MAX_PARTS {
            break;
        }
        if parts > summaries.len() {
            return Step::Finer(summaries);
        }
        level = finer;
    }
    Step::Differ(differing)
}

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
