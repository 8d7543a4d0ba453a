//! Runs every test there is and adds the counts up.
//!
//! What needs root is `#[ignore]`d, so each group of packages runs twice: as any user would, and, as root, the ignored ones.
//! A root run in which none of those ran is a failure, or a change could quietly leave them all out.

mod count;
mod kernels;

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use anyhow::{Context, bail};
use multicluster::preflight;

use crate::task::{
    command::{cargo, describe, run as run_command, say},
    setup,
};
use count::Counts;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Runs only the tests whose name contains this; `kube` runs just those that talk to an API server.
    filter: Option<String>,
    /// Without root, leaves out what needs it, says how many that were, and does not fail for it.
    #[arg(long)]
    unprivileged: bool,
    /// Runs, instead of all else, what depends on the kernel on other kernels, which QEMU emulates.
    #[arg(
        long,
        value_name = "KERNELS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = kernels::ALL,
        conflicts_with_all = ["filter", "unprivileged"]
    )]
    kernel_matrix: Option<String>,
    /// Runs of that what fits into a few minutes.
    #[arg(long, requires = "kernel_matrix")]
    sample: bool,
}

/// Packages that are tested together, and how.
struct Group {
    packages: &'static [&'static str],
    threads: Option<&'static str>,
}

/// All but the end-to-end tests; whoever builds these together builds what they share with the same features, once.
const ALL_BUT_LAB: &[&str] = &["--workspace", "--exclude", "multicluster"];

/// The end-to-end tests measure times, so they run one by one, and after all else.
const GROUPS: [Group; 2] = [
    Group {
        packages: ALL_BUT_LAB,
        threads: None,
    },
    Group {
        packages: &["--package", "multicluster"],
        threads: Some("--test-threads=1"),
    },
];

/// The filter that runs just what talks to an API server, a real one where `KUBEBUILDER_ASSETS` names its programs.
const KUBE_FILTER: &str = "kube";

/// These hold against any API server; a real one takes seconds to start, so few start at once.
const KUBE_GROUP: Group = Group {
    packages: &[
        "--package",
        "apiserver-double",
        "--package",
        "cluster-registry-kube",
    ],
    threads: Some("--test-threads=4"),
};

/// The task.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(names) = &args.kernel_matrix {
        return kernels::run(names, args.sample);
    }
    if args.filter.as_deref() == Some(KUBE_FILTER) {
        return run_kube(args);
    }
    let is_root = preflight::is_root();
    if is_root {
        preflight::run()?;
    } else if !args.unprivileged {
        let error = anyhow::Error::new(preflight::Unfit::NotRoot);
        return Err(error.context("not all tests can run (with --unprivileged, those that can do)"));
    }
    setup::run_quietly_if_done()?;
    run_command(cargo().args([
        "build",
        "--workspace",
        "--bins",
        "--exclude",
        "node-dp-ebpf",
    ]))?;
    let mut total = Counts::default();
    let mut broken = Vec::new();
    for group in &GROUPS {
        let unprivileged = run_group(group, args, None, &mut broken)?;
        let ignored = unprivileged.skipped;
        total += unprivileged;
        if is_root && ignored > 0 {
            let privileged = run_group(group, args, Some("--ignored"), &mut broken)?;
            total.skipped -= privileged.passed + privileged.failed;
            total += privileged;
        }
    }
    print_total(total)?;
    conclude(args, is_root, total, &broken)
}

/// Needs neither root nor the programs.
fn run_kube(args: &Args) -> anyhow::Result<()> {
    let mut broken = Vec::new();
    let total = run_group(&KUBE_GROUP, args, None, &mut broken)?;
    print_total(total)?;
    conclude(args, false, total, &broken)
}

fn conclude(args: &Args, is_root: bool, total: Counts, broken: &[String]) -> anyhow::Result<()> {
    if !broken.is_empty() {
        bail!("these did not pass: {}", broken.join("; "));
    }
    if total.failed > 0 {
        bail!("{} tests failed", total.failed);
    }
    if is_root && total.skipped > 0 {
        bail!("{} tests were left out, though this is root", total.skipped);
    }
    if total.passed == 0 {
        match &args.filter {
            Some(filter) => bail!("no test's name contains '{filter}'"),
            None => bail!("no test ran"),
        }
    }
    Ok(())
}

fn run_group(
    group: &Group,
    args: &Args,
    choice: Option<&str>,
    broken: &mut Vec<String>,
) -> anyhow::Result<Counts> {
    let mut command = cargo();
    command
        .args(["test", "--no-fail-fast"])
        .args(group.packages);
    command.args(&args.filter).arg("--");
    command.args(choice).args(group.threads);
    let line = describe(&command);
    say(&format!("$ {line}"));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting `{line}`"))?;
    let stdout = child.stdout.take().context("reading the tests' output")?;
    let mut counts = Counts::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("reading the tests' output")?;
        let line = String::from_utf8_lossy(&line);
        counts += Counts::of_line(&line);
        writeln!(std::io::stdout().lock(), "{line}")?;
    }
    let status = child
        .wait()
        .with_context(|| format!("waiting for `{line}`"))?;
    if !status.success() {
        broken.push(format!("`{line}` ended with {status}"));
    }
    Ok(counts)
}

fn print_total(total: Counts) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{total}")?;
    Ok(())
}
