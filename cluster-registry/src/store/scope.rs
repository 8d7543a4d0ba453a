//! The part of a store that one reader may know: what it may not know is never in a batch.

use super::{Batch, Cursor, Epoch, Page, ResumeError, Store};
use crate::{
    digest::KeyRange,
    import::Namespaces,
    resource::{Key, ResourceId},
};

/// A reader's part of a store, under an epoch of its own.
///
/// A cursor says what its reader has been told, so that it only counts within the scope in which it was given: each
/// scope needs an epoch that no other scope and no earlier life of the store had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    epoch: Epoch,
    namespaces: Namespaces,
}

impl Scope {
    /// The part of a store with the services and endpoints of some namespaces, and all that is in no namespace.
    pub fn new(epoch: Epoch, namespaces: Namespaces) -> Self {
        Self { epoch, namespaces }
    }

    /// The epoch under which it is read.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether the reader may know of a key.
    pub fn contains(&self, key: &Key) -> bool {
        match &key.id {
            ResourceId::Cluster | ResourceId::Node(_) | ResourceId::Tunnel(_) => true,
            ResourceId::Service(service) | ResourceId::Endpoint(service, _) => {
                self.namespaces.contains(&service.namespace)
            }
            ResourceId::Namespace(_) | ResourceId::Import(_) => false,
        }
    }

    /// Where a reader stands that knows all it may know.
    pub fn cursor(&self, store: &Store) -> Cursor {
        self.outward(store.cursor())
    }

    /// The next changes after a cursor that was given in this scope, of at most `limit` changes of the store.
    ///
    /// A batch may be empty and not the last: the reader goes on from its cursor.
    pub fn changes_after(
        &self,
        store: &Store,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Batch, ResumeError> {
        let inward = match cursor {
            Some(cursor) if cursor.epoch != self.epoch => return Err(ResumeError::OtherEpoch),
            Some(cursor) => Some(Cursor {
                epoch: store.cursor().epoch,
                ..cursor
            }),
            None => None,
        };
        let mut batch = store.changes_after(inward, limit)?;
        batch.changes.retain(|change| self.contains(&change.key));
        batch.cursor = self.outward(batch.cursor);
        Ok(batch)
    }

    /// The next present resources of some ranges of keys, of at most `limit` of the store's; a page may be empty and not
    /// the last.
    pub fn page(&self, store: &Store, ranges: &[KeyRange], limit: usize) -> Page {
        let mut page = store.page(ranges, limit);
        page.changes.retain(|change| self.contains(&change.key));
        page.cursor = self.outward(page.cursor);
        page
    }

    fn outward(&self, cursor: Cursor) -> Cursor {
        Cursor {
            epoch: self.epoch,
            ..cursor
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        name::Namespace,
        resource::Resource,
        testing::{any_change, key, service, shop},
    };

    fn bank() -> Namespaces {
        Namespaces::Only(BTreeSet::from([Namespace::parse("bank").unwrap()]))
    }

    #[test]
    fn a_cursor_of_another_scope_does_not_count() {
        let store = Store::new(Epoch(1));
        let (one, other) = (
            Scope::new(Epoch(7), Namespaces::All),
            Scope::new(Epoch(8), bank()),
        );

        let cursor = one.cursor(&store);

        assert!(one.changes_after(&store, Some(cursor), 1).is_ok());
        for scope in [&other, &Scope::new(Epoch(1), Namespaces::All)] {
            let refused = scope.changes_after(&store, Some(cursor), 1);
            assert_eq!(refused, Err(ResumeError::OtherEpoch));
        }
    }

    #[test]
    fn a_page_without_anything_to_show_leads_on() {
        let mut store = Store::new(Epoch(1));
        for name in ["a", "b", "c"] {
            let hidden = key("east", ResourceId::Service(shop(name)));
            store.put(hidden, Resource::from(service(&[], true, true)), None);
        }
        let scope = Scope::new(Epoch(9), bank());

        let page = scope.changes_after(&store, None, 2).unwrap();
        assert!(page.changes.is_empty() && !page.is_last);
        let last = scope.changes_after(&store, Some(page.cursor), 2).unwrap();

        assert!(last.changes.is_empty() && last.is_last);
        assert_eq!(last.cursor, scope.cursor(&store));
    }

    proptest! {
        /// A reader that pages while the store changes ends with exactly what it may know, and is never told more.
        #[test]
        fn a_reader_learns_its_part_and_nothing_else(
            changes in prop::collection::vec(any_change(), 0..60),
            limit in 1usize..4,
            reads_every in 1usize..5,
        ) {
            let mut store = Store::new(Epoch(1));
            let scope = Scope::new(Epoch(9), Namespaces::Only(BTreeSet::from([Namespace::parse("shop").unwrap()])));
            let mut known = BTreeMap::new();
            let mut cursor = None;
            for (n, (mut key, value)) in changes.into_iter().enumerate() {
                if n % 3 == 0 {
                    move_out_of_scope(&mut key);
                }
                match value {
                    Some(value) => drop(store.put(key, value, None)),
                    None => drop(store.delete(&key, None)),
                }
                if n % reads_every == 0 {
                    let batch = scope.changes_after(&store, cursor, limit).unwrap();
                    cursor = Some(batch.cursor);
                    take(&scope, batch, &mut known);
                }
            }
            loop {
                let batch = scope.changes_after(&store, cursor, limit).unwrap();
                cursor = Some(batch.cursor);
                let is_last = batch.is_last;
                take(&scope, batch, &mut known);
                if is_last {
                    break;
                }
            }

            let wanted: BTreeMap<Key, Resource> = store
                .iter()
                .filter(|(key, _)| scope.contains(key))
                .collect();
            prop_assert_eq!(known, wanted);
        }
    }

    fn take(scope: &Scope, batch: Batch, known: &mut BTreeMap<Key, Resource>) {
        for change in batch.changes {
            assert!(scope.contains(&change.key), "{:?} leaked", change.key);
            match change.value {
                Some(value) => known.insert(change.key, value),
                None => known.remove(&change.key),
            };
        }
    }

    fn move_out_of_scope(key: &mut Key) {
        let bank = Namespace::parse("bank").unwrap();
        match &mut key.id {
            ResourceId::Service(name) | ResourceId::Endpoint(name, _) => name.namespace = bank,
            ResourceId::Namespace(name) => *name = bank,
            ResourceId::Import(name) => name.namespace = bank,
            ResourceId::Cluster | ResourceId::Node(_) | ResourceId::Tunnel(_) => {}
        }
    }
}
