//! Dumps of what a daemon knows, as JSON lines: made while they are read, so that none is ever whole in memory.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde_json::Value;
use tokio::{
    sync::{Semaphore, mpsc},
    task,
};

/// The media type of values of JSON, one a line.
const JSON_LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// From which size on lines are sent, so that a dump is some large writes and not many small ones.
const CHUNK_BYTES: usize = 64 << 10;

/// The chunks that wait for a slow reader.
const CHUNKS: usize = 2;

/// Takes a dump's values one by one; waits while the reader is slow.
///
/// It fails when nobody reads any longer, so that there is no use in going on.
pub type Sink<'a> = dyn FnMut(&Value) -> Result<(), Gone> + 'a;

pub(super) type Dump = Arc<dyn Fn(&mut Sink<'_>) -> Result<(), Gone> + Send + Sync>;

/// Whoever asked for the dump has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("whoever asked for the dump has gone")]
pub struct Gone;

/// Values on their way to the reader.
struct Lines {
    chunk: Vec<u8>,
    chunks: mpsc::Sender<Vec<u8>>,
}

impl Lines {
    fn add(&mut self, value: &Value) -> Result<(), Gone> {
        self.chunk.extend_from_slice(value.to_string().as_bytes());
        self.chunk.push(b'\n');
        if self.chunk.len() < CHUNK_BYTES {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Gone> {
        let chunk = std::mem::take(&mut self.chunk);
        self.chunks.blocking_send(chunk).or(Err(Gone))
    }
}

/// Answers with a dump, made by a thread that may wait; one at a time, as each costs time and keeps what it shows.
pub(super) fn answer(dump: Dump, turns: &Arc<Semaphore>) -> Response {
    let Ok(turn) = Arc::clone(turns).try_acquire_owned() else {
        let text = "another dump is being read: ask again when it ends\n";
        return (StatusCode::TOO_MANY_REQUESTS, text).into_response();
    };
    let (chunks, received) = mpsc::channel(CHUNKS);
    task::spawn_blocking(move || {
        let mut lines = Lines {
            chunk: Vec::new(),
            chunks,
        };
        let written = dump(&mut |value| lines.add(value));
        if written.and_then(|()| lines.flush()).is_err() {
            tracing::debug!("a dump was not read to its end");
        }
        drop(turn);
    });
    let body = stream::unfold(received, async |mut received| {
        let chunk = received.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from(chunk)), received))
    });
    ([(CONTENT_TYPE, JSON_LINES)], Body::from_stream(body)).into_response()
}
