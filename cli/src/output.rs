//! Prints: data on standard output, everything else on standard error.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables for people.
    Table,
    /// One JSON document for programs.
    Json,
}

/// The command's way to its user.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    /// Prints in the given format.
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Prints a document: as it is for programs, or as `sections` makes it readable for people.
    pub(crate) fn document(
        &self,
        document: &Value,
        sections: impl FnOnce(&Value) -> Vec<Section>,
    ) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.format {
            Format::Json => writeln!(out, "{document:#}"),
            Format::Table => {
                for (index, section) in sections(document).into_iter().enumerate() {
                    if index > 0 {
                        writeln!(out)?;
                    }
                    section.print(&mut out)?;
                }
                Ok(())
            }
        }
    }

    /// Tells people what was done; programs see the exit code.
    pub(crate) fn done(&self, text: &str) -> io::Result<()> {
        match self.format {
            Format::Json => Ok(()),
            Format::Table => writeln!(io::stdout(), "{text}"),
        }
    }

    /// Tells why the command failed.
    pub(crate) fn failure(&self, error: &anyhow::Error) {
        // With standard error gone there is nobody to tell.
        drop(writeln!(io::stderr(), "isthmus: {error:#}"));
    }
}

/// A table with a title, or lines of text.
#[derive(Debug)]
pub(crate) enum Section {
    /// A table.
    Table {
        /// What it is about; may be empty.
        title: String,
        /// The columns' names.
        header: Vec<&'static str>,
        /// The rows.
        rows: Vec<Vec<String>>,
    },
    /// Lines that need no columns.
    Lines(Vec<String>),
}

impl Section {
    fn print(self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Lines(lines) => lines.iter().try_for_each(|line| writeln!(out, "{line}")),
            Self::Table {
                title,
                header,
                rows,
            } => {
                if !title.is_empty() {
                    writeln!(out, "{title}")?;
                }
                if rows.is_empty() {
                    return writeln!(out, "  (none)");
                }
                let mut table = Table::new();
                table
                    .load_style(presets::NOTHING)
                    .set_content_arrangement(ContentArrangement::Disabled)
                    .set_header(header)
                    .add_rows(rows);
                let text = table.to_string();
                text.lines()
                    .try_for_each(|line| writeln!(out, " {}", line.trim_end()))
            }
        }
    }
}
