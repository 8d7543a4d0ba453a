//! The nodes of a shared map: how they are cut when they grow too long, and joined when they shrink.

use std::sync::Arc;

/// The most entries of a node: copying one touches as many reference counts. Four levels hold 65,536.
pub(super) const MAX_ENTRIES: usize = 16;

/// A node of the tree; all leaves are equally deep.
pub(super) enum Node<K, V> {
    Leaf(Arc<Vec<(K, V)>>),
    Branch(Arc<Branch<K, V>>),
}

/// A node with nodes below it.
pub(super) struct Branch<K, V> {
    /// Each child under a key that none of its own is less than.
    pub(super) children: Vec<(K, Node<K, V>)>,
    /// How many entries there are below.
    len: usize,
}

/// What setting a key did to a node.
pub(super) struct Set<K, V> {
    /// Whether the key is new.
    is_new: bool,
    /// The right half of the node if it had to be cut.
    pub(super) cut: Option<(K, Node<K, V>)>,
}

impl<K, V> Clone for Node<K, V> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(entries) => Self::Leaf(Arc::clone(entries)),
            Self::Branch(branch) => Self::Branch(Arc::clone(branch)),
        }
    }
}

impl<K: Clone, V> Clone for Branch<K, V> {
    fn clone(&self) -> Self {
        Self {
            children: self.children.clone(),
            len: self.len,
        }
    }
}

impl<K, V> Default for Node<K, V> {
    fn default() -> Self {
        Self::Leaf(Arc::default())
    }
}

impl<K: Ord + Clone, V: Clone> Node<K, V> {
    /// Lets a function change what a key has, or else say what it gets.
    pub(super) fn set(
        &mut self,
        key: K,
        set: impl FnOnce(Option<&mut V>) -> Option<V>,
    ) -> Set<K, V> {
        match self {
            Self::Leaf(entries) => {
                let entries = Arc::make_mut(entries);
                let found = entries.binary_search_by(|(own, _)| own.cmp(&key));
                let value = match found {
                    Ok(at) => set(Some(&mut entries[at].1)),
                    Err(_) => set(None),
                };
                let (Err(at), Some(value)) = (found, value) else {
                    let (is_new, cut) = (false, None);
                    return Set { is_new, cut };
                };
                let right = place(entries, at, (key, value));
                let cut = right.map(|(key, right)| (key, Self::Leaf(Arc::new(right))));
                Set { is_new: true, cut }
            }
            Self::Branch(branch) => {
                let branch = Arc::make_mut(branch);
                let at = child_of(&branch.children, &key);
                let (first, child) = &mut branch.children[at];
                if key < *first {
                    *first = key.clone();
                }
                let Set { is_new, cut } = child.set(key, set);
                branch.len += usize::from(is_new);
                let right = cut.and_then(|cut| place(&mut branch.children, at + 1, cut));
                let cut = right.map(|(key, right)| {
                    let right = Self::branch(right);
                    branch.len -= right.len();
                    (key, right)
                });
                Set { is_new, cut }
            }
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        match self {
            Self::Leaf(entries) => {
                let at = entries.binary_search_by(|(own, _)| own.cmp(key)).ok()?;
                Some(Arc::make_mut(entries).remove(at).1)
            }
            Self::Branch(branch) => {
                let at = child_of(&branch.children, key);
                let branch = Arc::make_mut(branch);
                let children = &mut branch.children;
                let old = children.get_mut(at)?.1.remove(key);
                branch.len -= usize::from(old.is_some());
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
    pub(super) fn branch(children: Vec<(K, Self)>) -> Self {
        let len = children.iter().map(|(_, child)| child.len()).sum();
        Self::Branch(Arc::new(Branch { children, len }))
    }

    /// How many entries it holds.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Branch(branch) => branch.len,
        }
    }

    pub(super) fn first_key(&self) -> Option<&K> {
        match self {
            Self::Leaf(entries) => entries.first().map(|(key, _)| key),
            Self::Branch(branch) => branch.children.first().map(|(key, _)| key),
        }
    }

    /// How many entries or children it has itself.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Branch(branch) => branch.children.len(),
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
            let left = Arc::make_mut(left);
            left.children.extend(right.children.iter().cloned());
            left.len += right.len;
        }
        // All leaves are equally deep.
        (Node::Leaf(_), Node::Branch(_)) | (Node::Branch(_), Node::Leaf(_)) => return false,
    }
    children.remove(at + 1);
    true
}
