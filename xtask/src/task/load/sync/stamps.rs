//! When changes were due, when the other side had them, and so how long each was on its way.

use std::{collections::BTreeMap, time::Instant};

use cluster_registry::{name::ClusterName, store::Revision};

/// A position in what a cluster publishes, and a time.
#[derive(Debug, Clone)]
pub(super) struct Stamp {
    /// Who publishes.
    pub(super) cluster: ClusterName,
    /// Where its store stood.
    pub(super) revision: Revision,
    /// When a change up to there was due or made, or had arrived.
    pub(super) at: Instant,
}

/// The milliseconds from each change to the first arrival that includes it; one that has none is left out.
///
/// Both are in the order of their times.
pub(super) fn delays(sent: &[Stamp], arrived: &[Stamp]) -> Vec<f64> {
    let mut of_cluster: BTreeMap<&ClusterName, Vec<&Stamp>> = BTreeMap::new();
    for stamp in arrived {
        of_cluster.entry(&stamp.cluster).or_default().push(stamp);
    }
    let delays = sent.iter().filter_map(|change| {
        let arrivals = of_cluster.get(&change.cluster)?;
        let first = arrivals.partition_point(|stamp| stamp.revision < change.revision);
        let took = arrivals.get(first)?.at.saturating_duration_since(change.at);
        Some(took.as_secs_f64() * 1e3)
    });
    delays.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_change_has_arrived_with_the_first_position_at_or_after_it() {
        let start = Instant::now();
        let stamp = |cluster: &str, revision, ms| Stamp {
            cluster: ClusterName::parse(cluster).unwrap(),
            revision: Revision(revision),
            at: start + Duration::from_millis(ms),
        };
        let sent = [
            stamp("a", 1, 0),
            stamp("a", 2, 1),
            stamp("b", 1, 2),
            stamp("a", 9, 3),
        ];
        let arrived = [stamp("a", 2, 10), stamp("b", 1, 12), stamp("a", 3, 13)];

        assert_eq!(delays(&sent, &arrived), [10.0, 9.0, 10.0]);
    }
}
