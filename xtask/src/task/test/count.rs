//! Reads the closing lines of Rust's test harness.

use std::{fmt, ops::AddAssign};

/// How many tests went which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    /// The counts of a closing line; none for any other line.
    pub(crate) fn of_line(line: &str) -> Self {
        let mut counts = Self::default();
        let Some((_, rest)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return counts;
        };
        for part in rest.split("; ") {
            let mut words = part.split(' ');
            let number = words.next().and_then(|n| n.parse().ok()).unwrap_or(0);
            match words.next() {
                Some("passed") => counts.passed = number,
                Some("failed") => counts.failed = number,
                Some("ignored") => counts.skipped = number,
                Some(_) | None => {}
            }
        }
        counts
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closing_line_is_counted_and_others_are_not() {
        let line = "test result: FAILED. 12 passed; 1 failed; 3 ignored; 0 measured; 4 filtered out; finished in 0.01s";

        assert_eq!(
            Counts::of_line(line),
            Counts {
                passed: 12,
                failed: 1,
                skipped: 3
            }
        );
        assert_eq!(
            Counts::of_line("test count::tests::a_line ... ok"),
            Counts::default()
        );
        assert_eq!(Counts::of_line("test result: "), Counts::default());
    }

    #[test]
    fn the_total_is_one_line_of_the_agreed_form() {
        let mut total = Counts::default();
        total += Counts {
            passed: 2,
            failed: 0,
            skipped: 1,
        };

        assert_eq!(total.to_string(), "2 passed, 0 failed, 1 skipped");
    }
}
