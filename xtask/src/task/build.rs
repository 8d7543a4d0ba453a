//! Builds the programs that demo, benches and end-to-end tests run.

use std::path::PathBuf;

use crate::task::command::{cargo, run, target_dir};

/// Which of cargo's profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// The packages whose programs are run.
const PACKAGES: [&str; 5] = [
    "apiserver-double",
    "isthmus",
    "mesh-gateway",
    "node-dp",
    "xtask",
];

/// Builds them and returns the folder they are in.
pub(crate) fn programs(profile: Profile) -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--bins"]);
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            build.arg("--release");
            "release"
        }
    };
    run(&mut build)?;
    Ok(target_dir().join(folder))
}

/// Builds a program that uses parts of the agent by hand, in release mode, and returns it.
pub(crate) fn by_hand(example: &str) -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--release", "--package", "node-dp"]);
    run(build.args(["--example", example]))?;
    Ok(target_dir().join("release/examples").join(example))
}
