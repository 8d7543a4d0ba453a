//! Removes labs: a watcher beside each living one, and on request what crashed runs left.
//!
//! The watcher is a process of its own because an owner that is killed runs no code of its own any more. It holds the
//! end of a pipe whose other end only the owner has; the kernel closes that one however the owner dies.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{cgroup, netns, plan, preflight::Unfit, topology::check_lab_name};

/// What is run; `sh` and the machine's ordinary tools suffice.
const SCRIPT: &str = include_str!("sweep.sh");

/// The process that removes a lab when its owner is gone.
#[derive(Debug)]
pub(crate) struct Watcher {
    child: Child,
}

impl Watcher {
    /// Starts watching the calling process.
    pub(crate) fn start(lab: &str) -> Result<Self> {
        let child = script("watch", lab)?
            .stdin(Stdio::piped())
            // A group of its own: ctrl-c in a terminal is for the owner.
            .process_group(0)
            .spawn()
            .context("starting the process that cleans up after the lab")?;
        Ok(Self { child })
    }

    /// Lets the lab live on without an owner.
    pub(crate) fn keep(mut self) -> Result<()> {
        if let Some(mut stdin) = self.child.stdin.take() {
            stdin.write_all(b"keep\n").context("keeping the lab")?;
        }
        self.child.wait().context("keeping the lab")?;
        Ok(())
    }

    /// Removes the lab and waits until it is gone.
    pub(crate) fn sweep(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait().context("waiting for the clean-up")?;
        ensure!(status.success(), "the clean-up left something behind");
        Ok(())
    }
}

/// Removes a lab by name, living or not.
pub fn sweep(lab: &str) -> Result<()> {
    let status = script("at-once", lab)?
        .stdin(Stdio::null())
        .status()
        .context("running the clean-up")?;
    ensure!(
        status.success(),
        "the clean-up of lab {lab} left something behind"
    );
    Ok(())
}

/// The names of all labs of which there is anything on the machine.
pub fn labs() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let cgroups = cgroup::mount_point()
        .ok_or(Unfit::NoCgroup2)?
        .join("isthmus-lab");
    for folder in [plan::RUN_DIR.into(), cgroups] {
        let Ok(entries) = fs::read_dir(folder) else {
            continue;
        };
        let entries = entries.filter_map(Result::ok);
        found.extend(
            entries
                .filter(|entry| entry.path().is_dir())
                .filter_map(|entry| entry.file_name().into_string().ok()),
        );
    }
    let spaces = netns::names();
    found.extend(spaces.iter().filter_map(|name| {
        let (lab, _) = name.strip_prefix("ist-")?.split_once('-')?;
        // Tests elsewhere may use the prefix too; only a lab has the network between nodes.
        name.ends_with("-net").then(|| lab.to_owned())
    }));
    found.retain(|name| check_lab_name(name).is_ok());
    Ok(found)
}

fn script(when: &str, lab: &str) -> Result<Command> {
    check_lab_name(lab)?;
    let cgroup = plan::lab_cgroup(&cgroup::mount_point().ok_or(Unfit::NoCgroup2)?, lab);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT, "sweep", when, lab]);
    command.arg(cgroup).arg(plan::run_dir(lab));
    Ok(command)
}
