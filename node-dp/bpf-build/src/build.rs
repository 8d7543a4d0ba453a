//! The nested build of the kernel programs.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use crate::{
    pins,
    toolchain::{Toolchain, ToolchainMissing, find_linker},
};

/// The package with the programs, and its binary.
const PACKAGE: &str = "node-dp-ebpf";

/// Why there is no object file.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A tool is missing.
    #[error(transparent)]
    Toolchain(#[from] ToolchainMissing),
    /// The build could not be started.
    #[error("cannot start the build of the kernel programs")]
    Start(#[source] io::Error),
    /// The build failed; what it said is in its output above.
    #[error("the build of the kernel programs failed: {0}")]
    Failed(ExitStatus),
}

/// What the object file is made from, relative to the workspace: when none of it changes, neither does the object.
pub fn sources() -> [&'static str; 4] {
    [
        "node-dp/ebpf/src",
        "node-dp/ebpf/Cargo.toml",
        "node-dp/common/src",
        "node-dp/common/Cargo.toml",
    ]
}

/// Builds the kernel programs and returns the path of the object file.
///
/// `target_dir` must not be a directory in which an outer cargo is building: the two would wait for each other.
pub fn build(workspace_root: &Path, target_dir: &Path) -> Result<PathBuf, BuildError> {
    let toolchain = Toolchain::find()?;
    let linker = find_linker()?;
    let status = toolchain
        .cargo()
        .args(["--release", "--package", PACKAGE, "--target", pins::TARGET])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(workspace_root)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&linker).join("\x1f"))
        .stdin(Stdio::null())
        .status()
        .map_err(BuildError::Start)?;
    if !status.success() {
        return Err(BuildError::Failed(status));
    }
    Ok(target_dir.join(pins::TARGET).join("release").join(PACKAGE))
}

fn flags(linker: &Path) -> [String; 4] {
    [
        format!("-Clinker={}", linker.display()),
        // The kernel wants types of maps and line numbers of programs.
        "-Clink-arg=--btf".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        // Whose register names the bindings of the kernel use.
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
    ]
}
