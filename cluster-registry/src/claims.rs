//! Decides which of several services has a frontend that all of them ask for: the oldest, and then the first by name.
//!
//! The rule does not depend on the order in which anybody learns of them, so all nodes and every restart agree.

use std::collections::{BTreeMap, BTreeSet};

use crate::{name::ServiceName, service::Timestamp};

/// A service that asks for a frontend, in the order of who has it.
type Claim = (Timestamp, ServiceName);

/// Who asks for which frontend; `F` names one.
#[derive(Debug, Clone)]
pub struct Claims<F> {
    by_frontend: BTreeMap<F, BTreeSet<Claim>>,
    by_service: BTreeMap<ServiceName, (Timestamp, BTreeSet<F>)>,
}

impl<F> Default for Claims<F> {
    fn default() -> Self {
        Self {
            by_frontend: BTreeMap::new(),
            by_service: BTreeMap::new(),
        }
    }
}

impl<F: Ord + Copy> Claims<F> {
    /// Who has a frontend.
    pub fn holder(&self, frontend: &F) -> Option<&ServiceName> {
        let (_, name) = self.by_frontend.get(frontend)?.first()?;
        Some(name)
    }

    /// Whether anybody asks for a frontend.
    pub fn is_claimed(&self, frontend: &F) -> bool {
        self.by_frontend.contains_key(frontend)
    }

    /// The frontends that a service asks for and another has, with who has them.
    pub fn withheld_from(&self, name: &ServiceName) -> impl Iterator<Item = (F, &ServiceName)> {
        let asked = self.by_service.get(name).into_iter().flat_map(|(_, f)| f);
        let held = asked.filter_map(|frontend| Some((*frontend, self.holder(frontend)?)));
        held.filter(move |(_, holder)| *holder != name)
    }

    /// Takes what a service asks for, and gives the frontends that are no longer asked for by it.
    ///
    /// Services whose frontends have another holder than before are added to `affected`.
    pub fn set(
        &mut self,
        name: &ServiceName,
        age: Timestamp,
        wanted: BTreeSet<F>,
        affected: &mut BTreeSet<ServiceName>,
    ) -> BTreeSet<F> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(n: u8) -> ServiceName {
        ServiceName::parse("shop", &format!("s{n}")).unwrap()
    }

    proptest! {
        #[test]
        fn the_oldest_has_a_frontend_and_all_that_it_matters_to_are_told(
            steps in prop::collection::vec(
                (0..5u8, 0..3u64, prop::collection::btree_set(0..4u8, 0..4)), 1..60),
        ) {
            let mut claims = Claims::default();
            let mut asked: BTreeMap<u8, (u64, BTreeSet<u8>)> = BTreeMap::new();
            let holders = |asked: &BTreeMap<u8, (u64, BTreeSet<u8>)>| -> BTreeMap<u8, u8> {
                let of = |frontend| {
                    let all = asked.iter().filter(|(_, (_, wanted))| wanted.contains(&frontend));
                    let oldest = all.min_by_key(|(n, (age, _))| (*age, **n))?;
                    Some((frontend, *oldest.0))
                };
                (0..4).filter_map(of).collect()
            };
            for (n, age, wanted) in steps {
                let before = holders(&asked);
                let old = asked.insert(n, (age, wanted.clone())).unwrap_or_default().1;
                let after = holders(&asked);
                let mut affected = BTreeSet::new();

                let gone = claims.set(&name(n), Timestamp(age), wanted.clone(), &mut affected);

                prop_assert_eq!(gone, old.difference(&wanted).copied().collect());
                for frontend in 0..4 {
                    let holder = after.get(&frontend).map(|n| name(*n));
                    prop_assert_eq!(claims.holder(&frontend), holder.as_ref());
                    if before.get(&frontend) != after.get(&frontend) {
                        let mut concerned = asked.iter().filter(|(_, (_, f))| f.contains(&frontend));
                        prop_assert!(concerned.all(|(n, _)| affected.contains(&name(*n))));
                    }
                }
                for (n, (_, wanted)) in &asked {
                    let withheld: Vec<u8> =
                        wanted.iter().copied().filter(|f| after.get(f) != Some(n)).collect();
                    let name = name(*n);
                    let said = claims.withheld_from(&name);
                    prop_assert_eq!(said.map(|(f, _)| f).collect::<Vec<_>>(), withheld);
                }
            }
        }
    }
}
