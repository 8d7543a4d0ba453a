//! What two shared maps do not have in common, found without looking at what they share.

use std::sync::Arc;

use super::{Root, SharedMap, node::Node};

impl<K: Ord, V> SharedMap<K, V> {
    /// The keys that are in one of two maps only, or whose values are not the same, in their order.
    ///
    /// Between a map and an earlier clone of it this costs what has changed, not what they hold: nodes that both have are
    /// passed over.
    pub fn differences<'a>(
        &'a self,
        other: &'a Self,
        is_same: impl Fn(&V, &V) -> bool + 'a,
    ) -> impl Iterator<Item = &'a K> {
        let mut walk = Walk {
            sides: [self, other].map(|map| map.root.part().into_iter().collect()),
            is_same,
        };
        std::iter::from_fn(move || walk.next())
    }
}

/// What is left of a side, the next part last.
type Rest<'a, K, V> = Vec<Part<'a, K, V>>;

enum Part<'a, K, V> {
    Node(&'a Node<K, V>),
    Entry(&'a (K, V)),
}

struct Walk<'a, K, V, F> {
    sides: [Rest<'a, K, V>; 2],
    is_same: F,
}

impl<'a, K: Ord, V, F: Fn(&V, &V) -> bool> Walk<'a, K, V, F> {
    fn next(&mut self) -> Option<&'a K> {
        loop {
            let [one, other] = &mut self.sides;
            match (one.last(), other.last()) {
                (Some(Part::Node(left)), Some(Part::Node(right))) => {
                    let (left, right) = (*left, *right);
                    if left.is_same(right) {
                        one.pop();
                        other.pop();
                        continue;
                    }
                    // The trees may be of different heights: what they share is equally deep below both.
                    let order = left.height().cmp(&right.height());
                    if order.is_ge() {
                        open(one);
                    }
                    if order.is_le() {
                        open(other);
                    }
                }
                (Some(Part::Node(_)), _) => open(one),
                (_, Some(Part::Node(_))) => open(other),
                (left, right) => {
                    let (left, right) = (entry(left), entry(right));
                    let key = left.or(right).map(|(key, _)| key)?;
                    let key = right.map_or(key, |(other, _)| key.min(other));
                    let left = left.filter(|(own, _)| own == key);
                    let right = right.filter(|(own, _)| own == key);
                    if left.is_some() {
                        one.pop();
                    }
                    if right.is_some() {
                        other.pop();
                    }
                    let is_same = left
                        .zip(right)
                        .is_some_and(|((_, left), (_, right))| (self.is_same)(left, right));
                    if !is_same {
                        return Some(key);
                    }
                }
            }
        }
    }
}

fn entry<'a, K, V>(part: Option<&Part<'a, K, V>>) -> Option<&'a (K, V)> {
    match part {
        Some(Part::Entry(entry)) => Some(entry),
        Some(Part::Node(_)) | None => None,
    }
}

/// Puts what the next node holds in its place.
fn open<K, V>(rest: &mut Rest<'_, K, V>) {
    match rest.pop() {
        Some(Part::Node(Node::Leaf(entries))) => rest.extend(entries.iter().rev().map(Part::Entry)),
        Some(Part::Node(Node::Branch(branch))) => {
            let children = branch.children.iter();
            rest.extend(children.rev().map(|(_, child)| Part::Node(child)));
        }
        Some(Part::Entry(_)) | None => {}
    }
}

impl<K, V> Root<K, V> {
    fn part(&self) -> Option<Part<'_, K, V>> {
        match self {
            Self::Empty => None,
            Self::One(entry) => Some(Part::Entry(entry)),
            Self::Many(root) => Some(Part::Node(root)),
        }
    }
}

impl<K, V> Node<K, V> {
    /// Whether it is the very same node.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Leaf(one), Self::Leaf(two)) => Arc::ptr_eq(one, two),
            (Self::Branch(one), Self::Branch(two)) => Arc::ptr_eq(one, two),
            (Self::Leaf(_), Self::Branch(_)) | (Self::Branch(_), Self::Leaf(_)) => false,
        }
    }

    fn height(&self) -> usize {
        let (mut height, mut node) = (0, self);
        while let Self::Branch(branch) = node
            && let Some((_, first)) = branch.children.first()
        {
            (height, node) = (height + 1, first);
        }
        height
    }
}
