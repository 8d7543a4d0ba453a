//! Decides which of several services has a frontend that all of them ask for: the oldest, and then the first by name.
//!
//! The rule does not depend on the order in which a node learns of them, so all nodes and every restart agree.

use std::collections::{BTreeMap, BTreeSet};

use cluster_registry::{name::ServiceName, service::Timestamp};
use node_dp_common::FrontendKey;

/// A service that asks for a frontend, in the order of who has it.
type Claim = (Timestamp, ServiceName);

/// Who asks for which frontend.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_frontend: BTreeMap<FrontendKey, BTreeSet<Claim>>,
    by_service: BTreeMap<ServiceName, (Timestamp, BTreeSet<FrontendKey>)>,
}

impl Claims {
    /// Who has a frontend.
    pub(super) fn holder(&self, frontend: &FrontendKey) -> Option<&ServiceName> {
        let (_, name) = self.by_frontend.get(frontend)?.first()?;
        Some(name)
    }

    /// Whether anybody asks for a frontend.
    pub(super) fn is_claimed(&self, frontend: &FrontendKey) -> bool {
        self.by_frontend.contains_key(frontend)
    }

    /// Takes what a service asks for, and gives the frontends that are no longer asked for by it.
    ///
    /// Services whose frontends have another holder than before are added to `affected`.
    pub(super) fn set(
        &mut self,
        name: &ServiceName,
        age: Timestamp,
        wanted: BTreeSet<FrontendKey>,
        affected: &mut BTreeSet<ServiceName>,
    ) -> BTreeSet<FrontendKey> {
        let old = self.by_service.get(name);
        if old.is_some_and(|(old_age, old)| *old_age == age && *old == wanted) {
            return BTreeSet::new();
        }
        let (old_age, old) = self.by_service.remove(name).unwrap_or_default();
        for frontend in old.union(&wanted) {
            let claims = self.by_frontend.entry(*frontend).or_default();
            let before = claims.first().cloned();
            claims.remove(&(old_age, name.clone()));
            if wanted.contains(frontend) {
                claims.insert((age, name.clone()));
            }
            if claims.first() != before.as_ref() {
                // Whoever waits is told of the new holder.
                affected.extend(claims.iter().chain(&before).map(|(_, name)| name.clone()));
            }
            if claims.is_empty() {
                self.by_frontend.remove(frontend);
            }
        }
        let gone = old.difference(&wanted).copied().collect();
        if !wanted.is_empty() {
            self.by_service.insert(name.clone(), (age, wanted));
        }
        gone
    }
}
