//! What a guest said, read back as the cells of a table.

use std::fmt::Write as _;

use crate::task::test::count::Counts;

/// How many of the console's last lines tell why a guest died.
const LAST_LINES: usize = 25;

/// What came of one kernel.
#[derive(Debug)]
pub(super) struct Row {
    /// The kernel's name on the command line.
    pub(super) name: &'static str,
    /// What it calls itself.
    pub(super) release: String,
    pub(super) verdict: Verdict,
}

#[derive(Debug)]
pub(super) enum Verdict {
    /// It was not to be had, and why.
    Skipped(String),
    /// It could not be booted, and why.
    Broken(String),
    /// It was booted.
    Ran(Outcome),
}

/// What a guest said of the suites.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    suites: Vec<SuiteOutcome>,
    /// Why the guest did not end as it should, with the console's last lines.
    death: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct SuiteOutcome {
    name: String,
    counts: Counts,
    failed: Vec<String>,
    /// Its exit code; `None` if the guest died before.
    exit: Option<i32>,
}

impl SuiteOutcome {
    fn is_fine(&self) -> bool {
        self.exit == Some(0) && self.counts.passed > 0 && self.counts.failed == 0
    }

    fn cell(&self) -> String {
        let Counts { passed, failed, .. } = self.counts;
        match self.exit {
            Some(0) if passed == 0 => "FAILED: no test ran".to_owned(),
            Some(0) => format!("{passed} passed"),
            Some(_) if failed > 0 => format!("FAILED {failed} of {}", passed + failed),
            Some(137) => "FAILED: took too long".to_owned(),
            Some(code) => format!("FAILED: exit {code}"),
            None => "FAILED: guest died".to_owned(),
        }
    }
}

impl Row {
    /// Whether nothing failed; a kernel that is skipped did not.
    pub(super) fn is_fine(&self) -> bool {
        match &self.verdict {
            Verdict::Skipped(_) => true,
            Verdict::Broken(_) => false,
            Verdict::Ran(outcome) => {
                outcome.death.is_none() && outcome.suites.iter().all(SuiteOutcome::is_fine)
            }
        }
    }

    fn cell(&self, column: &str) -> String {
        match &self.verdict {
            Verdict::Skipped(_) => "SKIPPED".to_owned(),
            Verdict::Broken(_) => "NOT BOOTED".to_owned(),
            Verdict::Ran(outcome) => {
                let mut suites = outcome.suites.iter();
                let suite = suites.find(|suite| suite.name == column);
                suite.map_or_else(|| "FAILED: not reached".to_owned(), SuiteOutcome::cell)
            }
        }
    }

    fn notes(&self, text: &mut String) {
        let mut note = |what: &str| {
            // Writing to a string does not fail.
            writeln!(text, "{} ({}): {what}", self.name, self.release).ok();
        };
        match &self.verdict {
            Verdict::Skipped(why) => note(&format!("SKIPPED, {why}")),
            Verdict::Broken(why) => note(&format!("not booted, {why}")),
            Verdict::Ran(outcome) => {
                for suite in &outcome.suites {
                    for test in &suite.failed {
                        note(&format!("{}: {test} FAILED", suite.name));
                    }
                }
                outcome.death.iter().for_each(|death| note(death));
            }
        }
    }
}

/// Reads what a guest's suites and its kernel said; `ended` is how QEMU did, if not well.
pub(super) fn read(said: &str, console: &str, ended: Option<String>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut is_done = false;
    for line in said.lines().map(|line| line.trim_end_matches('\r')) {
        if let Some(name) = line.strip_prefix("@begin ") {
            outcome.suites.push(SuiteOutcome {
                name: name.to_owned(),
                ..SuiteOutcome::default()
            });
        }
        is_done |= line == "@done";
        let Some(suite) = outcome.suites.last_mut() else {
            continue;
        };
        suite.counts += Counts::of_line(line);
        if let Some((_, code)) = line
            .strip_prefix("@end ")
            .and_then(|end| end.rsplit_once(' '))
        {
            suite.exit = code.parse().ok();
        }
        if let Some(test) = failed_test(line) {
            suite.failed.push(test.to_owned());
        }
    }
    let why = if is_done {
        ended
    } else {
        Some(ended.unwrap_or_else(|| "the guest died".to_owned()))
    };
    outcome.death = why.map(|why| format!("{why}; its console's last lines:\n{}", last(console)));
    outcome
}

