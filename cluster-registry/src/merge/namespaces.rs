//! Knows which namespaces exist in this cluster, as an import exists only where its namespace does.

use std::collections::BTreeMap;

use crate::{mcs::NamespaceSharing, name::Namespace};

/// The namespaces of this cluster.
///
/// A service implies its namespace: a directory of manifests may have the one without the other.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    by_name: BTreeMap<Namespace, Presence>,
}

#[derive(Debug, Default)]
struct Presence {
    said: Option<NamespaceSharing>,
    services: usize,
}

impl Presence {
    fn imports(&self) -> bool {
        match self.said {
            Some(NamespaceSharing::Allowed) => true,
            Some(NamespaceSharing::Excluded) => false,
            None => self.services > 0,
        }
    }
}

impl Namespaces {
    /// Whether imports appear in a namespace.
    pub(super) fn imports(&self, namespace: &Namespace) -> bool {
        self.by_name.get(namespace).is_some_and(Presence::imports)
    }

    /// Takes what is said of a namespace, and returns whether that changes [`Self::imports`].
    pub(super) fn set(&mut self, namespace: &Namespace, said: Option<NamespaceSharing>) -> bool {
        self.change(namespace, |presence| presence.said = said)
    }

    /// Takes that a local service came or went, and returns whether that changes [`Self::imports`].
    pub(super) fn count_service(&mut self, namespace: &Namespace, came: bool) -> bool {
        self.change(namespace, |presence| {
            presence.services = if came {
                presence.services + 1
            } else {
                presence.services.saturating_sub(1)
            };
        })
    }

    fn change(&mut self, namespace: &Namespace, change: impl FnOnce(&mut Presence)) -> bool {
        let presence = self.by_name.entry(namespace.clone()).or_default();
        let before = presence.imports();
        change(presence);
        let after = presence.imports();
        if presence.said.is_none() && presence.services == 0 {
            self.by_name.remove(namespace);
        }
        before != after
    }
}
