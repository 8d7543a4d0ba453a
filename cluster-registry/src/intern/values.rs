//! Whole values that are alike, held once: most endpoints of a node differ in nothing but their address.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

/// Below this many values, it is not worth looking for some that nobody uses.
const MIN_PRUNE: usize = 1024;

/// The values of one type, by their hashes.
///
/// Of two values with the same hash only the first is shared, so that whoever looks for such pairs wins nothing.
#[derive(Debug)]
pub(super) struct Values<T> {
    by_hash: BTreeMap<u64, Arc<T>>,
    prune_at: usize,
}

/// Where a value that is new would be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vacancy(Option<u64>);

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self {
            by_hash: BTreeMap::new(),
            prune_at: MIN_PRUNE,
        }
    }
}

impl<T: Hash + Eq> Values<T> {
    /// Makes a value the one that is held, if there is one; else says where it may be kept.
    pub(super) fn share(&self, value: &mut Arc<T>) -> Option<Vacancy> {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        let hash = hasher.finish();
        match self.by_hash.get(&hash) {
            Some(held) if held == value => {
                Arc::clone_from(value, held);
                None
            }
            Some(_) => Some(Vacancy(None)),
            None => Some(Vacancy(Some(hash))),
        }
    }

    /// Holds a value that is equal to the one for which the vacancy was given.
    pub(super) fn keep(&mut self, vacancy: Vacancy, value: &Arc<T>) {
        let Vacancy(Some(hash)) = vacancy else {
            return;
        };
        self.prune_if_due();
        self.by_hash.insert(hash, Arc::clone(value));
    }

    /// Forgets what nobody else holds, once there are twice as many values as were of use the last time.
    fn prune_if_due(&mut self) {
        if self.by_hash.len() >= self.prune_at {
            self.by_hash.retain(|_, value| Arc::strong_count(value) > 1);
            self.prune_at = MIN_PRUNE.max(2 * self.by_hash.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_held_once_and_others_apart() {
        let mut values = Values::default();
        let one = shared(&mut values, "a");

        assert!(Arc::ptr_eq(&one, &shared(&mut values, "a")));
        assert!(!Arc::ptr_eq(&one, &shared(&mut values, "b")));
    }

    #[test]
    fn values_that_nobody_holds_are_forgotten() {
        let mut values = Values::default();
        let kept = shared(&mut values, "kept");
        for n in 1..20_000 {
            shared(&mut values, &n.to_string());
            assert!(values.by_hash.len() <= 2 * MIN_PRUNE);
        }

        assert!(Arc::ptr_eq(&kept, &shared(&mut values, "kept")));
    }

    fn shared(values: &mut Values<String>, text: &str) -> Arc<String> {
        let mut value = Arc::new(text.to_owned());
        if let Some(vacancy) = values.share(&mut value) {
            values.keep(vacancy, &value);
        }
        value
    }
}
