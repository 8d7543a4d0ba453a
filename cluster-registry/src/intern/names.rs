//! Services' names, held once: those of a clusterset's services are the same in each of its clusters.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::name::{Namespace, ServiceName};

/// Below this many names, it is not worth looking for some that nobody uses.
const MIN_PRUNE: usize = 1024;

/// The names, by their hashes.
///
/// Of two names with the same hash only the first is shared, so that whoever looks for such pairs wins nothing.
#[derive(Debug)]
pub(super) struct Names {
    by_hash: BTreeMap<u64, ServiceName>,
    namespaces: BTreeSet<Namespace>,
    /// The one that was shared last: a service and its endpoints come in a run.
    last: Option<ServiceName>,
    prune_at: usize,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            by_hash: BTreeMap::new(),
            namespaces: BTreeSet::new(),
            last: None,
            prune_at: MIN_PRUNE,
        }
    }
}

impl Names {
    /// Makes a name the copy that is held, or holds it.
    pub(super) fn share(&mut self, name: &mut ServiceName) {
        if let Some(last) = self.last.as_ref().filter(|last| *last == name) {
            name.clone_from(last);
            return;
        }
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let hash = hasher.finish();
        match self.by_hash.get(&hash) {
            Some(held) if held == name => name.clone_from(held),
            Some(_) => {}
            None => self.keep(hash, name),
        }
        self.last = Some(name.clone());
    }

    fn keep(&mut self, hash: u64, name: &mut ServiceName) {
        self.prune_if_due();
        match self.namespaces.get(&name.namespace) {
            Some(held) => name.namespace.clone_from(held),
            None => drop(self.namespaces.insert(name.namespace.clone())),
        }
        self.by_hash.insert(hash, name.clone());
    }

    /// Forgets what nobody else holds, once there are twice as many names as were of use the last time.
    fn prune_if_due(&mut self) {
        if self.by_hash.len() >= self.prune_at {
            self.last = None;
            self.by_hash.retain(|_, name| name.name.is_shared());
            self.namespaces.retain(Namespace::is_shared);
            self.prune_at = MIN_PRUNE.max(2 * self.by_hash.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::shop;

    #[test]
    fn equal_names_are_held_once() {
        let mut names = Names::default();
        let [mut web, mut api, mut again] = ["web", "api", "web"].map(shop);

        names.share(&mut web);
        names.share(&mut api);
        names.share(&mut again);

        assert!(web.is_same(&again) && !web.is_same(&api));
        assert_eq!((again, api), (shop("web"), shop("api")));
    }

    #[test]
    fn names_that_nobody_holds_are_forgotten() {
        let mut names = Names::default();
        let mut kept = shop("kept");
        names.share(&mut kept);
        for n in 0..20_000 {
            names.share(&mut shop(&format!("s{n}")));
            assert!(names.by_hash.len() <= 2 * MIN_PRUNE);
        }
        let mut again = shop("kept");
        names.share(&mut again);

        assert!(again.is_same(&kept));
    }
}
