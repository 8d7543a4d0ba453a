//! Which compiler can build for the BPF target here.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{environment, pins};

/// Names the compiler to use, by path; it must have `core` for the BPF target.
const RUSTC_VARIABLE: &str = "ISTHMUS_BPF_RUSTC";

/// Names the linker to use, by path.
const LINKER_VARIABLE: &str = "ISTHMUS_BPF_LINKER";

/// The environment variables that decide, if set, which tools are used.
pub const OVERRIDES: [&str; 2] = [RUSTC_VARIABLE, LINKER_VARIABLE];

/// A compiler that builds for the BPF target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// A compiler that has `core` for the target, such as Debian's.
    Prebuilt {
        /// The compiler.
        rustc: PathBuf,
    },
    /// A rustup toolchain that builds `core` from its source.
    FromSource {
        /// Its name.
        name: String,
    },
}

/// Neither kind of toolchain is there, or no linker.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainMissing {
    /// No compiler can build for the target.
    #[error(
        "no compiler for {target}: on Debian run `apt-get install {packages}`, elsewhere \
         `rustup toolchain install {toolchain} --profile minimal --component rust-src`, or `cargo xtask setup` for either",
        target = pins::TARGET,
        packages = pins::DEBIAN_PACKAGES.join(" "),
        toolchain = pins::RUSTUP_TOOLCHAIN,
    )]
    Compiler,
    /// The compiler that the environment names cannot build for the target.
    #[error("{RUSTC_VARIABLE} names {}, which has no core for {}", .0.display(), pins::TARGET)]
    Named(PathBuf),
    /// The linker is not there.
    #[error(
        "no bpf-linker: run `cargo xtask setup`, or `LLVM_PREFIX={prefix} cargo install bpf-linker --version {version} \
         --no-default-features --features llvm-{llvm} --locked`",
        prefix = pins::DEBIAN_LLVM_PREFIX,
        version = pins::BPF_LINKER,
        llvm = pins::LLVM,
    )]
    Linker,
}

impl Toolchain {
    /// The toolchain to use: what the environment names, else Debian's, else a rustup nightly.
    pub fn find() -> Result<Self, ToolchainMissing> {
        if let Some(named) = env::var_os(RUSTC_VARIABLE) {
            let rustc = PathBuf::from(named);
            if !has_core(&rustc) {
                return Err(ToolchainMissing::Named(rustc));
            }
            return Ok(Self::Prebuilt { rustc });
        }
        let debian = Path::new(pins::DEBIAN_RUSTC);
        if debian.exists() && has_core(debian) {
            return Ok(Self::Prebuilt {
                rustc: debian.to_owned(),
            });
        }
        [pins::RUSTUP_TOOLCHAIN, "nightly"]
            .into_iter()
            .find(|name| has_source(name))
            .map(|name| Self::FromSource {
                name: name.to_owned(),
            })
            .ok_or(ToolchainMissing::Compiler)
    }

    /// A cargo that builds with this toolchain and sees nothing of an outer build.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = match self {
            Self::Prebuilt { rustc } => {
                let mut cargo = clean(&outer_cargo());
                // Core for the target comes with a stable compiler; only using it counts as unstable.
                cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
            Self::FromSource { name } => {
                let mut rustup = clean(Path::new("rustup"));
                rustup.args(["run", name, "cargo"]);
                rustup
            }
        };
        cargo.arg("build");
        if matches!(self, Self::FromSource { .. }) {
            cargo.args(["-Z", "build-std=core"]);
        }
        cargo
    }
}

/// The linker to use: what the environment names, else the one in the search path or where cargo installs.
pub fn find_linker() -> Result<PathBuf, ToolchainMissing> {
    if let Some(named) = env::var_os(LINKER_VARIABLE) {
        return Ok(PathBuf::from(named));
    }
    let search = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&search)
        .chain(cargo_bin())
        .map(|directory| directory.join("bpf-linker"))
        .find(|path| path.is_file())
        .ok_or(ToolchainMissing::Linker)
}

/// Where `cargo install` puts programs.
fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| {
        let home = env::var_os("HOME")?;
        Some(Path::new(&home).join(".cargo"))
    })?;
    Some(home.join("bin"))
}

/// The cargo that runs the build script, or the one in the search path.
fn outer_cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for name in environment::dropped(env::vars_os()) {
        command.env_remove(name);
    }
    command
}

fn has_core(rustc: &Path) -> bool {
    let Ok(libraries) = output(clean(rustc).env("RUSTC_BOOTSTRAP", "1").args([
        "--print",
        "target-libdir",
        "--target",
        pins::TARGET,
    ])) else {
        return false;
    };
    let Ok(entries) = Path::new(libraries.trim()).read_dir() else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

fn has_source(toolchain: &str) -> bool {
    output(clean(Path::new("rustup")).args(["run", toolchain, "rustc", "--print", "sysroot"]))
        .is_ok_and(|sysroot| {
            Path::new(sysroot.trim())
                .join("lib/rustlib/src/rust/library/core")
                .is_dir()
        })
}

fn output(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(output.status.to_string()));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
}
