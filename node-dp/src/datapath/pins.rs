//! Where things are pinned: `links/HOOK` and `maps-LAYOUT/MAP` below one directory of a bpffs.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, FsType, statfs},
};

use super::{
    Adoption, OpenError, devices, hooks,
    object::{MAPS, MapSizes},
};

/// Where a host's bpffs belongs; nothing but a mount can be made there.
const HOST_BPFFS: &str = "/sys/fs/bpf";

const LINKS: &str = "links";
const MAPS_PREFIX: &str = "maps-";

/// Refuses a cgroup that no program can be attached to.
pub(super) fn check_cgroup(cgroup: &Path) -> Result<(), OpenError> {
    if is_on(cgroup, CGROUP2_SUPER_MAGIC) {
        return Ok(());
    }
    Err(OpenError::NotCgroup2(cgroup.to_owned()))
}

/// Makes the directory for the pins, and mounts a bpffs there if it is on none.
pub(super) fn make_bpffs(directory: &Path) -> Result<(), OpenError> {
    let host = Path::new(HOST_BPFFS);
    if directory.starts_with(host) {
        if !is_on(host, BPF_FS_MAGIC) {
            mount_bpffs(host)?;
        }
        make_directory(directory)?;
    } else {
        make_directory(directory)?;
        if !is_on(directory, BPF_FS_MAGIC) {
            mount_bpffs(directory)?;
        }
    }
    make_directory(&directory.join(LINKS))
}

/// Where the maps of this layout and these sizes are pinned.
pub(super) fn maps_directory(bpffs: &Path, sizes: MapSizes) -> PathBuf {
    bpffs.join(format!("{MAPS_PREFIX}{}", sizes.fingerprint()))
}

/// Where the link of a hook is pinned.
pub(super) fn link(bpffs: &Path, hook: &str) -> PathBuf {
    bpffs.join(LINKS).join(hook)
}

/// Where links are pinned.
pub(super) fn links(bpffs: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(bpffs.join(LINKS))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// What is there, seen from an agent whose maps are in `own`.
///
/// While other maps are there, they are the ones that serve, even if the own ones have been made: a former run ended
/// before it had filled them.
pub(super) fn adoption(bpffs: &Path, own: &Path) -> Result<Adoption, OpenError> {
    if other_maps(bpffs, own)?.next().is_some() {
        return Ok(Adoption::Replacing);
    }
    if MAPS.into_iter().all(|map| own.join(map).exists()) {
        return Ok(Adoption::Adopted);
    }
    Ok(Adoption::Fresh)
}

/// Removes the maps of other layouts.
pub(super) fn remove_other_maps(bpffs: &Path, own: &Path) -> Result<(), OpenError> {
    for directory in other_maps(bpffs, own)? {
        remove_directory(&directory)?;
    }
    Ok(())
}

/// Removes all links, then all maps, then the directory; a mounted bpffs stays.
pub(super) fn remove_all(bpffs: &Path) -> Result<(), OpenError> {
    if !is_on(bpffs, BPF_FS_MAGIC) {
        return Ok(());
    }
    devices::detach_filters(&[]).map_err(|source| unusable(bpffs, source))?;
    let links = bpffs.join(LINKS);
    hooks::detach_all(&links).map_err(|source| unusable(&links, source))?;
    for directory in other_maps(bpffs, Path::new(""))? {
        remove_directory(&directory)?;
    }
    match fs::remove_dir(bpffs) {
        // The directory is the mount itself, or holds what others pinned.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Ok(())
        }
        result => result.map_err(|source| unusable(bpffs, source)),
    }
}

/// Makes a directory and those above it.
pub(super) fn make_directory(path: &Path) -> Result<(), OpenError> {
    fs::create_dir_all(path).map_err(|source| unusable(path, source))
}

fn other_maps(bpffs: &Path, own: &Path) -> Result<impl Iterator<Item = PathBuf>, OpenError> {
    let entries = fs::read_dir(bpffs).map_err(|source| unusable(bpffs, source))?;
    let mut directories = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| unusable(bpffs, source))?.path();
        let is_maps = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(MAPS_PREFIX));
        if is_maps && path != own {
            directories.push(path);
        }
    }
    Ok(directories.into_iter())
}

/// Removes a directory of pins, if it is there.
fn remove_directory(path: &Path) -> Result<(), OpenError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(unusable(path, source)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn mount_bpffs(path: &Path) -> Result<(), OpenError> {
    mount(
        Some("bpf"),
        path,
        Some("bpf"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        Some("mode=0700"),
    )
    .map_err(|error| OpenError::Mount {
        path: path.to_owned(),
        source: error.into(),
    })
}

fn is_on(path: &Path, kind: FsType) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == kind)
}

fn unusable(path: &Path, source: io::Error) -> OpenError {
    OpenError::Pins {
        path: path.to_owned(),
        source,
    }
}
