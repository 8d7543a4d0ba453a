//! An ordered map that is cloned by reference: a change copies only the path to what it changes.
//!
//! A B-tree whose nodes are shared between clones. The view hands out its maps while the merge goes on changing them, so
//! the cost of a change must not grow with what the map holds. Nodes are as long as what they hold: with tens of
//! thousands of small maps, fixed slots would cost more than the values.
//!
//! Long because the map is one data structure, and reading it in parts would hide how its levels split and share.

mod differences;
mod iter;
mod node;

use std::{fmt, ops::Index, sync::Arc};

pub use iter::Iter;
use node::{Node, child_of};

/// The map.
pub struct SharedMap<K, V> {
    root: Node<K, V>,
    len: usize,
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// Sets a key, and returns what it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (old, right) = self.root.insert(key, value);
        if let Some((key, right)) = right {
            let left = std::mem::take(&mut self.root);
            let first = left.first_key().unwrap_or(&key).clone();
            self.root = Node::Branch(Arc::new(vec![(first, left), (key, right)]));
        }
        self.len += usize::from(old.is_none());
        old
    }

    /// The value of a key, to be changed; what other clones hold does not change.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        // Without this, the path to a key that is not there would be copied.
        self.get(key)?;
        let mut node = &mut self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|(own, _)| own.cmp(key)).ok()?;
                    return Some(&mut Arc::make_mut(entries).get_mut(at)?.1);
                }
                Node::Branch(children) => {
                    let at = child_of(children, key);
                    node = &mut Arc::make_mut(children).get_mut(at)?.1;
                }
            }
        }
    }

    /// The value of a key, which is its default if there was none, to be changed.
    pub fn get_or_default(&mut self, key: &K) -> &mut V
    where
        V: Default,
    {
        if !self.contains_key(key) {
            self.insert(key.clone(), V::default());
        }
        self.get_mut(key).expect("it was inserted")
    }

    /// Removes a key, and returns what it had.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        // Without this, the path to a key that is not there would be copied.
        self.get(key)?;
        let old = self.root.remove(key);
        while let Node::Branch(children) = &self.root
            && let [(_, only)] = children.as_slice()
        {
            self.root = only.clone();
        }
        self.len -= usize::from(old.is_some());
        old
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|(own, _)| own.cmp(key)).ok()?;
                    return entries.get(at).map(|(_, value)| value);
                }
                Node::Branch(children) => node = &children.get(child_of(children, key))?.1,
            }
        }
    }

    /// Whether the key is there.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The entries from a key on, in order.
    pub fn iter_from<'a>(&'a self, key: &K) -> Iter<'a, K, V> {
        let mut iter = Iter {
            branches: Vec::new(),
            leaf: [].iter(),
        };
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.partition_point(|(own, _)| own < key);
                    iter.leaf = entries.get(at..).unwrap_or_default().iter();
                    return iter;
                }
                Node::Branch(children) => {
                    let mut rest = children
                        .get(child_of(children, key)..)
                        .unwrap_or_default()
                        .iter();
                    let Some((_, child)) = rest.next() else {
                        return iter;
                    };
                    iter.branches.push(rest);
                    node = child;
                }
            }
        }
    }
}

impl<K, V> SharedMap<K, V> {
    /// A map without entries.
    pub fn new() -> Self {
        Self {
            root: Node::default(),
            len: 0,
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entries, in the order of their keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter {
            branches: Vec::new(),
            leaf: [].iter(),
        };
        iter.descend(&self.root);
        iter
    }

    /// The keys, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &K> + Clone {
        self.iter().map(|(key, _)| key)
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> + Clone {
        self.iter().map(|(_, value)| value)
    }
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self {
            root: self.root.clone(),
            len: self.len,
        }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && (self.root.is_same(&other.root) || self.iter().eq(other))
    }
}

impl<K: Eq, V: Eq> Eq for SharedMap<K, V> {}

impl<'a, K, V> IntoIterator for &'a SharedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(entries: T) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: Ord, V> Index<&K> for SharedMap<K, V> {
    type Output = V;

    /// The value of a key that is there; panics as those of the standard library do.
    fn index(&self, key: &K) -> &V {
        self.get(key).expect("the key is in the map")
    }
}

#[cfg(test)]
mod tests;
