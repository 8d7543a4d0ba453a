//! Enters network namespaces, always in a thread of its own so that the caller stays where it is.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, anyhow};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};

/// Where iproute2 keeps named network namespaces.
const NETNS_DIR: &str = "/run/netns";

/// Runs a closure inside a named network namespace and hands back its result.
pub(crate) fn inside<T: Send>(netns: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    in_thread(|| {
        enter(netns)?;
        work()
    })
}

/// Runs a closure in a short-lived thread, whose namespaces it may change.
pub(crate) fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(work).join())
        .map_err(|_panic| anyhow!("a thread inside a namespace panicked"))?
}

/// Moves the calling thread into a named network namespace, for good.
pub(crate) fn enter(netns: &str) -> Result<()> {
    let file = File::open(path(netns))
        .with_context(|| format!("opening the network namespace {netns}: is the lab up?"))?;
    setns(file, CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("entering the network namespace {netns}"))
}

/// Gives the calling thread its own mounts, in which `/etc/resolv.conf` is another file.
pub(crate) fn replace_resolv_conf(replacement: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)
        .context("keeping a pod's mounts from the machine's")?;
    // The real file, because a bind mount on a symbolic link would follow it anyway.
    let target = fs::canonicalize("/etc/resolv.conf")
        .context("finding /etc/resolv.conf, which pods see replaced: it must exist")?;
    mount(Some(replacement), &target, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("mounting {} for a pod", replacement.display()))
}

/// The file that stands for a named network namespace.
pub(crate) fn path(netns: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(netns)
}

/// The names of all network namespaces on the machine.
pub(crate) fn names() -> Vec<String> {
    let Ok(entries) = fs::read_dir(NETNS_DIR) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}
