//! Control groups: who lives in a pod, told without a list of process numbers.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        statfs::{CGROUP2_SUPER_MAGIC, statfs},
    },
    unistd::Pid,
};

/// One lab's end can come between only once; this is for many.
const CREATE_ATTEMPTS: usize = 20;

/// Finds the cgroup2 mount, which need not be at `/sys/fs/cgroup`, unless another file system lies over it.
pub(crate) fn mount_point() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mount_points(&mounts)
        .find(|path| statfs(path).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC))
}

/// Where a list of mounts has a cgroup2 file system.
fn mount_points(mounts: &str) -> impl Iterator<Item = PathBuf> {
    mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let path = fields.next()?;
        (fields.next() == Some("cgroup2")).then(|| PathBuf::from(path))
    })
}

/// Makes a control group and those above it.
pub(crate) fn create(group: &Path) -> Result<()> {
    create_dir_all(group).with_context(|| format!("making the control group {}", group.display()))
}

/// Makes a folder and those above it, also while another lab's end removes the empty one that both are in.
pub(crate) fn create_dir_all(folder: &Path) -> io::Result<()> {
    let mut result = fs::create_dir_all(folder);
    for _ in 0..CREATE_ATTEMPTS {
        match &result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                result = fs::create_dir_all(folder);
            }
            Err(_) | Ok(()) => break,
        }
    }
    result
}

/// Whether a living process is in the group or below it; a missing group has none.
pub(crate) fn is_populated(group: &Path) -> bool {
    fs::read_to_string(group.join("cgroup.events"))
        .is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
}

/// The processes in the group itself.
pub(crate) fn processes(group: &Path) -> Result<Vec<Pid>> {
    let text = match fs::read_to_string(group.join("cgroup.procs")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("reading who is in {}", group.display()));
        }
    };
    let pids = text.lines().filter_map(|line| line.parse().ok());
    Ok(pids.map(Pid::from_raw).collect())
}

/// Sends a signal to each process in the group itself; how many there were.
pub(crate) fn signal(group: &Path, signal: Signal) -> Result<usize> {
    let pids = processes(group)?;
    for pid in &pids {
        match kill(*pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("sending {signal} to process {pid}"));
            }
        }
    }
    Ok(pids.len())
}

/// The resident memory of the group's own processes in bytes.
pub(crate) fn resident_bytes(group: &Path) -> Result<u64> {
    let mut total = 0;
    for pid in processes(group)? {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("reading the memory of process {pid}"))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        total += kib.unwrap_or(0) * 1024;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_hierarchy_has_its_cgroup2_mount_beside_the_old_ones() {
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";

        let found: Vec<_> = mount_points(mounts).collect();

        assert_eq!(found, [Path::new("/sys/fs/cgroup/unified")]);
    }
}
