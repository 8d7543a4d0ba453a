//! Digests of ranges of keys: two stores that hold nearly the same find what differs without telling all they hold.
//!
//! The keys themselves decide where ranges end: a key begins a range of level `n` when its hash ends in `6 n` zero bits,
//! so that a range holds about 64 of the level below, whatever stands in it, and two stores with the same keys have the
//! same ranges. They compare the digest of everything ([`Level::ROOT`]), then those of the ranges a level down where they
//! differ, and so on to ranges of about 64 keys: each exchange is as large as what differs.
//!
//! What is digested is a key and its value as [`Encode`] writes them down, so that it does not depend on how this version
//! holds them.
//!
//! A digest is SHA-256 cut to 128 bits. What is digested comes from whoever may write a Service in either cluster; with
//! a digest that can be made to collide, a change could be chosen that no resync would ever repair. A keyed hash would do as
//! well, but its key would have to be each session's own, and every session's start would hash everything anew.

mod compare;
mod reader;
mod tree;

use std::ops::Bound;

use sha2::{Digest as _, Sha256};

use crate::{
    name::ClusterName,
    resource::{Key, Resource, ResourceId},
};

pub use compare::{MAX_PARTS, Step, differing_ranges, first_step, next_step};
pub use reader::StoreDigests;
pub(crate) use tree::Tree;

/// The digest of what a range holds: equal for equal contents, and different for all others that can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

/// How coarse ranges are, from single keys to everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// Each key alone.
    pub const KEYS: Self = Self(0);

    /// Everything as one.
    pub const ROOT: Self = Self(4);

    /// The next finer level; `None` below single keys.
    pub fn finer(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }

    /// The level of a number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        (number <= Self::ROOT.0).then_some(Self(number))
    }

    /// Its number, from 0 for single keys.
    pub fn number(self) -> u8 {
        self.0
    }
}

/// The keys from one (or the very first) to before another (or to the very last).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KeyRange {
    /// The first key; `None` for the beginning.
    pub from: Option<Key>,
    /// The key after the last; `None` for the end.
    pub until: Option<Key>,
}

impl KeyRange {
    /// Whether a key is in it.
    pub fn contains(&self, key: &Key) -> bool {
        self.from.as_ref().is_none_or(|from| from <= key)
            && self.until.as_ref().is_none_or(|until| key < until)
    }

    /// The ids of a cluster whose keys are in it; `None` when there are none.
    pub(crate) fn ids_of(
        &self,
        cluster: &ClusterName,
    ) -> Option<(Bound<ResourceId>, Bound<ResourceId>)> {
        let begin = match &self.from {
            Some(from) if from.cluster > *cluster => return None,
            Some(from) if from.cluster == *cluster => Bound::Included(from.id.clone()),
            Some(_) | None => Bound::Unbounded,
        };
        let end = match &self.until {
            Some(until) if until.cluster < *cluster => return None,
            Some(until) if until.cluster == *cluster => Bound::Excluded(until.id.clone()),
            Some(_) | None => Bound::Unbounded,
        };
        // The range of a map must not run backwards.
        let runs_on = self.from.is_none() || self.until.is_none() || self.from < self.until;
        runs_on.then_some((begin, end))
    }
}

/// A part of a range that a [`Summary`] is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where it begins; it ends where the next one begins. `None` for the beginning of all keys.
    pub from: Option<Key>,
    /// The digest of what it holds.
    pub digest: Digest,
}

/// What a store says of a range of keys, at one level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The level of the parts.
    pub level: Level,
    /// The range.
    pub range: KeyRange,
    /// Its parts, in order; the first begins where the range does, unless each is a single key.
    pub parts: Vec<Part>,
}

/// How many more low zero bits of its hash make a key begin a range of the next level: ranges hold about 64 parts.
const FANOUT_BITS: u32 = 6;

/// Appends a key, and its value if there is one, as all sides of a comparison write it down: different for all that differ.
pub type Encode = fn(&Key, Option<&Resource>, &mut Vec<u8>);

/// The bytes that most keys take with their values.
const USUAL_BYTES: usize = 256;

/// The highest level whose ranges a key begins.
pub(crate) fn rank(encode: Encode, key: &Key) -> Level {
    let Digest([a, b, c, d, e, f, g, h, ..]) = digest_of(encode, key, None);
    let zeros = u64::from_le_bytes([a, b, c, d, e, f, g, h]).trailing_zeros();
    let rank = u8::try_from(zeros / FANOUT_BITS).unwrap_or(u8::MAX);
    Level(rank.min(Level::ROOT.0 - 1))
}

/// The digest of one key and its value.
pub(crate) fn of_resource(encode: Encode, key: &Key, value: &Resource) -> Digest {
    digest_of(encode, key, Some(value))
}

/// The digest of a range from those of its parts.
pub(crate) fn of_parts(level: Level, parts: impl Iterator<Item = Digest>) -> Digest {
    let mut hasher = Sha256::new_with_prefix([level.0]);
    for Digest(part) in parts {
        hasher.update(part);
    }
    cut(hasher)
}

fn digest_of(encode: Encode, key: &Key, value: Option<&Resource>) -> Digest {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    encode(key, value, &mut bytes);
    cut(Sha256::new_with_prefix(bytes))
}

fn cut(hasher: Sha256) -> Digest {
    let mut digest = [0; 16];
    digest.copy_from_slice(hasher.finalize().split_at(16).0);
    Digest(digest)
}

#[cfg(test)]
mod tests;
