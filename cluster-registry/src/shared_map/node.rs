//! The nodes of a shared map: how they are cut when they grow too long, and joined when they shrink.

use std::sync::Arc;

/// The most entries of a node: copying one touches as many reference counts. Four levels hold 65,536.
pub(super) const MAX_ENTRIES: usize = 16;

/// A node of the tree; all leaves are equally deep.
pub(super) enum Node<K, V> {
    Leaf(Arc<Vec<(K, V)>>),
    /// Each child under a key that none of its own is less than.
    Branch(Arc<Vec<(K, Self)>>),
}

impl<K, V> Clone for Node<K, V> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(entries) => Self::Leaf(Arc::clone(entries)),
            Self::Branch(children) => Self::Branch(Arc::clone(children)),
        }
    }
}

impl<K, V> Default for Node<K, V> {
    fn default() -> Self {
        Self::Leaf(Arc::default())
    }
}

impl<K: Ord + Clone, V: Clone> Node<K, V> {
    /// Sets a key, and returns what it had, and the right half of the node if it had to be cut.
    pub(super) fn insert(&mut self, key: K, value: V) -> (Option<V>, Option<(K, Self)>) {
        match self {
            Self::Leaf(entries) => {
                let entries = Arc::make_mut(entries);
                match entries.binary_search_by(|(own, _)| own.cmp(&key)) {
                    Ok(at) => (Some(std::mem::replace(&mut entries[at].1, value)), None),
                    Err(at) => {
                        let right = place(entries, at, (key, value));
                        let right = right.map(|(key, right)| (key, Self::Leaf(Arc::new(right))));
                        (None, right)
                    }
                }
            }
            Self::Branch(children) => {
                let at = child_of(children, &key);
                let children = Arc::make_mut(children);
                if key < children[at].0 {
                    children[at].0 = key.clone();
                }
                let (old, cut) = children[at].1.insert(key, value);
                let right = cut.and_then(|cut| place(children, at + 1, cut));
                let right = right.map(|(key, right)| (key, Self::Branch(Arc::new(right))));
                (old, right)
            }
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        match self {
            Self::Leaf(entries) => {
                let at = entries.binary_search_by(|(own, _)| own.cmp(key)).ok()?;
                Some(Arc::make_mut(entries).remove(at).1)
            }
            Self::Branch(children) => {
                let at = child_of(children, key);
                let children = Arc::make_mut(children);
                let old = children.get_mut(at)?.1.remove(key);
                if children[at].1.count() == 0 {
                    children.remove(at);
                } else if !join(children, at) && at > 0 {
                    join(children, at - 1);
                }
                old
            }
        }
    }
}

impl<K, V> Node<K, V> {
    pub(super) fn first_key(&self) -> Option<&K> {
        match self {
            Self::Leaf(entries) => entries.first().map(|(key, _)| key),
            Self::Branch(children) => children.first().map(|(key, _)| key),
        }
    }

    pub(super) fn count(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Branch(children) => children.len(),
        }
    }
}

/// Which child a key belongs to.
pub(super) fn child_of<K: Ord, V>(children: &[(K, Node<K, V>)], key: &K) -> usize {
    let after = children.partition_point(|(first, _)| first <= key);
    after.saturating_sub(1)
}

/// Inserts an entry, and returns the right part, with its first key, of a node that is then too long.
fn place<K: Clone, T>(
    entries: &mut Vec<(K, T)>,
    at: usize,
    entry: (K, T),
) -> Option<(K, Vec<(K, T)>)> {
    if entries.len() < MAX_ENTRIES {
        if entries.len() == entries.capacity() {
            entries.reserve_exact(room(entries.len()));
        }
        entries.insert(at, entry);
        return None;
    }
    // Keys that come in order leave full nodes behind, and fill the next one at once.
    if at == entries.len() {
        let mut right = Vec::with_capacity(MAX_ENTRIES);
        let first = entry.0.clone();
        right.push(entry);
        return Some((first, right));
    }
    let cut = MAX_ENTRIES / 2;
    let mut right = entries.split_off(cut);
    if at < cut {
        entries.insert(at, entry);
    } else {
        right.insert(at - cut, entry);
    }
    entries.shrink_to(entries.len() + room(entries.len()));
    let first = right.first()?.0.clone();
    Some((first, right))
}

/// How much room a full node gains: little, as most maps are small and stay as they are.
fn room(entries: usize) -> usize {
    entries / 4 + 1
}

/// Puts a child and its right neighbour into one if that leaves room to grow, and returns whether it did.
fn join<K: Clone, V: Clone>(children: &mut Vec<(K, Node<K, V>)>, at: usize) -> bool {
    let [(_, left), (_, right), ..] = children.get_mut(at..).unwrap_or_default() else {
        return false;
    };
    if left.count() + right.count() > MAX_ENTRIES / 2 {
        return false;
    }
    match (left, right) {
        (Node::Leaf(left), Node::Leaf(right)) => {
            Arc::make_mut(left).extend(right.iter().cloned());
        }
        (Node::Branch(left), Node::Branch(right)) => {
            Arc::make_mut(left).extend(right.iter().cloned());
        }
        // All leaves are equally deep.
        (Node::Leaf(_), Node::Branch(_)) | (Node::Branch(_), Node::Leaf(_)) => return false,
    }
    children.remove(at + 1);
    true
}
