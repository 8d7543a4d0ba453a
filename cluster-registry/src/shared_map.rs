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
    root: Root<K, V>,
}

/// What a map holds. Most maps hold one entry, which needs no memory of its own.
enum Root<K, V> {
    Empty,
    One((K, V)),
    Many(Node<K, V>),
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// Sets a key, and returns what it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let mut old = None;
        self.set(key, |held| match held {
            Some(held) => {
                old = Some(std::mem::replace(held, value));
                None
            }
            None => Some(value),
        });
        old
    }

    /// Changes the value of a key, which is its default if there was none.
    pub fn update(&mut self, key: &K, change: impl FnOnce(&mut V))
    where
        V: Default,
    {
        self.set(key.clone(), |held| match held {
            Some(held) => {
                change(held);
                None
            }
            None => {
                let mut value = V::default();
                change(&mut value);
                Some(value)
            }
        });
    }

    /// Lets a function change what a key has, or else say what it gets.
    fn set(&mut self, key: K, set: impl FnOnce(Option<&mut V>) -> Option<V>) {
        match &mut self.root {
            Root::Empty => {
                if let Some(value) = set(None) {
                    self.root = Root::One((key, value));
                }
            }
            Root::One((own, value)) if *own == key => drop(set(Some(value))),
            Root::One(_) => {
                if let Some(value) = set(None) {
                    self.add_second((key, value));
                }
            }
            Root::Many(root) => {
                if let Some((key, right)) = root.set(key, set).cut {
                    let left = std::mem::take(root);
                    let first = left.first_key().unwrap_or(&key).clone();
                    *root = Node::branch(vec![(first, left), (key, right)]);
                }
            }
        }
    }

    fn add_second(&mut self, second: (K, V)) {
        if let Root::One(first) = std::mem::replace(&mut self.root, Root::Empty) {
            let entries = if first.0 < second.0 {
                vec![first, second]
            } else {
                vec![second, first]
            };
            self.root = Root::Many(Node::Leaf(Arc::new(entries)));
        }
    }

    /// The value of a key, to be changed; what other clones hold does not change.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        // Without this, the path to a key that is not there would be copied.
        self.get(key)?;
        let mut node = match &mut self.root {
            Root::Empty => return None,
            Root::One((_, value)) => return Some(value),
            Root::Many(root) => root,
        };
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|(own, _)| own.cmp(key)).ok()?;
                    return Some(&mut Arc::make_mut(entries).get_mut(at)?.1);
                }
                Node::Branch(branch) => {
                    let at = child_of(&branch.children, key);
                    node = &mut Arc::make_mut(branch).children.get_mut(at)?.1;
                }
            }
        }
    }

    /// The value of a key, which is its default if there was none, to be changed.
    pub fn get_or_default(&mut self, key: &K) -> &mut V
    where
        V: Default,
    {
        self.update(key, |_| ());
        self.get_mut(key).expect("it is there by now")
    }

    /// Removes a key, and returns what it had.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        // Without this, the path to a key that is not there would be copied.
        self.get(key)?;
        match &mut self.root {
            Root::Empty => None,
            Root::One(_) => match std::mem::replace(&mut self.root, Root::Empty) {
                Root::One((_, value)) => Some(value),
                Root::Empty | Root::Many(_) => None,
            },
            Root::Many(root) => {
                let old = root.remove(key);
                while let Node::Branch(branch) = &*root
                    && let [(_, only)] = branch.children.as_slice()
                {
                    *root = only.clone();
                }
                if let Node::Leaf(entries) = &*root
                    && let [only] = entries.as_slice()
                {
                    self.root = Root::One(only.clone());
                }
                old
            }
        }
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let mut node = match &self.root {
            Root::Empty => return None,
            Root::One((own, value)) => return (own == key).then_some(value),
            Root::Many(root) => root,
        };
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|(own, _)| own.cmp(key)).ok()?;
                    return entries.get(at).map(|(_, value)| value);
                }
                Node::Branch(branch) => {
                    let children = &branch.children;
                    node = &children.get(child_of(children, key))?.1;
                }
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
        let mut node = match &self.root {
            Root::Empty => return iter,
            Root::One(entry) => {
                if entry.0 >= *key {
                    iter.leaf = std::slice::from_ref(entry).iter();
                }
                return iter;
            }
            Root::Many(root) => root,
        };
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.partition_point(|(own, _)| own < key);
                    iter.leaf = entries.get(at..).unwrap_or_default().iter();
                    return iter;
                }
                Node::Branch(branch) => {
                    let children = &branch.children;
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
        Self { root: Root::Empty }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        match &self.root {
            Root::Empty => 0,
            Root::One(_) => 1,
            Root::Many(root) => root.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        matches!(self.root, Root::Empty)
    }

    /// Whether both hold the very same entries in the very same memory.
    fn is_same(&self, other: &Self) -> bool {
        match (&self.root, &other.root) {
            (Root::Empty, Root::Empty) => true,
            (Root::Many(one), Root::Many(two)) => one.is_same(two),
            (Root::Empty | Root::One(_) | Root::Many(_), _) => false,
        }
    }

    /// The entries, in the order of their keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter {
            branches: Vec::new(),
            leaf: [].iter(),
        };
        match &self.root {
            Root::Empty => {}
            Root::One(entry) => iter.leaf = std::slice::from_ref(entry).iter(),
            Root::Many(root) => iter.descend(root),
        }
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

impl<K: Clone, V: Clone> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        let root = match &self.root {
            Root::Empty => Root::Empty,
            Root::One(entry) => Root::One(entry.clone()),
            Root::Many(root) => Root::Many(root.clone()),
        };
        Self { root }
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
        self.len() == other.len() && (self.is_same(other) || self.iter().eq(other))
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
