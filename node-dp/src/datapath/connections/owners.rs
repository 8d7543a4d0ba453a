//! Sockets of other processes: finds who has them, and takes descriptors of them.
//!
//! What a program notes on a socket can only be read through a descriptor of that socket (pidfd_getfd, 5.6).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// Descriptors of the sockets with some inode numbers, as far as one of the processes has them and lets them be taken.
pub(super) fn sockets(processes: &[u32], wanted: &BTreeSet<u32>) -> BTreeMap<u32, OwnedFd> {
    let mut found = BTreeMap::new();
    for process in processes {
        if found.len() == wanted.len() {
            break;
        }
        for (number, inode) in open_sockets(*process) {
            if wanted.contains(&inode)
                && !found.contains_key(&inode)
                && let Ok(descriptor) = take(*process, number)
            {
                found.insert(inode, descriptor);
            }
        }
    }
    found
}

/// The descriptors of a process that are sockets, with their inodes; none if it has ended.
fn open_sockets(process: u32) -> impl Iterator<Item = (i32, u32)> {
    let entries = fs::read_dir(format!("/proc/{process}/fd"));
    entries.into_iter().flatten().flatten().filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?;
        let inode = inode.strip_suffix(']')?.parse().ok()?;
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, inode))
    })
}

/// A descriptor of what a process has open under a number.
fn take(process: u32, number: i32) -> io::Result<OwnedFd> {
    // SAFETY: both calls take numbers alone.
    let process = descriptor(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) })?;
    let pidfd = process.as_raw_fd();
    // SAFETY: as above.
    descriptor(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, number, 0) })
}

/// The descriptor that a call has made, or its error.
fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let number = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the call made this descriptor, and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
