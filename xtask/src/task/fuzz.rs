//! Searches for inputs that break the session protocol, from the committed corpus on.

use std::fs;

use anyhow::Context;

use crate::task::{
    command::{cargo, root, run as run_command, say, target_dir},
    setup,
};

/// The crate of the targets, below the workspace's root.
const FUZZ_DIR: &str = "mesh-gateway/core/fuzz";

/// What to search, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is driven with the inputs.
    target: Target,
    /// How long to search.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// What can be driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Target {
    /// Two stores that compare digests, and one that lies.
    Digest,
    /// The decoder of frames.
    Frames,
    /// A session between a hostile peer and a store.
    Session,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::Frames => "frames",
            Self::Session => "session",
        }
    }
}

/// The task.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    setup::run_quietly_if_done()?;
    setup::cargo_fuzz()?;
    let target = args.target.name();
    let fuzz_dir = root().join(FUZZ_DIR);
    // It is a workspace of its own, and shall have the dependencies that the protocol is built with.
    let lock = "Cargo.lock";
    fs::copy(root().join(lock), fuzz_dir.join(lock)).context("copying Cargo.lock")?;
    let builds = target_dir().join("fuzz");
    // The first folder gets what is found; only what is worth keeping is moved to the committed corpus.
    let found = builds.join("found").join(target);
    fs::create_dir_all(&found).with_context(|| format!("making {}", found.display()))?;
    let mut command = cargo();
    command.args(["fuzz", "run", "--fuzz-dir"]).arg(&fuzz_dir);
    command.arg("--target-dir").arg(&builds).arg(target);
    command
        .arg(&found)
        .arg(fuzz_dir.join("corpus").join(target));
    command
        .arg("--")
        .arg(format!("-max_total_time={}", args.seconds));
    // The sanitizers' flags are unstable, and the pinned compiler has them all the same.
    command.env("RUSTC_BOOTSTRAP", "1");
    run_command(&mut command).with_context(|| {
        format!(
            "an input breaks {target}: it is below {FUZZ_DIR}/artifacts; copy it to {FUZZ_DIR}/corpus/{target} and fix \
             what `cargo test -p mesh-gateway-core --test corpus` then shows"
        )
    })?;
    say(&format!("nothing breaks {target}"));
    Ok(())
}
