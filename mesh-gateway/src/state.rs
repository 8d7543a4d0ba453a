//! The file that a gateway keeps its state in, so that it serves at once when it starts anew.
//!
//! It is written whole beside the old one and put in its place, so that there is always a complete one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufWriter, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use cluster_registry::{
    name::ClusterName,
    store::{Batch, Cursor, ResumeError},
};
use mesh_gateway_core::saved::{self, Saved, SavedLink, Writer};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::spawn_blocking,
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;

const FILE: &str = "gateway.state";

/// What a write in progress is called.
const UNFINISHED: &str = "gateway.state.tmp";

/// The shortest time from one write to the next.
const MIN_PAUSE: Duration = Duration::from_secs(3);

/// How many times as long as the last write took nothing is written, so that a large state costs little.
const PAUSE_SHARE: u32 = 20;

/// How many changes the hub is asked for at once; some frames' worth, so that it is soon free again.
const PAGE: usize = 1024;

/// How often a write is begun anew when the store forgot tombstones amid it.
const MAX_TRIES: u32 = 3;

/// Asks the hub for the next changes to save.
#[derive(Debug)]
pub(crate) struct SaveRequest {
    pub(crate) after: Option<Cursor>,
    pub(crate) limit: usize,
    pub(crate) reply: oneshot::Sender<Result<SavePage, ResumeError>>,
}

/// What the hub answers.
#[derive(Debug)]
pub(crate) struct SavePage {
    pub(crate) batch: Batch,
    /// The links as they are when the last page is read, and only then.
    pub(crate) links: Vec<SavedLink>,
}

/// Makes the directory, and reads the state that was kept there.
///
/// One that cannot be used is set aside under another name: peers and the source then have to say everything again.
pub(crate) fn load(dir: &Path, cluster: &ClusterName) -> anyhow::Result<Option<Saved>> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(dir)
        .with_context(|| format!("making the state directory {}", dir.display()))?;
    let path = dir.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("reading {}", path.display()));
        }
    };
    let refused = match saved::read(&bytes, cluster) {
        Ok(saved) => {
            let (resources, links) = (saved.resources.len(), saved.links.len());
            tracing::info!(resources, links, "saved state is read");
            return Ok(Some(saved));
        }
        Err(refused) => refused,
    };
    let aside = dir.join(format!("{FILE}.{}", refused.label()));
    fs::rename(&path, &aside)
        .with_context(|| format!("setting {} aside, as {refused}", path.display()))?;
    tracing::warn!(
        file = %path.display(), aside = %aside.display(), reason = %refused,
        "saved state is set aside and not used; this start is from nothing"
    );
    Ok(None)
}

/// The task that saves the state when it has changed, and once more at the end.
///
/// It ends with the token; the hub must outlive it.
#[derive(Debug)]
pub(crate) struct Saver {
    pub(crate) dir: PathBuf,
    pub(crate) cluster: ClusterName,
    pub(crate) requests: mpsc::Sender<SaveRequest>,
    /// Where the state stands.
    pub(crate) newest: watch::Receiver<Cursor>,
}

impl Saver {
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut next = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = self.newest.changed() => if changed.is_err() {
                    return;
                },
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = sleep_until(next) => {}
            }
            self.newest.mark_unchanged();
            let took = self.save().await;
            next = tokio::time::Instant::now() + MIN_PAUSE.max(took.saturating_mul(PAUSE_SHARE));
        }
        // Peers' positions may have moved even where nothing else did.
        self.save().await;
    }

    /// Saves, and says how long it took; a failure is for the next time to mend.
    async fn save(&self) -> Duration {
        let started = Instant::now();
        let (dir, cluster) = (self.dir.clone(), self.cluster.clone());
        let requests = self.requests.clone();
        let saved = spawn_blocking(move || write(&dir, &cluster, &requests)).await;
        let took = started.elapsed();
        match saved {
            Ok(Ok(bytes)) => tracing::debug!(bytes, ?took, "state is saved"),
            Ok(Err(error)) => {
                tracing::warn!(dir = %self.dir.display(), "state is not saved: {error:#}");
            }
            Err(error) => tracing::error!(%error, "saving the state panicked"),
        }
        took
    }
}

/// Writes the state to its file, and says how long that is.
fn write(
    dir: &Path,
    cluster: &ClusterName,
    requests: &mpsc::Sender<SaveRequest>,
) -> anyhow::Result<u64> {
    let path = dir.join(UNFINISHED);
    let writing = || format!("writing {}", path.display());
    let mut tries = 0;
    let file = loop {
        tries += 1;
        match write_pages(&path, cluster, requests) {
            Ok(file) => break file,
            Err(WriteError::Moved(error)) if tries < MAX_TRIES => {
                tracing::debug!(%error, "saving begins anew");
            }
            Err(error) => return Err(error).with_context(writing),
        }
    };
    let length = file.metadata().with_context(writing)?.len();
    file.sync_all().with_context(writing)?;
    let target = dir.join(FILE);
    fs::rename(&path, &target).with_context(|| format!("replacing {}", target.display()))?;
    // The new name must be on the disk too.
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.with_context(|| format!("syncing {}", dir.display()))?;
    Ok(length)
}

/// Why a state is not written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("the hub has ended")]
    NoHub,
    #[error("the store moved on")]
    Moved(#[source] ResumeError),
    #[error("the disk refused")]
    Io(#[from] io::Error),
}

fn write_pages(
    path: &Path,
    cluster: &ClusterName,
    requests: &mpsc::Sender<SaveRequest>,
) -> Result<File, WriteError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = BufWriter::new(options.open(path)?);
    let (mut writer, head) = Writer::begin(cluster.clone());
    file.write_all(&head)?;
    let mut after = None;
    loop {
        let (reply, answer) = oneshot::channel();
        let request = SaveRequest {
            after,
            limit: PAGE,
            reply,
        };
        let sent = requests.blocking_send(request);
        sent.map_err(|_gone| WriteError::NoHub)?;
        let answer = answer.blocking_recv().map_err(|_gone| WriteError::NoHub)?;
        let SavePage { batch, links } = answer.map_err(WriteError::Moved)?;
        file.write_all(&writer.page(&batch.changes))?;
        after = Some(batch.cursor);
        if batch.is_last {
            file.write_all(&writer.end(&links))?;
            let whole = file.into_inner();
            return whole.map_err(|error| WriteError::Io(error.into_error()));
        }
    }
}
