//! Backends that are gone while clients may still be connected to them.
//!
//! A backend that leaves a service because it terminates, or is not ready, still has its connections and may end them itself.
//! Only when no endpoint stands for it any more has it departed. Datagrams have no end: their backends depart with their
//! frontend too.

use std::collections::{BTreeMap, BTreeSet};

use node_dp_common::{BackendValue, FrontendKey};

const UDP: u8 = 17;

/// A backend that clients of a frontend may still be connected to, and that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Departed {
    /// What its clients dialled.
    pub frontend: FrontendKey,
    /// The backend.
    pub backend: BackendValue,
}

/// What is gone while clients may still be connected to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gone {
    /// Backends that have departed.
    pub backends: BTreeSet<Departed>,
    /// Clusters that were taken out, by their indices, with all that they have.
    pub clusters: BTreeSet<u16>,
}

impl Gone {
    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        self.backends.is_empty() && self.clusters.is_empty()
    }

    /// Adds what else is gone.
    pub fn extend(&mut self, more: Self) {
        self.backends.extend(more.backends);
        self.clusters.extend(more.clusters);
    }
}

/// The backends on their way out.
///
/// Note each plan of a frontend with [`Self::note`]; [`Self::take`] gives what has departed since it was last called.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    /// Those that get no new connections and whose endpoints are still there.
    lingering: BTreeMap<FrontendKey, BTreeSet<BackendValue>>,
    departed: BTreeSet<Departed>,
}

impl Departures {
    /// A frontend had some backends and now has others; `is_there` says whether an endpoint still stands for one.
    pub(crate) fn note(
        &mut self,
        frontend: FrontendKey,
        before: impl Iterator<Item = BackendValue>,
        after: &BTreeSet<BackendValue>,
        is_there: impl Fn(&BackendValue) -> bool,
    ) {
        let mut leaving = self.lingering.remove(&frontend).unwrap_or_default();
        leaving.extend(before);
        leaving.retain(|backend| !after.contains(backend));
        let (lingering, departed): (BTreeSet<_>, BTreeSet<_>) =
            leaving.into_iter().partition(|backend| is_there(backend));
        if !lingering.is_empty() {
            self.lingering.insert(frontend, lingering);
        }
        let departed = departed.into_iter();
        self.departed
            .extend(departed.map(|backend| Departed { frontend, backend }));
    }

    /// A frontend that had some backends is gone; whose connections lead to these keeps them.
    pub(crate) fn forget(
        &mut self,
        frontend: FrontendKey,
        before: impl Iterator<Item = BackendValue>,
    ) {
        let mut leaving = self.lingering.remove(&frontend).unwrap_or_default();
        if frontend.protocol() != UDP {
            return;
        }
        leaving.extend(before);
        let departed = leaving.into_iter();
        self.departed
            .extend(departed.map(|backend| Departed { frontend, backend }));
    }

    /// What has departed since this was last called.
    pub(crate) fn take(&mut self) -> BTreeSet<Departed> {
        std::mem::take(&mut self.departed)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_backend_whose_endpoint_goes_at_once_has_departed() {
        let mut departures = Departures::default();

        note(&mut departures, &[1, 2], &[1], false);

        assert_eq!(departures.take(), departed(&[2]));
        assert_eq!(departures.take(), departed(&[]));
    }

    #[test]
    fn a_terminating_backend_departs_when_its_endpoint_goes() {
        let mut departures = Departures::default();
        note(&mut departures, &[1, 2], &[1], true);
        assert_eq!(departures.take(), departed(&[]));

        note(&mut departures, &[1], &[1], false);

        assert_eq!(departures.take(), departed(&[2]));
    }

    #[test]
    fn a_backend_that_is_ready_again_does_not_depart() {
        let mut departures = Departures::default();
        note(&mut departures, &[1, 2], &[1], true);

        note(&mut departures, &[1], &[1, 2], true);
        note(&mut departures, &[1, 2], &[1, 2], true);

        assert_eq!(departures.take(), departed(&[]));
    }

    #[test]
    fn connections_outlive_their_service() {
        let mut departures = Departures::default();
        note(&mut departures, &[1], &[], true);

        departures.forget(frontend(), set(&[2]).into_iter());
        note(&mut departures, &[], &[], false);

        assert_eq!(departures.take(), departed(&[]));
    }

    #[test]
    fn who_sends_datagrams_to_a_service_that_is_gone_is_not_heard() {
        let mut departures = Departures::default();
        let frontend = FrontendKey::new(Ipv4Addr::new(10, 96, 0, 1), 53, UDP);
        departures.note(frontend, set(&[1]).into_iter(), &set(&[]), |_| true);

        departures.forget(frontend, set(&[2]).into_iter());

        let departed = [1, 2].map(|number| Departed {
            frontend,
            backend: backend(number),
        });
        assert_eq!(departures.take(), departed.into());
    }

    /// The frontend's backends before and after, and whether endpoints still stand for all that left.
    fn note(departures: &mut Departures, before: &[u8], after: &[u8], are_there: bool) {
        let before = set(before).into_iter();
        departures.note(frontend(), before, &set(after), |_| are_there);
    }

    fn departed(numbers: &[u8]) -> BTreeSet<Departed> {
        let frontend = frontend();
        let backends = set(numbers).into_iter();
        backends
            .map(|backend| Departed { frontend, backend })
            .collect()
    }

    fn set(numbers: &[u8]) -> BTreeSet<BackendValue> {
        numbers.iter().copied().map(backend).collect()
    }

    fn backend(number: u8) -> BackendValue {
        BackendValue::new(Ipv4Addr::new(10, 1, 0, number), 8080)
    }

    fn frontend() -> FrontendKey {
        FrontendKey::new(Ipv4Addr::new(10, 96, 0, 1), 80, 6)
    }
}
