//! Asks the kernel to tell of changes in directories (inotify, through `notify`).
//!
//! Each directory is watched for itself and before it is listed, so that nothing falls between the list and the watch.

use std::{
    collections::BTreeMap,
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use notify::{
    Event, EventKind, INotifyWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::sync::mpsc;

use super::settling::Notice;

/// How many notices may wait: a checkout of a large tree at once; what does not fit is told as [`Notice::Anything`].
const NOTICES: usize = 1_024;

/// The receiving end of all watches of a tree.
#[derive(Debug)]
pub(super) struct Notices {
    notice_rx: mpsc::Receiver<Notice>,
    is_lossy: Arc<AtomicBool>,
}

impl Notices {
    /// The next notice; waits for ever once no watcher is left.
    pub(super) async fn next(&mut self) -> Notice {
        if self.is_lossy.swap(false, Ordering::Relaxed) {
            return Notice::Anything;
        }
        match self.notice_rx.recv().await {
            Some(notice) => notice,
            None => std::future::pending().await,
        }
    }
}

/// The sending end, from which watchers are made.
#[derive(Debug, Clone)]
pub(super) struct NoticeSender {
    notice_tx: mpsc::Sender<Notice>,
    is_lossy: Arc<AtomicBool>,
}

impl NoticeSender {
    fn send(&self, notice: Notice) {
        // The sender must not wait: the receiver may be waiting for this very thread to add a watch.
        if self.notice_tx.try_send(notice).is_err() {
            self.is_lossy.store(true, Ordering::Relaxed);
        }
    }
}

pub(super) fn channel() -> (NoticeSender, Notices) {
    let (notice_tx, notice_rx) = mpsc::channel(NOTICES);
    let is_lossy = Arc::new(AtomicBool::new(false));
    let sender = NoticeSender {
        notice_tx,
        is_lossy: Arc::clone(&is_lossy),
    };
    let notices = Notices {
        notice_rx,
        is_lossy,
    };
    (sender, notices)
}

/// The watches of a tree of directories and of the way to it.
#[derive(Debug)]
pub(super) struct TreeWatcher {
    watcher: INotifyWatcher,
    /// By device and inode, because a path can come to mean another directory.
    watched: BTreeMap<PathBuf, (u64, u64)>,
}

impl TreeWatcher {
    /// A watcher that tells what happens to the root, below it, and to the directories above it.
    pub(super) fn new(root: &Path, sender: NoticeSender) -> notify::Result<Self> {
        let root = root.to_owned();
        let tell = move |event| tell(&root, &sender, event);
        Ok(Self {
            watcher: INotifyWatcher::new(tell, notify::Config::default())?,
            watched: BTreeMap::new(),
        })
    }

    /// Watches what lies directly in a directory, if it is not watched yet.
    pub(super) fn watch(&mut self, directory: &Path, metadata: &Metadata) -> notify::Result<()> {
        let identity = (metadata.dev(), metadata.ino());
        if self.watched.get(directory) == Some(&identity) {
            return Ok(());
        }
        self.unwatch(directory);
        self.watcher.watch(directory, RecursiveMode::NonRecursive)?;
        self.watched.insert(directory.to_owned(), identity);
        Ok(())
    }

    /// Ends the watches of directories other than those to keep.
    pub(super) fn keep_only(&mut self, is_kept: impl Fn(&Path) -> bool) {
        let paths = self.watched.keys().filter(|path| !is_kept(path));
        for path in paths.cloned().collect::<Vec<_>>() {
            self.unwatch(&path);
        }
    }

    /// Ends watches that may no longer be what they were, for [`Self::watch`] to make anew.
    ///
    /// The kernel's watch ends when a directory is moved away, even if it comes back at once.
    pub(super) fn forget(&mut self, is_dubious: impl Fn(&Path) -> bool) {
        self.keep_only(|path| !is_dubious(path));
    }

    fn unwatch(&mut self, directory: &Path) {
        if self.watched.remove(directory).is_some()
            && let Err(error) = self.watcher.unwatch(directory)
        {
            // The kernel ends the watch of a removed directory by itself.
            tracing::trace!(directory = %directory.display(), %error, "no watch to end");
        }
    }
}

fn tell(root: &Path, sender: &NoticeSender, event: notify::Result<Event>) {
    let event = match event {
        Ok(event) if event.need_rescan() => return sender.send(Notice::Anything),
        Ok(event) => event,
        Err(error) => {
            tracing::warn!(%error, "watching for changes of manifests");
            return sender.send(Notice::Anything);
        }
    };
    let is_written = match event.kind {
        // Reading is no change, and the reader itself reads.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => return,
        EventKind::Modify(ModifyKind::Data(_)) => true,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => false,
    };
    for path in event.paths {
        if !(path.starts_with(root) || root.starts_with(&path)) {
            continue;
        }
        sender.send(if is_written {
            Notice::Written(path)
        } else {
            Notice::Changed(path)
        });
    }
}
