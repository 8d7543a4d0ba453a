//! The programs that run in the namespaces, each until it is dropped.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::task::command::describe;

/// What the program that opens a tunnel by hand says.
#[derive(Debug, Deserialize)]
pub(crate) struct Said {
    pub(crate) configure_seconds: f64,
    pub(crate) change_one_ms: Vec<f64>,
}

/// A tunnel that is open.
pub(crate) struct Opened {
    pub(crate) process: Process,
    pub(crate) said: Said,
    out: BufReader<ChildStdout>,
}

impl Opened {
    /// Waits until it says one more thing.
    pub(super) fn said_more(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.out.read_line(&mut line).context("reading")?;
        ensure!(!line.is_empty(), "the tunnel has ended");
        Ok(line)
    }
}

/// A process that ends when this is dropped, and with this program.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(super) fn start(command: &mut Command) -> anyhow::Result<Process> {
    let line = describe(command);
    let child = command.stdout(Stdio::null()).spawn();
    child
        .map(Process)
        .with_context(|| format!("starting `{line}`"))
}

/// Starts the program that opens a tunnel and waits until it says that it is open; it runs until its input ends.
pub(super) fn open_tunnel(command: &mut Command) -> anyhow::Result<Opened> {
    let line = describe(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Process(
        command
            .spawn()
            .with_context(|| format!("starting `{line}`"))?,
    );
    let Some(out) = process.0.stdout.take() else {
        bail!("`{line}` has no output");
    };
    let mut said = String::new();
    let mut out = BufReader::new(out);
    out.read_line(&mut said).context("reading")?;
    let said = serde_json::from_str(&said).with_context(|| format!("`{line}` opened no tunnel"))?;
    Ok(Opened { process, said, out })
}
