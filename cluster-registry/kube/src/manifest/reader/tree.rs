//! Walks the tree of directories and lists the manifest files in it, watching each directory before listing it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, FileType, Metadata},
    io,
    path::{Path, PathBuf},
};

use super::{TreeWatcher, form, is_hidden, unwatched};
use crate::source::Problem;

/// What is in the tree.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) metadata_by_path: BTreeMap<PathBuf, Metadata>,
    pub(super) problems: Vec<Problem>,
    /// Whether a directory is not watched.
    pub(super) is_blind: bool,
    directories: BTreeSet<PathBuf>,
}

impl Tree {
    /// Lists the tree; only a root that cannot be listed is an error.
    pub(super) fn walk(root: &Path, mut watcher: Option<&mut TreeWatcher>) -> io::Result<Self> {
        let mut tree = Self::default();
        if let Some(watcher) = watcher.as_deref_mut() {
            tree.watch_above(root, watcher);
        }
        let mut left = vec![root.to_owned()];
        while let Some(directory) = left.pop() {
            let listed = tree.list(root, &directory, watcher.as_deref_mut(), &mut left);
            match listed {
                Ok(()) => {}
                Err(error) if directory == root => return Err(error),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let text =
                        format!("the directory cannot be read ({error}): its files do not count");
                    let name = name_below(root, &directory);
                    tree.problems.push(Problem::new(&name, 0, &text));
                }
            }
        }
        if let Some(watcher) = watcher {
            watcher.keep_only(|path| tree.directories.contains(path));
        }
        Ok(tree)
    }

    /// Watches the nearest directory above the root that is there, to see the root come, go and be exchanged.
    fn watch_above(&mut self, root: &Path, watcher: &mut TreeWatcher) {
        for above in root.ancestors().skip(1) {
            let Ok(metadata) = fs::metadata(above) else {
                continue;
            };
            if let Err(error) = watcher.watch(above, &metadata) {
                tracing::debug!(directory = %above.display(), %error, "not watched");
            }
            self.directories.insert(above.to_owned());
            return;
        }
    }

    fn list(
        &mut self,
        root: &Path,
        directory: &Path,
        watcher: Option<&mut TreeWatcher>,
        left: &mut Vec<PathBuf>,
    ) -> io::Result<()> {
        let metadata = fs::metadata(directory)?;
        self.directories.insert(directory.to_owned());
        if let Some(watcher) = watcher
            && let Err(error) = watcher.watch(directory, &metadata)
        {
            let name = name_below(root, directory);
            self.problems.push(unwatched(&name, &error));
            self.is_blind = true;
        }
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let path = entry.path();
            if is_hidden(&path) {
                continue;
            }
            let kind = entry.file_type()?;
            // Links to directories are not followed: they could lead in circles.
            if kind.is_dir() {
                left.push(path);
            } else if form(&path).is_some() {
                self.list_file(root, path, kind);
            }
        }
        Ok(())
    }

    fn list_file(&mut self, root: &Path, path: PathBuf, kind: FileType) {
        let text = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => {
                self.metadata_by_path.insert(path, metadata);
                return;
            }
            Ok(_) => "it is no regular file, and does not count".to_owned(),
            // Gone since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !kind.is_symlink() => return,
            Err(error) => format!("it cannot be read ({error}): the file does not count"),
        };
        self.problems
            .push(Problem::new(&name_below(root, &path), 0, &text));
    }
}

/// A path below the root, as people are told it.
pub(super) fn name_below(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    if below.as_os_str().is_empty() {
        return ".".to_owned();
    }
    below.to_string_lossy().into_owned()
}
