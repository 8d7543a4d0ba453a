//! Installs what building and testing needs and this machine lacks.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, bail};
use multicluster::preflight;
use node_dp_bpf_build::{Toolchain, find_linker, pins};

use crate::task::command::{cargo, command, run, say, target_dir};

/// What tests, demo and lab run, and what the crates' C parts build with.
const PACKAGES: [&str; 12] = [
    "build-essential",
    "ca-certificates",
    "curl",
    "git",
    "iproute2",
    "nftables",
    "nginx-light",
    "procps",
    "python3",
    "python3-venv",
    "tcpdump",
    "wireguard-tools",
];

/// Installs what is missing, and says nothing if nothing is.
pub(crate) fn run_quietly_if_done() -> anyhow::Result<()> {
    packages(&PACKAGES)?;
    bpf_toolchain()
}

/// The task.
pub(crate) fn run_task() -> anyhow::Result<()> {
    run_quietly_if_done()?;
    say("everything that Isthmus needs is installed");
    Ok(())
}

/// Installs what the benches compare with.
pub(crate) fn baselines() -> anyhow::Result<()> {
    packages(&["iptables"])
}

/// Installs what boots other kernels, and fails where it is still missing.
pub(crate) fn guests() -> anyhow::Result<()> {
    packages(&["busybox-static", "cpio", "kmod", "qemu-system-x86"])?;
    let needed = ["qemu-system-x86_64", "busybox", "cpio", "kmod", "dpkg-deb"];
    if let Some(missing) = needed.into_iter().find(|program| !is_there(program)) {
        bail!("{missing} is not installed");
    }
    Ok(())
}

/// Installs another WireGuard in user space; answers where the program is.
pub(crate) fn boringtun() -> anyhow::Result<PathBuf> {
    let root = target_dir().join("tools");
    let program = root.join("bin/boringtun-cli");
    if !program.is_file() {
        say("installing boringtun-cli");
        let mut install = cargo();
        install.args(["install", "--quiet", "--locked", "boringtun-cli@0.7.1"]);
        run(install.arg("--root").arg(&root)).context("installing boringtun-cli")?;
    }
    Ok(program)
}

/// Installs cargo-deny, which `check` alone needs.
pub(crate) fn cargo_deny() -> anyhow::Result<()> {
    if is_there("cargo-deny") {
        return Ok(());
    }
    say("installing cargo-deny");
    run(cargo().args([
        "install",
        "--quiet",
        "--locked",
        "--no-default-features",
        "cargo-deny@0.20.2",
    ]))
}

/// Installs cargo-fuzz, which `fuzz` alone needs.
pub(crate) fn cargo_fuzz() -> anyhow::Result<()> {
    if is_there("cargo-fuzz") {
        return Ok(());
    }
    say("installing cargo-fuzz");
    run(cargo().args(["install", "--quiet", "--locked", "cargo-fuzz@0.13.2"]))
}

/// A compiler for the BPF target and its linker; which ones, `node-dp-bpf-build` says.
fn bpf_toolchain() -> anyhow::Result<()> {
    if let Err(missing) = Toolchain::find() {
        if !is_there("apt-get") {
            return Err(missing.into());
        }
        packages(&pins::DEBIAN_PACKAGES)?;
        Toolchain::find()?;
    }
    if find_linker().is_ok() {
        return Ok(());
    }
    say("installing bpf-linker");
    let features = format!("llvm-{}", pins::LLVM);
    let mut install = cargo();
    install.args(["install", "--quiet", "--locked", "--no-default-features"]);
    install.args([
        "--features",
        &features,
        "bpf-linker",
        "--version",
        pins::BPF_LINKER,
    ]);
    install.env("LLVM_PREFIX", pins::DEBIAN_LLVM_PREFIX);
    run(&mut install).context("installing bpf-linker")?;
    find_linker()?;
    Ok(())
}

/// Installs Debian packages that are missing.
fn packages(wanted: &[&str]) -> anyhow::Result<()> {
    if !is_there("dpkg-query") {
        say(&format!(
            "this is not Debian: make sure that these, or their like, are installed: {}",
            wanted.join(" ")
        ));
        return Ok(());
    }
    let missing: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|package| !is_installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !preflight::is_root() {
        bail!(
            "these packages are missing, and only root can install them: {0}; run `apt-get install {0}` as root",
            missing.join(" ")
        );
    }
    say(&format!("installing {}", missing.join(" ")));
    run(command("apt-get").args(["update", "-qq"])).context("refreshing the list of packages")?;
    run(command("apt-get")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive"))
    .context("installing packages")
}

fn is_installed(package: &str) -> bool {
    command("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

fn is_there(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
    })
}
