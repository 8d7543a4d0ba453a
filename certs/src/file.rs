//! Writes keys and certificates so that no other user reads a key and no existing file is lost by accident.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The mode of a file that everybody may read.
pub(crate) const PUBLIC: u32 = 0o644;

/// The mode of a file that its owner alone may read.
pub(crate) const PRIVATE: u32 = 0o600;

/// Why files were not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A file of that name is there and may not be replaced.
    #[error("{0} exists already: choose another directory, or replace it with --force")]
    Exists(PathBuf),
    /// The system refused.
    #[error("cannot write {path}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// One file to be written.
pub(crate) struct NewFile<'a> {
    /// Its name within the directory.
    pub(crate) name: &'a str,
    /// What it holds.
    pub(crate) text: &'a str,
    /// Its permissions.
    pub(crate) mode: u32,
}

/// Writes all files into a directory, or none of them when one exists and `replace` is not set.
pub(crate) fn write_all(
    dir: &Path,
    files: &[NewFile<'_>],
    replace: bool,
) -> Result<(), WriteError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteError::Io { path, source }
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(dir).map_err(at(dir))?;
    for file in files {
        let path = dir.join(file.name);
        if !replace && path.symlink_metadata().is_ok() {
            return Err(WriteError::Exists(path));
        }
    }
    for file in files {
        let path = dir.join(file.name);
        write_one(&path, file).map_err(at(&path))?;
    }
    Ok(())
}

/// Writes beside the target and renames, so that a reader sees the old file or the new one, never half of it.
fn write_one(path: &Path, file: &NewFile<'_>) -> io::Result<()> {
    let unfinished = path.with_file_name(format!(".{}.new", file.name));
    match fs::remove_file(&unfinished) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(file.mode)
        .open(&unfinished)?;
    out.write_all(file.text.as_bytes())?;
    out.sync_all()?;
    fs::rename(&unfinished, path)
}
