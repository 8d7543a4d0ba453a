//! What runs on each kernel: test programs of the agent, with the tests that need a kernel of their own.

use std::{fmt::Write as _, path::PathBuf, process::Stdio};

use anyhow::Context;
use serde::Deserialize;

use crate::task::{
    command::{cargo, describe, say},
    setup,
};

/// Seconds that a suite may take in an emulated guest on a busy machine.
const SECONDS: u32 = 900;

/// A column of the matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Suite {
    /// What the column is called.
    pub(super) name: &'static str,
    /// What runs, with the environment before it.
    command: &'static str,
}

/// Loading and attaching of every program, the kernel's WireGuard, and the embedded one with the kernel's at its other end.
///
/// Left out are what single packets become, which is the programs' own arithmetic; how much memory maps take, which kernels
/// before 6.3 only estimate; and agents that come and go without end, which takes minutes in a guest.
const SUITES: [Suite; 3] = [
    Suite {
        name: "programs",
        command: "/suites/datapath --ignored --test-threads=1 --skip packets:: \
                  --skip empty_maps_take_little_memory --skip no_connection_fails_while_agents_come_and_go",
    },
    Suite {
        name: "kernel-wireguard",
        command: "ISTHMUS_TEST_WIREGUARD=kernel /suites/node_dp tunnel --ignored --test-threads=1",
    },
    Suite {
        name: "userspace-to-kernel",
        command: "ISTHMUS_TEST_WIREGUARD=mixed /suites/node_dp tunnel --ignored --test-threads=1",
    },
];

/// The suites, and the programs that they are made of, by their paths in the guest.
#[derive(Debug)]
pub(super) struct Suites {
    pub(super) list: &'static [Suite],
    pub(super) programs: Vec<(String, PathBuf)>,
}

impl Suites {
    /// The part of the guest's script that runs them.
    pub(super) fn script(&self) -> String {
        let mut script = String::from("export CARGO_TARGET_DIR=/\n");
        for Suite { name, command } in self.list {
            // Writing to a string does not fail.
            writeln!(script, "suite {name} {SECONDS} {command}").ok();
        }
        script
    }

    /// How long a guest may take for all of them, in seconds.
    pub(super) fn seconds(&self) -> u64 {
        u64::from(SECONDS) * self.list.len() as u64
    }
}

/// Builds the test programs.
pub(super) fn build() -> anyhow::Result<Suites> {
    let mut programs = vec![("tools/bin/boringtun-cli".to_owned(), setup::boringtun()?)];
    let mut build = cargo();
    build.args(["test", "--no-run", "--package", "node-dp", "--lib"]);
    build.args([
        "--test",
        "datapath",
        "--message-format=json-render-diagnostics",
    ]);
    let line = describe(&build);
    say(&format!("$ {line}"));
    let built = build
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting `{line}`"))?;
    if !built.status.success() {
        anyhow::bail!("`{line}` ended with {}", built.status);
    }
    programs.extend(executables(&String::from_utf8_lossy(&built.stdout)));
    Ok(Suites {
        list: &SUITES,
        programs,
    })
}

/// What cargo says of one artefact, as far as it matters here.
#[derive(Deserialize)]
struct Artefact {
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The test programs that cargo says it built, by where the guest has them.
fn executables(messages: &str) -> Vec<(String, PathBuf)> {
    messages
        .lines()
        // Other messages have no target.
        .filter_map(|line| serde_json::from_str::<Artefact>(line).ok())
        // Programs that are no tests come along, for the tests that run them.
        .filter(|artefact| artefact.profile.test)
        .filter_map(|artefact| {
            let name = artefact.target.name;
            Some((format!("suites/{name}"), artefact.executable?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_programs_count_among_what_cargo_built() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"libc"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","target":{"name":"agent"},"profile":{"test":false},"executable":"/target/agent"}
{"reason":"compiler-artifact","target":{"name":"datapath"},"profile":{"test":true},"executable":"/target/datapath-1"}
{"reason":"build-finished","success":true}"#;

        let found = executables(messages);

        assert_eq!(
            found,
            [(
                "suites/datapath".to_owned(),
                PathBuf::from("/target/datapath-1")
            )]
        );
    }
}
