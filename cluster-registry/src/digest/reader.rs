//! The digests of what one reader of a store may know, brought up to date when they are asked for.
//!
//! They are one more subscriber of the store: what changed since they were last asked for is what is hashed anew.

use super::{Encode, KeyRange, Part, Step, Summary, Tree, first_step, next_step, of_resource};
use crate::{
    resource::Key,
    store::{Cursor, Scope, Store},
};

/// How many changes of the store are taken at once.
const PAGE: usize = 1024;

/// The digests of a store, or of a scope of it.
#[derive(Debug)]
pub struct StoreDigests {
    encode: Encode,
    scope: Option<Scope>,
    /// The ranges, and the position of the store that they are of.
    known: Option<(Tree, Cursor)>,
}

impl StoreDigests {
    /// Digests that nobody has asked for; always ask for those of the same store.
    pub fn new(encode: Encode, scope: Option<Scope>) -> Self {
        Self {
            encode,
            scope,
            known: None,
        }
    }

    /// What the store answers to what the other side says; nothing begins the comparison.
    pub fn compare(&mut self, store: &Store, theirs: &[Summary]) -> Step {
        let mut tree = self.take_tree(store);
        let mut own = |level, range: &KeyRange| {
            tree.summary(level, range, &|range: &KeyRange| self.keys(store, range))
        };
        let step = match theirs {
            [] => first_step(own),
            theirs => next_step(theirs, &mut own),
        };
        self.known = Some((tree, store.cursor()));
        step
    }

    /// What the store holds in a range.
    #[cfg(test)]
    pub(crate) fn summary(
        &mut self,
        store: &Store,
        level: super::Level,
        range: &KeyRange,
    ) -> Summary {
        let mut tree = self.take_tree(store);
        let summary = tree.summary(level, range, &|range: &KeyRange| self.keys(store, range));
        self.known = Some((tree, store.cursor()));
        summary
    }

    /// The ranges as they now are.
    fn take_tree(&mut self, store: &Store) -> Tree {
        let known = self.known.take();
        if let Some(tree) = known.and_then(|(tree, at)| self.catch_up(tree, at, store)) {
            return tree;
        }
        let keys = store.iter().map(|(key, _)| key);
        Tree::new(self.encode, keys.filter(|key| self.contains(key)))
    }

    /// Takes what changed; `None` when the store has forgotten what did.
    fn catch_up(&self, mut tree: Tree, mut at: Cursor, store: &Store) -> Option<Tree> {
        loop {
            let batch = store.changes_after(Some(at), PAGE).ok()?;
            for change in batch.changes.iter().filter(|c| self.contains(&c.key)) {
                tree.note(&change.key, change.value.is_some());
            }
            if batch.is_last {
                return Some(tree);
            }
            at = batch.cursor;
        }
    }

    fn contains(&self, key: &Key) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.contains(key))
    }

    fn keys(&self, store: &Store, range: &KeyRange) -> Vec<Part> {
        let held = store.range(range).filter(|(key, _)| self.contains(key));
        let part = |(key, value)| Part {
            digest: of_resource(self.encode, &key, &value),
            from: Some(key),
        };
        held.map(part).collect()
    }
}
