//! The manifest source: a directory of ordinary Kubernetes YAML and JSON, watched for changes.
//!
//! Every `.yaml`, `.yml` and `.json` file in it and in the directories below it counts, with any number of documents,
//! and lists. Editing in place, replacing by rename, and exchanging a whole mounted ConfigMap all work; changes are told
//! by the kernel, nothing polls. Whatever is wrong with one document costs that document and is told as a
//! [`Problem`](crate::source::Problem).

mod catalog;
mod document;
mod reader;
mod settling;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::{
    reader::{News, Reader, Reading},
    settling::{Dirty, Settling},
    watch::Notices,
};
use crate::source::{SourceEvent, Teller, TraceHook};

/// The largest file that is read: over a thousand EndpointSlices fit, and no person writes more into one file.
pub(crate) const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

/// How soon a directory is read again that could not be read, or whose changes cannot be watched.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Reads a directory of manifests and follows its changes.
#[derive(Debug)]
pub struct ManifestSource {
    dir: PathBuf,
    trace_hook: Option<TraceHook>,
}

impl ManifestSource {
    /// A source that reads the directory and all those below it.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            trace_hook: None,
        }
    }

    /// Asks the hook for the trace context of each batch of changes.
    #[must_use]
    pub fn with_trace_hook(mut self, hook: TraceHook) -> Self {
        self.trace_hook = Some(hook);
        self
    }

    /// Runs until the token is cancelled or nobody receives the events any more; it is cancel safe.
    ///
    /// A directory that is not there yet is waited for: the snapshot comes when it can be read.
    pub async fn run(self, events: mpsc::Sender<SourceEvent>, shutdown: CancellationToken) {
        let receiver_gone = events.clone();
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = receiver_gone.closed() => {}
            () = self.follow(events) => {}
        }
    }

    async fn follow(self, events: mpsc::Sender<SourceEvent>) {
        // The kernel's notices name what lies in it by absolute paths, whatever the working directory is later.
        let root = std::path::absolute(&self.dir).unwrap_or(self.dir);
        let (sender, mut notices) = watch::channel();
        let mut reader = Reader::new(root, sender);
        let mut settling = Settling::default();
        let mut teller = Teller::new("manifests", events, self.trace_hook);
        let mut dirty = Dirty::All;
        loop {
            let Some((returned, reading)) = read_aside(reader, dirty).await else {
                return;
            };
            reader = returned;
            let is_blind = reading.is_blind;
            if tell(&mut teller, reading).await.is_err() {
                return;
            }
            dirty = next_dirty(&mut notices, &mut settling, is_blind).await;
        }
    }
}

/// Reads on a thread where blocking hurts nobody; `None` when the runtime is ending.
async fn read_aside(mut reader: Reader, dirty: Dirty) -> Option<(Reader, Reading)> {
    let reading = tokio::task::spawn_blocking(move || {
        let reading = reader.read(&dirty);
        (reader, reading)
    });
    match reading.await {
        Ok(done) => Some(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => None,
        },
    }
}

async fn tell(teller: &mut Teller, reading: Reading) -> Result<(), mpsc::error::SendError<()>> {
    // Links go first: what peers may do counts before what they are told.
    teller.tell_links(reading.links).await?;
    match reading.news {
        News::Unreadable => {}
        News::First(resources) => teller.tell_snapshot(resources).await?,
        News::Changes(changes) => teller.tell_changes(changes).await?,
    }
    teller.tell_problems(reading.problems).await
}

/// Waits until something has to be read again.
async fn next_dirty(notices: &mut Notices, settling: &mut Settling, is_blind: bool) -> Dirty {
    let retry = Instant::now() + RETRY_INTERVAL;
    loop {
        let due = settling.poll_timeout();
        let deadline = if is_blind {
            Some(due.map_or(retry, |due| due.min(retry)))
        } else {
            due
        };
        tokio::select! {
            notice = notices.next() => settling.handle_notice(notice, Instant::now()),
            () = sleep_until(deadline) => {
                let now = Instant::now();
                if let Some(dirty) = settling.take_dirty(now) {
                    return dirty;
                }
                if is_blind && retry <= now {
                    return settling.look_again();
                }
            }
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
