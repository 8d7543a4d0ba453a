//! The closing table: all runs in a few lines.

use std::collections::BTreeMap;

use crate::task::{bench::report::median, demo::outcome::Outcome};

/// The rows, as name and value.
pub(crate) fn of(outcomes: &[Outcome]) -> Vec<(String, String)> {
    let mut answered_by: BTreeMap<&str, usize> = BTreeMap::new();
    for (cluster, count) in outcomes.iter().flat_map(|outcome| &outcome.answered_by) {
        *answered_by.entry(cluster).or_default() += count;
    }
    let sum = |of: fn(&Outcome) -> usize| outcomes.iter().map(of).sum::<usize>().to_string();
    let mut rows = vec![
        ("requests".to_owned(), sum(|outcome| outcome.requests)),
        ("failures".to_owned(), sum(|outcome| outcome.failures)),
        (
            "failures outside a failover".to_owned(),
            sum(|outcome| outcome.failures_outside),
        ),
    ];
    for (cluster, count) in answered_by {
        rows.push((format!("answered by {cluster}"), count.to_string()));
    }
    let failovers = outcomes.iter().map(|outcome| Some(outcome.failover_ms));
    rows.push(("failover, median (max)".to_owned(), milliseconds(failovers)));
    let returns = outcomes.iter().map(|outcome| outcome.return_ms);
    rows.push((
        "time to return, median (max)".to_owned(),
        milliseconds(returns),
    ));
    rows
}

fn milliseconds(times: impl Iterator<Item = Option<u64>>) -> String {
    let Some(times) = times
        .map(|ms| ms.map(|ms| ms as f64))
        .collect::<Option<Vec<f64>>>()
    else {
        return "never".to_owned();
    };
    let max = times.iter().copied().fold(0.0, f64::max);
    median(&times).map_or_else(
        || "never".to_owned(),
        |median| format!("{median:.0} ms ({max:.0} ms)"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_return_shows_as_never() {
        let outcome = |failover_ms, return_ms| Outcome {
            requests: 10,
            failures: 1,
            failures_outside: 0,
            answered_by: BTreeMap::from([("east".to_owned(), 9)]),
            failover_ms,
            return_ms,
        };

        let rows = of(&[outcome(300, Some(100)), outcome(400, None)]);

        let value = |name: &str| {
            let (_, value) = rows.iter().find(|(row, _)| row == name)?;
            Some(value.as_str())
        };
        assert_eq!(value("requests"), Some("20"));
        assert_eq!(value("answered by east"), Some("18"));
        assert_eq!(value("failover, median (max)"), Some("350 ms (400 ms)"));
        assert_eq!(value("time to return, median (max)"), Some("never"));
    }
}
