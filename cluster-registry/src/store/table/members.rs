//! The endpoints of one service in one cluster, by address.

use std::cmp::Ordering;

use super::KeyId;
use crate::{
    sorted::Sorted,
    store::slab::{Slab, SlotId},
};

/// The endpoints of services that have more than one.
pub(super) type Lists = Slab<Sorted<KeyId>>;

/// The endpoints, in the order of their addresses; whoever asks says how an endpoint's compares to another.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Members {
    #[default]
    None,
    /// Most services of most clusters have one.
    One(KeyId),
    Many(SlotId),
}

impl Members {
    pub(super) fn get(self, lists: &Lists, order: impl Fn(KeyId) -> Ordering) -> Option<KeyId> {
        match self {
            Self::None => None,
            Self::One(one) => order(one).is_eq().then_some(one),
            Self::Many(list) => lists.get(list)?.get(order),
        }
    }

    /// Adds an endpoint that is not there.
    pub(super) fn insert(
        &mut self,
        lists: &mut Lists,
        id: KeyId,
        order: impl Fn(KeyId) -> Ordering,
    ) {
        match *self {
            Self::None => *self = Self::One(id),
            Self::One(one) => {
                let both = if order(one).is_lt() {
                    [one, id]
                } else {
                    [id, one]
                };
                *self = Self::Many(lists.insert(both.into_iter().collect()));
            }
            Self::Many(list) => {
                if let Some(list) = lists.get_mut(list)
                    && let Err(place) = list.find(order)
                {
                    list.insert_at(place, id);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, lists: &mut Lists, order: impl Fn(KeyId) -> Ordering) {
        match *self {
            Self::None => {}
            Self::One(one) => {
                if order(one).is_eq() {
                    *self = Self::None;
                }
            }
            Self::Many(number) => {
                let Some(list) = lists.get_mut(number) else {
                    return;
                };
                if let Ok(place) = list.find(order) {
                    list.remove_at(place);
                }
                let left: Vec<KeyId> = list.iter().take(2).collect();
                if left.len() < 2 {
                    *self = left.first().map_or(Self::None, |one| Self::One(*one));
                    lists.remove(number);
                }
            }
        }
    }

    pub(super) fn is_empty(self) -> bool {
        matches!(self, Self::None)
    }

    pub(super) fn iter(self, lists: &Lists) -> impl Iterator<Item = KeyId> {
        let (one, list) = self.parts(lists);
        one.into_iter()
            .chain(list.into_iter().flat_map(Sorted::iter))
    }

    /// The endpoints after those that come before something.
    pub(super) fn iter_from(
        self,
        lists: &Lists,
        is_before: impl Fn(KeyId) -> bool,
    ) -> impl Iterator<Item = KeyId> {
        let (one, list) = self.parts(lists);
        let one = one.filter(|one| !is_before(*one));
        let list = list.map(|list| list.iter_from(is_before));
        one.into_iter().chain(list.into_iter().flatten())
    }

    fn parts(self, lists: &Lists) -> (Option<KeyId>, Option<&Sorted<KeyId>>) {
        match self {
            Self::None => (None, None),
            Self::One(one) => (Some(one), None),
            Self::Many(list) => (None, lists.get(list)),
        }
    }
}
