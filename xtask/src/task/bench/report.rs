//! What a bench found: lines of one form, for people as a table and for programs as JSON.

use std::{collections::BTreeMap, io::Write};

use serde::Serialize;
use serde_json::Value;

/// One metric under one set of parameters.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    group: &'static str,
    metric: &'static str,
    params: BTreeMap<&'static str, Value>,
    /// The median; `None` when the metric was not run, and then `note` says why.
    value: Option<f64>,
    unit: &'static str,
    n: usize,
    min: Option<f64>,
    max: Option<f64>,
    note: String,
}

impl Line {
    /// A metric's name and unit, to be filled.
    pub(crate) fn new(group: &'static str, metric: &'static str, unit: &'static str) -> Self {
        Self {
            group,
            metric,
            params: BTreeMap::new(),
            value: None,
            unit,
            n: 0,
            min: None,
            max: None,
            note: String::new(),
        }
    }

    /// Adds a parameter.
    pub(crate) fn param(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.params.insert(name, value.into());
        self
    }

    /// Sets the value to the samples' median.
    pub(crate) fn samples(mut self, samples: &[f64]) -> Self {
        let sorted = sorted(samples);
        self.value = median(samples);
        self.n = sorted.len();
        self.min = sorted.first().copied();
        self.max = sorted.last().copied();
        self
    }

    /// Sets the value to the sample below which a share of them lies.
    pub(crate) fn quantile(mut self, samples: &[f64], share: f64) -> Self {
        self = self.samples(samples);
        self.value = quantile(samples, share);
        self
    }

    /// Says how it was measured, or why not.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    fn row(&self) -> String {
        let params: Vec<String> = self
            .params
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) => format!("{name}={text}"),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::Object(_) => format!("{name}={value}"),
            })
            .collect();
        let value = self
            .value
            .map_or_else(|| "not run".to_owned(), |value| format!("{value:.3}"));
        let range = match (self.min, self.max) {
            (Some(min), Some(max)) => format!("[{min:.3}..{max:.3}] n={}", self.n),
            (None, _) | (_, None) => String::new(),
        };
        format!(
            "{:<10} {:<24} {:<28} {:>10} {:<6} {:<30} {}",
            self.group,
            self.metric,
            params.join(" "),
            value,
            self.unit,
            range,
            self.note
        )
    }
}

/// Prints each line as soon as it is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    /// JSON lines instead of a table.
    pub(crate) json: bool,
}

impl Report {
    /// Prints one line.
    pub(crate) fn print(self, line: &Line) -> anyhow::Result<()> {
        let mut text = if self.json {
            serde_json::to_string(line)?
        } else {
            line.row()
        };
        text.push('\n');
        std::io::stdout().lock().write_all(text.as_bytes())?;
        Ok(())
    }
}

/// The median of some samples.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    let sorted = sorted(samples);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

/// The sample below which a share of them lies; `None` of none.
pub(crate) fn quantile(samples: &[f64], share: f64) -> Option<f64> {
    let sorted = sorted(samples);
    let at = (sorted.len().saturating_sub(1)) as f64 * share;
    sorted.get(at.round() as usize).copied()
}

/// The quotient of each pair.
pub(crate) fn ratios(of: impl Iterator<Item = f64>, to: impl Iterator<Item = f64>) -> Vec<f64> {
    of.zip(to).map(|(of, to)| of / to).collect()
}

/// What to add to the note of a rate when the base did not even keep up with itself; nothing if it did.
///
/// What has more processes gets more of a core that others use too, so its rate is then no measure of it.
pub(crate) fn doubt(null: &[f64]) -> String {
    let sorted = sorted(null);
    let tenth = sorted.len() / 10;
    let low = sorted.get(tenth).copied().unwrap_or(0.0);
    let high = sorted.iter().rev().nth(tenth).copied().unwrap_or(0.0);
    if low >= 0.97 && high <= 1.03 {
        return String::new();
    }
    format!(
        "; DOES NOT COUNT: the base against itself is {low:.2}..{high:.2}, so the cores are shared"
    )
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_quantile_is_one_of_the_samples() {
        let samples: Vec<f64> = (0..=100).rev().map(f64::from).collect();

        assert_eq!(quantile(&samples, 0.99), Some(99.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_rate_counts_only_where_the_base_keeps_up_with_itself() {
        let mut quiet = vec![1.0; 25];
        quiet[3] = 0.5;
        assert_eq!(doubt(&quiet), "");

        let shared: Vec<f64> = (0..25).map(|at| 0.8 + f64::from(at) / 50.0).collect();
        assert!(doubt(&shared).contains("0.84..1.24"), "{}", doubt(&shared));
        assert!(!doubt(&[]).is_empty());
    }

    #[test]
    fn what_was_not_run_is_a_line_with_null_and_the_reason() {
        let line = Line::new("connect", "iptables_crr_ratio", "ratio")
            .param("services", 10)
            .note("iptables is missing");
        let json: Value = serde_json::to_value(&line).unwrap();

        assert_eq!(json["value"], Value::Null);
        assert_eq!(json["note"], "iptables is missing");
        assert_eq!(json["params"]["services"], 10);
    }
}
