//! What a change must pass before it lands; all steps run, and what failed is listed at the end.

mod arrows;
mod chart;
mod named_tests;
mod sizes;

use anyhow::bail;

use crate::task::{
    command::{cargo, run as run_command, say},
    setup,
};

/// One step and what it runs.
struct Step {
    name: &'static str,
    run: fn() -> anyhow::Result<()>,
}

const STEPS: [Step; 9] = [
    Step {
        name: "format",
        run: format,
    },
    Step {
        name: "crate arrows",
        run: arrows::check,
    },
    Step {
        name: "file sizes",
        run: sizes::check,
    },
    Step {
        name: "tests that pages name",
        run: named_tests::check,
    },
    Step {
        name: "clippy",
        run: clippy,
    },
    Step {
        name: "documentation",
        run: documentation,
    },
    Step {
        name: "licences, bans and sources",
        run: deny,
    },
    Step {
        name: "advisories",
        run: advisories,
    },
    Step {
        name: "chart",
        run: chart::check,
    },
];

/// The task.
pub(crate) fn run() -> anyhow::Result<()> {
    setup::run_quietly_if_done()?;
    setup::cargo_deny()?;
    let mut failed = Vec::new();
    for step in &STEPS {
        say(&format!("check: {}", step.name));
        if let Err(error) = (step.run)() {
            say(&format!("check: {} failed: {error:#}", step.name));
            failed.push(step.name);
        }
    }
    if !failed.is_empty() {
        bail!("these checks failed: {}", failed.join(", "));
    }
    say("all checks passed");
    Ok(())
}

fn format() -> anyhow::Result<()> {
    run_command(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> anyhow::Result<()> {
    run_command(
        cargo()
            .args(["clippy", "--quiet", "--workspace", "--all-targets"])
            .args(["--", "-D", "warnings"]),
    )
}

fn documentation() -> anyhow::Result<()> {
    run_command(
        cargo()
            .args(["doc", "--quiet", "--workspace", "--no-deps"])
            .arg("--document-private-items")
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn deny() -> anyhow::Result<()> {
    run_command(
        cargo()
            .args(["deny", "--log-level", "error", "check"])
            .args(["bans", "licenses", "sources"]),
    )
}

/// The advisory database is fetched from the internet; where there is none, that is said and nothing else fails.
fn advisories() -> anyhow::Result<()> {
    let fetched = run_command(cargo().args(["deny", "--log-level", "error", "fetch", "db"]));
    if let Err(error) = fetched {
        say(&format!(
            "check: advisories SKIPPED, the advisory database cannot be fetched here: {error:#}"
        ));
        return Ok(());
    }
    run_command(cargo().args(["deny", "--log-level", "error", "check", "advisories"]))
}
