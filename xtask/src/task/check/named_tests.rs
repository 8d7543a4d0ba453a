//! Holds the pages that name tests to the tests that there are.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, bail};

use crate::task::command::{command, output, root};

/// The pages of which each table row names the tests that show it.
const PAGES: [&str; 2] = ["docs/bad-input.md", "docs/mcs-conformance.md"];

pub(super) fn check() -> anyhow::Result<()> {
    let files = output(command("git").args(["ls-files", "-co", "--exclude-standard", "*.rs"]))?;
    let mut tests = BTreeSet::new();
    for path in files.lines() {
        // A file that is deleted but not committed yet is listed too.
        let Ok(text) = fs::read_to_string(root().join(path)) else {
            continue;
        };
        tests.extend(tests_in(&text).map(ToOwned::to_owned));
    }
    let mut missing = Vec::new();
    for page in PAGES {
        let text =
            fs::read_to_string(root().join(page)).with_context(|| format!("reading {page}"))?;
        missing.extend(missing_from(page, &text, &tests));
    }
    if !missing.is_empty() {
        bail!("{}", missing.join("; "));
    }
    Ok(())
}

/// The functions behind a test attribute.
fn tests_in(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        if line.starts_with("#[") {
            is_test |= line.contains("test");
            return None;
        }
        let signature = line.strip_prefix("async ").unwrap_or(line);
        let name = signature.strip_prefix("fn ").filter(|_| is_test);
        is_test = false;
        name.and_then(|name| name.split('(').next())
    })
}

/// What is wrong with a page: rows without a test, and tests that are not there.
fn missing_from(page: &str, text: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let is_head = |row: &str| row.starts_with("|---") || row.ends_with("| Tests |");
    let rows = text.lines().filter(|line| line.starts_with('|'));
    let mut wrong = Vec::new();
    for row in rows.filter(|row| !is_head(row)) {
        let cell = row.trim_end_matches(['|', ' ']).rsplit(" | ").next();
        // Between backticks are names; other code in the cell has other characters.
        let quoted = cell.unwrap_or_default().split('`').skip(1).step_by(2);
        let is_name = |text: &&str| text.contains('_') && !text.contains(['.', '/', ' ']);
        let names: Vec<&str> = quoted.filter(is_name).collect();
        if names.is_empty() {
            wrong.push(format!("{page} names no test for: {row}"));
        }
        let unknown = names.into_iter().filter(|name| !tests.contains(*name));
        wrong.extend(unknown.map(|name| format!("{page} names a test that is not there: {name}")));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_whose_test_is_gone_or_missing_is_told() {
        let code = "#[test]\nfn it_works() {}\nfn helper_of_it() {}\n#[tokio::test]\nasync fn it_waits() {}\n";
        let tests: BTreeSet<String> = tests_in(code).map(ToOwned::to_owned).collect();
        let row = |cell: &str| {
            missing_from(
                "page",
                &format!("| Case | Tests |\n|---|---|\n| a | {cell} |"),
                &tests,
            )
        };

        assert!(row("`it_works`, `it_waits`: for `a.b`").is_empty());
        assert_eq!(row("`helper_of_it`").len(), 1);
        assert_eq!(row("nothing").len(), 1);
    }
}
