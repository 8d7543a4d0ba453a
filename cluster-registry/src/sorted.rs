//! Small values in an order that whoever asks knows, in hardly more memory than they take themselves.

use std::cmp::Ordering;

/// The most values that are moved for a new one.
const MAX_CHUNK: usize = 256;

/// The values, in chunks of which none is empty.
#[derive(Debug)]
pub(crate) struct Sorted<T> {
    chunks: Vec<Vec<T>>,
}

/// Where a value is or would be; it counts until the next change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    chunk: usize,
    at: usize,
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T: Copy> Sorted<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The value that is equal to what is asked for, where `order` tells how a value compares to that.
    pub(crate) fn get(&self, order: impl Fn(T) -> Ordering) -> Option<T> {
        self.at(self.find(order).ok()?)
    }

    /// The value at a place where one is.
    pub(crate) fn at(&self, place: Place) -> Option<T> {
        self.chunks.get(place.chunk)?.get(place.at).copied()
    }

    /// Where a value is, or else where it would be.
    pub(crate) fn find(&self, order: impl Fn(T) -> Ordering) -> Result<Place, Place> {
        let chunk = self.chunk_of(|value| order(value).is_lt());
        let Some(values) = self.chunks.get(chunk) else {
            // It is beyond all others, and belongs to the last chunk.
            let chunk = chunk.saturating_sub(1);
            let at = self.chunks.get(chunk).map_or(0, Vec::len);
            return Err(Place { chunk, at });
        };
        let at = values.binary_search_by(|value| order(*value));
        let place = |at| Place { chunk, at };
        at.map(place).map_err(place)
    }

    /// Adds a value where it would be.
    pub(crate) fn insert_at(&mut self, at: Place, value: T) {
        let is_last = at.chunk + 1 >= self.chunks.len();
        let Some(chunk) = self.chunks.get_mut(at.chunk) else {
            // Most have one chunk.
            self.chunks.reserve_exact(1);
            self.chunks.push(vec![value]);
            return;
        };
        if chunk.len() < MAX_CHUNK {
            insert(chunk, at.at, value);
            return;
        }
        // Those that come in order leave full chunks behind.
        if is_last && at.at == chunk.len() {
            self.chunks.push(vec![value]);
            return;
        }
        let mut right = chunk.split_off(MAX_CHUNK / 2);
        if at.at <= chunk.len() {
            insert(chunk, at.at, value);
        } else {
            insert(&mut right, at.at - MAX_CHUNK / 2, value);
        }
        chunk.shrink_to_fit();
        self.chunks.insert(at.chunk + 1, right);
    }

    /// Removes the value at a place where one is.
    pub(crate) fn remove_at(&mut self, at: Place) {
        if let Some(chunk) = self.chunks.get_mut(at.chunk) {
            chunk.remove(at.at);
            self.join(at.chunk);
        }
    }

    /// All values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = T> {
        self.chunks.iter().flatten().copied()
    }

    /// The values after those that come before something.
    pub(crate) fn iter_from(&self, is_before: impl Fn(T) -> bool) -> impl Iterator<Item = T> {
        let chunk = self.chunk_of(&is_before);
        let (first, rest) = match self.chunks.get(chunk..) {
            Some([first, rest @ ..]) => (first.as_slice(), rest),
            Some([]) | None => (&[][..], &[][..]),
        };
        let at = first.partition_point(|value| is_before(*value));
        let first = first.get(at..).unwrap_or_default();
        first.iter().chain(rest.iter().flatten()).copied()
    }

    /// The first chunk that does not come before something as a whole.
    fn chunk_of(&self, is_before: impl Fn(T) -> bool) -> usize {
        let is_whole = |chunk: &Vec<T>| chunk.last().is_some_and(|last| is_before(*last));
        self.chunks.partition_point(is_whole)
    }

    /// Keeps chunks from being empty, or many and short.
    fn join(&mut self, at: usize) {
        let len = |at: usize| self.chunks.get(at).map_or(MAX_CHUNK, Vec::len);
        if len(at) == 0 {
            self.chunks.remove(at);
        } else if len(at) + len(at + 1) <= MAX_CHUNK / 2 {
            let next = self.chunks.remove(at + 1);
            if let Some(chunk) = self.chunks.get_mut(at) {
                chunk.extend(next);
            }
        }
    }
}

/// Inserts a value, with little room for more: most chunks stay as they are.
fn insert<T>(chunk: &mut Vec<T>, at: usize, value: T) {
    if chunk.len() == chunk.capacity() {
        chunk.reserve_exact(chunk.len() / 8 + 1);
    }
    chunk.insert(at, value);
}

impl<T: Copy> FromIterator<T> for Sorted<T> {
    /// Takes a few values that are in their order.
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut sorted = Self::default();
        for value in values {
            let chunk = sorted.chunks.len().saturating_sub(1);
            let at = sorted.chunks.last().map_or(0, Vec::len);
            sorted.insert_at(Place { chunk, at }, value);
        }
        sorted
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_stand_in_their_order(
            steps in prop::collection::vec((0..2000u32, prop::bool::weighted(0.7)), 0..3000),
            from in 0..2000u32,
            in_order in any::<bool>(),
        ) {
            let mut sorted = Sorted::default();
            let mut plain = BTreeSet::new();
            for (n, (value, comes)) in (0..).zip(steps) {
                let value = if in_order { n } else { value };
                match (sorted.find(|own: u32| own.cmp(&value)), comes) {
                    (Err(place), true) => sorted.insert_at(place, value),
                    (Ok(place), false) => sorted.remove_at(place),
                    (Ok(_), true) | (Err(_), false) => {}
                }
                if comes {
                    plain.insert(value);
                } else {
                    plain.remove(&value);
                }
                let expected = plain.get(&value).copied();
                prop_assert_eq!(sorted.get(|own| own.cmp(&value)), expected);
            }

            let fits = |chunk: &Vec<u32>| (1..=MAX_CHUNK).contains(&chunk.len());
            prop_assert!(sorted.chunks.iter().all(fits));
            prop_assert_eq!(sorted.is_empty(), plain.is_empty());
            prop_assert!(sorted.iter().eq(plain.iter().copied()));
            let after = sorted.iter_from(|own| own < from);
            prop_assert!(after.eq(plain.range(from..).copied()));
        }
    }
}
