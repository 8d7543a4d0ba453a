//! Reads the tree of manifest files, and of it again only what may have changed.
//!
//! It blocks, so it runs beside the async tasks. The directory can be a mounted ConfigMap: hidden entries are not read,
//! links to files are followed, and exchanging the hidden `..data` link shows in the files' identities.

mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    string::FromUtf8Error,
};

use cluster_registry::{
    link::LinkSpec,
    name::ClusterName,
    resource::{Resource, ResourceId},
};

use self::tree::{Tree, name_below};
use super::{
    MAX_FILE_BYTES,
    catalog::Catalog,
    document::{self, Content, Form},
    settling::Dirty,
    watch::{NoticeSender, TreeWatcher},
};
use crate::source::Problem;

/// What a reading found.
#[derive(Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) news: News,
    /// The complete set of links, if it changed.
    pub(super) links: Option<BTreeMap<ClusterName, LinkSpec>>,
    /// All that is wrong.
    pub(super) problems: Vec<Problem>,
    /// Whether some changes may come unnoticed, so that reading again after a while is needed.
    pub(super) is_blind: bool,
}

/// The resources that a reading found.
#[derive(Debug, PartialEq)]
pub(super) enum News {
    /// The directory itself could not be read: what was said before stands.
    Unreadable,
    /// The first reading that succeeded.
    First(Vec<(ResourceId, Resource)>),
    /// What is different from the reading before.
    Changes(Vec<(ResourceId, Option<Resource>)>),
}

/// The files as they were last read.
#[derive(Debug)]
pub(super) struct Reader {
    root: PathBuf,
    sender: NoticeSender,
    watcher: Option<TreeWatcher>,
    identity_by_path: BTreeMap<PathBuf, Identity>,
    catalog: Catalog,
    has_read: bool,
}

/// What differs when a file's content does, as far as the file system can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Reader {
    pub(super) fn new(root: PathBuf, sender: NoticeSender) -> Self {
        Self {
            root,
            sender,
            watcher: None,
            identity_by_path: BTreeMap::new(),
            catalog: Catalog::default(),
            has_read: false,
        }
    }

    /// Reads what is dirty, whatever appeared, and forgets whatever is gone.
    pub(super) fn read(&mut self, dirty: &Dirty) -> Reading {
        let mut problems = Vec::new();
        if self.watcher.is_none() {
            match TreeWatcher::new(&self.root, self.sender.clone()) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => problems.push(unwatched(".", &error)),
            }
        }
        if let Some(watcher) = &mut self.watcher {
            watcher.forget(|path| dirty.is_due(path));
        }
        let tree = match Tree::walk(&self.root, self.watcher.as_mut()) {
            Ok(tree) => tree,
            Err(error) => {
                let text = format!(
                    "the directory {} cannot be read ({error}): what it said before, if anything, stands",
                    self.root.display()
                );
                problems.push(Problem::new(".", 0, &text));
                problems.extend(self.catalog.problems());
                return Reading {
                    news: News::Unreadable,
                    links: None,
                    problems,
                    is_blind: true,
                };
            }
        };
        problems.extend(tree.problems);
        let all_read = self.read_files(&tree.metadata_by_path, dirty);
        let is_blind = self.watcher.is_none() || tree.is_blind || !all_read;

        let index = self.catalog.settle();
        let links = index.take_links();
        let news = if self.has_read {
            News::Changes(index.take_changes())
        } else {
            News::First(index.take_snapshot())
        };
        self.has_read = true;
        problems.extend(self.catalog.problems());
        Reading {
            news,
            links,
            problems,
            is_blind,
        }
    }

    /// Reads the files that need it; whether all could be read.
    fn read_files(&mut self, files: &BTreeMap<PathBuf, Metadata>, dirty: &Dirty) -> bool {
        let mut all_read = true;
        for (path, metadata) in files {
            let identity = Identity::of(metadata);
            let looks_same = self.identity_by_path.get(path) == Some(&identity);
            if dirty.is_unfinished(path) || (looks_same && !dirty.is_due(path)) {
                continue;
            }
            let name = name_below(&self.root, path);
            self.identity_by_path.insert(path.clone(), identity);
            let content = match text(path) {
                Ok(text) => content(path, &name, &text),
                Err(fault) => {
                    if let TextFault::Io(_) = fault {
                        // The file need not change for the next attempt to succeed.
                        self.identity_by_path.remove(path);
                        all_read = false;
                    }
                    Content::of_complaint(format!("{fault}: the file does not count"))
                }
            };
            self.catalog.set(&name, Some(content));
        }
        self.identity_by_path
            .retain(|path, _| files.contains_key(path));
        let names: BTreeSet<String> = files
            .keys()
            .map(|path| name_below(&self.root, path))
            .collect();
        let gone: Vec<String> = self
            .catalog
            .paths()
            .filter(|known| !names.contains(*known))
            .map(str::to_owned)
            .collect();
        for name in gone {
            self.catalog.set(&name, None);
        }
        all_read
    }
}

/// Reads a file's text and logs what is none of ours.
fn content(path: &Path, name: &str, text: &str) -> Content {
    let form = form(path).unwrap_or(Form::Yaml);
    let content = document::read(text, form);
    for skipped in &content.skipped {
        let document = skipped.document;
        tracing::info!(file = name, document, reason = skipped.text, "skipped");
    }
    content
}

/// Why a file's text is not to be had.
#[derive(Debug, thiserror::Error)]
enum TextFault {
    #[error("it cannot be read ({0})")]
    Io(#[from] io::Error),
    #[error("it is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    #[error("it is not UTF-8")]
    NotUtf8(#[source] FromUtf8Error),
}

fn text(path: &Path) -> Result<String, TextFault> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(TextFault::TooLarge);
    }
    String::from_utf8(bytes).map_err(TextFault::NotUtf8)
}

/// The form of a manifest by its name, or `None` of any other file.
fn form(path: &Path) -> Option<Form> {
    match path.extension()?.to_str()? {
        "yaml" | "yml" => Some(Form::Yaml),
        "json" => Some(Form::Json),
        _ => None,
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn unwatched(name: &str, error: &notify::Error) -> Problem {
    let text = format!("it cannot be watched ({error}), so its changes are seen late");
    Problem::new(name, 0, &text)
}

#[cfg(test)]
mod tests;
