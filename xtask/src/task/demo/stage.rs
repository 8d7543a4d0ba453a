//! What the person watching sees, as text or as JSON lines.

use std::{collections::BTreeMap, io::Write};

use multicluster::Lab;
use serde_json::{Value, json};

use crate::task::demo::{NAME, measure::CLIENT, outcome::Outcome};

/// Where the demo speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stage {
    pub(crate) json: bool,
}

impl Stage {
    /// Says what is being done.
    pub(crate) fn step(self, what: &str) -> anyhow::Result<()> {
        self.print(
            &json!({"event": "step", "what": what}),
            &format!("==> {what}"),
        )
    }

    /// Says who answered the calls to a URL.
    pub(crate) fn answers(
        self,
        url: &str,
        answers: &BTreeMap<String, usize>,
    ) -> anyhow::Result<()> {
        let by: Vec<String> = answers
            .iter()
            .map(|(cluster, count)| format!("{count} from {cluster}"))
            .collect();
        self.print(
            &json!({"event": "answers", "url": url, "answered_by": answers}),
            &format!("    curl {url}: {}", by.join(", ")),
        )
    }

    /// Says how a run went.
    pub(crate) fn outcome(self, run: u16, outcome: &Outcome) -> anyhow::Result<()> {
        self.print(
            &json!({"event": "run", "run": run, "outcome": outcome}),
            &format!(
                "    {} requests, {} failed; failover {} ms; return {}",
                outcome.requests,
                outcome.failures,
                outcome.failover_ms,
                outcome
                    .return_ms
                    .map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms"))
            ),
        )
    }

    /// Prints the closing table.
    pub(crate) fn table(self, rows: &[(String, String)]) -> anyhow::Result<()> {
        let facts: BTreeMap<&str, &str> = rows
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut text = String::from("\n");
        for (name, value) in rows {
            text.push_str(&format!("  {name:<34} {value}\n"));
        }
        self.print(&json!({"event": "result", "facts": facts}), &text)
    }

    /// Says what to do with clusters that stay up.
    pub(crate) fn how_to_play(self, lab: &Lab) -> anyhow::Result<()> {
        let mut commands = multicluster::hints(lab.plan());
        commands.push(format!(
            "isthmus lab exec --lab {} {CLIENT} -- curl -s http://{NAME}/",
            lab.name()
        ));
        let text: Vec<String> = commands
            .iter()
            .map(|command| format!("    target/debug/{command}"))
            .collect();
        self.print(
            &json!({"event": "kept", "commands": commands}),
            &text.join("\n"),
        )
    }

    fn print(self, json: &Value, text: &str) -> anyhow::Result<()> {
        let mut stdout = std::io::stdout().lock();
        if self.json {
            writeln!(stdout, "{json}")?;
        } else {
            writeln!(stdout, "{text}")?;
        }
        Ok(())
    }
}