/// The test that a line says has failed.
fn failed_test(line: &str) -> Option<&str> {
    let test = line.strip_suffix(" ... FAILED")?;
    Some(test.strip_prefix("test ").unwrap_or(test))
}

fn last(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

/// The table, and below it what did not pass.
pub(super) fn table(columns: &[&str], rows: &[Row]) -> String {
    let mut lines = vec![vec!["kernel".to_owned()]];
    lines[0].extend(columns.iter().map(ToString::to_string));
    for row in rows {
        let kernel = if row.release.is_empty() {
            row.name
        } else {
            &row.release
        };
        let cells = columns.iter().map(|column| row.cell(column));
        lines.push([kernel.to_owned()].into_iter().chain(cells).collect());
    }
    let width = |at: usize| lines.iter().map(|line| line[at].len()).max().unwrap_or(0);
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().enumerate();
        let padded: Vec<String> = cells
            .map(|(at, cell)| format!("{cell:<0$}", width(at)))
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    rows.iter().for_each(|row| row.notes(&mut text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "@begin programs\r\ntest a ... ok\r\ntest result: ok. 3 passed; 0 failed; 0 ignored\r\n\
                        @end programs 0\r\n@done\r\n";

    #[test]
    fn a_guest_that_ran_everything_is_fine() {
        let row = ran(read(GOOD, "", None));

        assert!(row.is_fine());
        let table = table(&["programs"], &[row]);
        assert_eq!(table, "kernel        programs\n5.10.0-cloud  3 passed\n");
    }

    #[test]
    fn a_failed_test_is_counted_and_named() {
        let said = "@begin programs\ntest x::y ... FAILED\ntest result: FAILED. 2 passed; 1 failed; 0 ignored\n\
                    @end programs 101\n@done\n";

        let row = ran(read(said, "", None));

        assert!(!row.is_fine());
        let table = table(&["programs"], &[row]);
        assert!(table.contains("FAILED 1 of 3"), "{table}");
        assert!(table.contains("programs: x::y FAILED"), "{table}");
    }

    #[test]
    fn a_guest_that_died_fails_with_the_last_that_its_kernel_said() {
        let said = "@begin programs\ntest a ... ok\n";

        let row = ran(read(said, "booting\nKernel panic - not syncing\n", None));

        assert!(!row.is_fine());
        let table = table(&["programs", "tunnels"], &[row]);
        assert!(table.contains("FAILED: guest died"), "{table}");
        assert!(table.contains("FAILED: not reached"), "{table}");
        assert!(table.contains("Kernel panic - not syncing"), "{table}");
    }

    #[test]
    fn a_suite_in_which_no_test_ran_has_failed() {
        let said = "@begin programs\n@end programs 0\n@done\n";

        assert!(!ran(read(said, "", None)).is_fine());
    }

    #[test]
    fn a_kernel_that_is_not_to_be_had_is_skipped_aloud() {
        let row = Row {
            name: "6.18",
            release: String::new(),
            verdict: Verdict::Skipped("no such kernel".to_owned()),
        };

        assert!(row.is_fine());
        let table = table(&["programs"], &[row]);
        assert!(table.contains("6.18    SKIPPED"), "{table}");
        assert!(table.contains("no such kernel"), "{table}");
    }

    fn ran(outcome: Outcome) -> Row {
        Row {
            name: "5.10",
            release: "5.10.0-cloud".to_owned(),
            verdict: Verdict::Ran(outcome),
        }
    }
}
