//! The digests of ranges of keys, kept as what stands under the keys changes: a change costs one mark for each level, and
//! only asking hashes.

use std::{collections::BTreeMap, ops::Bound};

use super::{Digest, Encode, KeyRange, Level, Part, Summary, of_parts, rank};
use crate::resource::Key;

/// The first level that is kept; below it are single keys, hashed whenever their range is.
const FINEST: u8 = Level::KEYS.0 + 1;

/// The ranges of one level by where each begins, with their digests as far as these are known.
type Ranges = BTreeMap<Option<Key>, Option<Digest>>;

/// The digests of ranges; whoever asks for one says what stands in ranges of single keys.
#[derive(Debug)]
pub(crate) struct Tree {
    encode: Encode,
    /// From the finest kept level up to the one below the root, whose one range is not kept.
    levels: Vec<Ranges>,
}

impl Tree {
    /// The ranges of some keys, without a digest yet.
    pub(crate) fn new(encode: Encode, keys: impl Iterator<Item = Key>) -> Self {
        let beginning = || Ranges::from([(None, None)]);
        let mut tree = Self {
            encode,
            levels: (FINEST..Level::ROOT.0).map(|_| beginning()).collect(),
        };
        for key in keys {
            let begins = rank(encode, &key);
            for level in tree.levels.iter_mut().take(usize::from(begins.0)) {
                level.insert(Some(key.clone()), None);
            }
        }
        tree
    }

    /// Notes that a key came, went or has another value; what has not changed may be noted too.
    pub(crate) fn note(&mut self, key: &Key, is_present: bool) {
        let begins = usize::from(rank(self.encode, key).0);
        let at = Some(key.clone());
        for (n, level) in self.levels.iter_mut().enumerate() {
            let was_present = n < begins && level.contains_key(&at);
            if n < begins && was_present != is_present {
                // The range before gets longer or shorter.
                let before = level.range_mut(..&at).next_back();
                before.into_iter().for_each(|(_, digest)| *digest = None);
                if is_present {
                    level.insert(at.clone(), None);
                    continue;
                }
                level.remove(&at);
            }
            let around = level.range_mut(..=&at).next_back();
            around.into_iter().for_each(|(_, digest)| *digest = None);
        }
    }

    /// What stands in a range.
    pub(crate) fn summary(
        &mut self,
        level: Level,
        range: &KeyRange,
        keys: &impl Fn(&KeyRange) -> Vec<Part>,
    ) -> Summary {
        let parts = match level {
            Level::KEYS => keys(range),
            level => self
                .split(level, range)
                .into_iter()
                .map(|part| Part {
                    digest: self.digest(level, &part, keys),
                    from: part.from,
                })
                .collect(),
        };
        Summary {
            level,
            range: range.clone(),
            parts,
        }
    }

    /// The digest of a range as one of a level; it is a function of what stands in the range and nothing else.
    fn digest(
        &mut self,
        level: Level,
        range: &KeyRange,
        keys: &impl Fn(&KeyRange) -> Vec<Part>,
    ) -> Digest {
        if let Some(known) = self.whole(level, range).and_then(|digest| *digest) {
            return known;
        }
        let finer = level.finer().unwrap_or(Level::KEYS);
        let digest = if finer == Level::KEYS {
            let parts = keys(range);
            of_parts(level, parts.into_iter().map(|part| part.digest))
        } else {
            let parts = self.split(finer, range).into_iter();
            let digests: Vec<Digest> = parts.map(|p| self.digest(finer, &p, keys)).collect();
            of_parts(level, digests.into_iter())
        };
        if let Some(kept) = self.whole(level, range) {
            *kept = Some(digest);
        }
        digest
    }

    /// Where the digest of a range is kept, if it is exactly one of the level's.
    fn whole(&mut self, level: Level, range: &KeyRange) -> Option<&mut Option<Digest>> {
        let ranges = self.level_mut(level)?;
        let mut from_here = ranges.range_mut(&range.from..);
        let (from, digest) = from_here.next()?;
        let until = from_here.next().and_then(|(next, _)| next.as_ref());
        (*from == range.from && until == range.until.as_ref()).then_some(digest)
    }

    /// The parts of a range at a level: the first begins where the range does, whether a range of the level does or not.
    fn split(&mut self, level: Level, range: &KeyRange) -> Vec<KeyRange> {
        let mut starts = vec![range.from.clone()];
        if let Some(ranges) = self.level_mut(level) {
            let inner = (Bound::Excluded(&range.from), Bound::Unbounded);
            let inner = ranges.range(inner).map(|(start, _)| start);
            let is_inside = |start: &&Option<Key>| {
                let (Some(start), Some(until)) = (start, &range.until) else {
                    return true;
                };
                start < until
            };
            starts.extend(inner.take_while(is_inside).cloned());
        }
        let ends = starts.iter().skip(1).cloned();
        let ends: Vec<Option<Key>> = ends.chain([range.until.clone()]).collect();
        let parts = starts.into_iter().zip(ends);
        parts
            .map(|(from, until)| KeyRange { from, until })
            .collect()
    }

    fn level_mut(&mut self, level: Level) -> Option<&mut Ranges> {
        let at = level.0.checked_sub(FINEST)?;
        self.levels.get_mut(usize::from(at))
    }
}
