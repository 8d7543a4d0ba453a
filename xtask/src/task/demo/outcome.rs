//! What the attempts add up to: who answered, what failed, how long the failover and the return took.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::task::load::Attempt;

/// One cut and one heal, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) cut_unix_ms: u64,
    pub(crate) healed_unix_ms: u64,
}

/// What happened in one run.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub(crate) struct Outcome {
    /// New connections tried.
    pub(crate) requests: usize,
    /// How many of them failed.
    pub(crate) failures: usize,
    /// Those that failed before the cut, or after the failover.
    pub(crate) failures_outside: usize,
    /// Answers, by the cluster that gave them.
    pub(crate) answered_by: BTreeMap<String, usize>,
    /// From the cut to the start of the last connection that failed, in milliseconds; 0 if none did.
    pub(crate) failover_ms: u64,
    /// From the heal to the first answer of the lost cluster, in milliseconds.
    pub(crate) return_ms: Option<u64>,
}

/// How long after a cut a failure still belongs to the failover, in milliseconds.
pub(crate) const FAILOVER_LIMIT_MS: u64 = 1000;

impl Outcome {
    /// Adds the attempts up.
    pub(crate) fn of(attempts: &[Attempt], cut: Cut, lost: &str) -> Self {
        let mut answered_by = BTreeMap::new();
        for cluster in attempts.iter().filter_map(cluster_of) {
            *answered_by.entry(cluster).or_default() += 1;
        }
        let failed_at: Vec<u64> = attempts
            .iter()
            .filter(|attempt| attempt.body.is_none())
            .map(|attempt| attempt.started_unix_ms)
            .collect();
        // An attempt that began just before the cut and met it halfway belongs to the failover.
        let failover = cut.cut_unix_ms.saturating_sub(50)..cut.cut_unix_ms + FAILOVER_LIMIT_MS;
        let failover_ms = failed_at
            .iter()
            .filter(|at| **at < cut.healed_unix_ms)
            .map(|at| at.saturating_sub(cut.cut_unix_ms))
            .max()
            .unwrap_or(0);
        let return_ms = attempts
            .iter()
            .filter(|attempt| attempt.started_unix_ms >= cut.healed_unix_ms)
            .filter(|attempt| cluster_of(attempt).as_deref() == Some(lost))
            .map(|attempt| attempt.started_unix_ms - cut.healed_unix_ms)
            .min();
        Self {
            requests: attempts.len(),
            failures: failed_at.len(),
            failures_outside: failed_at.iter().filter(|at| !failover.contains(at)).count(),
            answered_by,
            failover_ms,
            return_ms,
        }
    }
}

/// What a web pod of the demo says of itself.
#[derive(Debug, Deserialize)]
struct Answer {
    cluster: String,
}

/// The cluster that an answer names.
pub(crate) fn cluster_in(body: &str) -> Option<String> {
    let answer: Answer = serde_json::from_str(body).ok()?;
    Some(answer.cluster)
}

/// The cluster that answered an attempt.
fn cluster_of(attempt: &Attempt) -> Option<String> {
    cluster_in(attempt.body.as_deref()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_between_cut_and_verdict_are_the_failover() {
        let attempts = [
            answered(1000, "west"),
            failed(2010),
            answered(2020, "east"),
            failed(2300),
            answered(2400, "east"),
            answered(5100, "east"),
            answered(5250, "west"),
        ];

        let outcome = Outcome::of(&attempts, CUT, "west");

        assert_eq!(outcome.failover_ms, 300);
        assert_eq!(outcome.return_ms, Some(250));
        assert_eq!((outcome.requests, outcome.failures), (7, 2));
        assert_eq!(outcome.failures_outside, 0);
        assert_eq!(outcome.answered_by["east"], 3);
    }

    #[test]
    fn a_failure_long_after_the_cut_is_not_excused() {
        let outcome = Outcome::of(&[failed(500), failed(3500)], CUT, "west");

        assert_eq!(outcome.failures_outside, 2);
        assert_eq!(outcome.failover_ms, 1500);
        assert_eq!(outcome.return_ms, None);
    }

    const CUT: Cut = Cut {
        cut_unix_ms: 2000,
        healed_unix_ms: 5000,
    };

    fn answered(started_unix_ms: u64, cluster: &str) -> Attempt {
        Attempt {
            started_unix_ms,
            took_us: 100,
            body: Some(format!(r#"{{"cluster": "{cluster}", "pod": "web-1"}}"#)),
            error: None,
        }
    }

    fn failed(started_unix_ms: u64) -> Attempt {
        Attempt {
            started_unix_ms,
            took_us: 100,
            body: None,
            error: Some("timed out".to_owned()),
        }
    }
}
