//! The network namespaces of the processes in a cgroup and below.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

/// A network namespace and the processes in it.
#[derive(Debug)]
pub(super) struct Namespace {
    /// What it can be entered by.
    pub(super) file: File,
    /// The numbers of the processes.
    pub(super) processes: Vec<u32>,
}

/// What could be found.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    by_number: BTreeMap<u64, Namespace>,
    /// Whether there are processes that this one cannot see, as they are in another PID namespace.
    pub(super) are_hidden: bool,
}

impl Namespaces {
    /// Looks at all processes; those that end meanwhile do not matter.
    pub(super) fn of(cgroup: &Path) -> io::Result<Self> {
        let mut found = Self::default();
        found.look_into(cgroup)?;
        Ok(found)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.by_number.values()
    }

    fn look_into(&mut self, cgroup: &Path) -> io::Result<()> {
        // A threaded cgroup does not tell its processes; its parent does.
        let processes = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        for process in processes.lines() {
            match process.parse() {
                Ok(0) => self.are_hidden = true,
                // One that has ended meanwhile has no namespace.
                Ok(process) => drop(self.add(process)),
                Err(_) => {}
            }
        }
        for entry in fs::read_dir(cgroup)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                match self.look_into(&entry.path()) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, process: u32) -> io::Result<()> {
        let path = format!("/proc/{process}/ns/net");
        match self.by_number.entry(fs::metadata(&path)?.ino()) {
            Entry::Occupied(known) => known.into_mut().processes.push(process),
            Entry::Vacant(place) => {
                place.insert(Namespace {
                    file: File::open(&path)?,
                    processes: vec![process],
                });
            }
        }
        Ok(())
    }
}
