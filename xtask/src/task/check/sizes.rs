//! Files have one idea: over 300 lines is said, over 400 fails unless the file's header tells why.

use std::fs;

use anyhow::{Context, bail};

use crate::task::command::{command, output, root, say};

/// From here on a file is worth splitting.
const SOFT_LINES: usize = 300;

/// From here on its header must say why it is not split, with [`REASON`].
const HARD_LINES: usize = 400;

/// How a header begins its reason.
const REASON: &str = "//! Long because ";

/// Fails with the files that are too long, or lack their opening sentence.
pub(crate) fn check() -> anyhow::Result<()> {
    let files = output(command("git").args(["ls-files", "-co", "--exclude-standard", "*.rs"]))?;
    let mut faults = Vec::new();
    for file in files.lines() {
        let path = root().join(file);
        if !path.exists() {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("reading {file}"))?;
        faults.extend(fault(file, &text));
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    Ok(())
}

fn fault(file: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    if lines > HARD_LINES && !text.lines().any(|line| line.starts_with(REASON)) {
        return Some(format!("{file} has {lines} lines, more than {HARD_LINES}"));
    }
    if lines > SOFT_LINES {
        say(&format!("{file} has {lines} lines"));
    }
    if !text.starts_with("//! ") {
        return Some(format!("{file} does not open with `//!` and a sentence"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_fails_unless_its_header_says_why() {
        let long = "//! An idea.\n".to_owned() + &"//\n".repeat(HARD_LINES);
        let excused = format!("//! An idea.\n//! {}it is a table.\n{long}", &REASON[4..]);

        assert!(fault("a.rs", &long).is_some());
        assert_eq!(fault("a.rs", &excused), None);
    }

    #[test]
    fn a_file_without_a_header_fails() {
        assert!(fault("a.rs", "fn main() {}\n").is_some());
        assert_eq!(fault("a.rs", "//! An idea.\n"), None);
    }
}
