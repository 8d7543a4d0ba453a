//! The streams of a session: control in both directions on one, state on one for each direction.

use bytes::{Buf, BytesMut};
use mesh_gateway_core::{
    codec::{self, Decoder},
    reason::{GoodbyeReason, Violation},
    session::{Channel, Session},
    wire::Body,
};
use quinn::{Chunk, Connection, ConnectionError, ReadError, RecvStream, SendStream, WriteError};
use tokio::time::Instant;

/// Above that of state, which is 0: heartbeats must not wait behind a snapshot.
const CONTROL_PRIORITY: i32 = 1;

/// The most bytes taken from a stream at once.
const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// A buffer that has grown beyond this is given back once it is empty.
const KEPT_BUFFER_BYTES: usize = 16 * 1024;

/// A stream that is written to, with what waits to be written.
#[derive(Debug)]
pub(crate) struct Outgoing {
    stream: SendStream,
    buffer: BytesMut,
}

impl Outgoing {
    fn new(stream: SendStream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    pub(crate) fn push(&mut self, body: Body) {
        codec::encode(body, &mut self.buffer);
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Writes some of what waits; cancel safe.
    pub(crate) async fn write(&mut self) -> Result<(), WriteError> {
        let written = self.stream.write(&self.buffer).await?;
        self.buffer.advance(written);
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BUFFER_BYTES {
            self.buffer = BytesMut::new();
        }
        Ok(())
    }
}

/// A stream that is read from, with the beginning of the next frame.
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: RecvStream,
    decoder: Decoder,
}

impl Incoming {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            decoder: Decoder::default(),
        }
    }

    /// The next bytes; cancel safe.
    pub(crate) async fn read(&mut self) -> Result<Option<Chunk>, ReadError> {
        self.stream.read_chunk(MAX_CHUNK_BYTES, true).await
    }

    /// Hands the frames that a chunk completes to the session.
    pub(crate) fn feed(&mut self, chunk: &Chunk, channel: Channel, session: &mut Session) {
        self.decoder.push(&chunk.bytes);
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => {
                    session.handle_frame(channel, frame, Instant::now().into_std());
                }
                Ok(None) => return,
                Err(error) => return session.handle_malformed(&error),
            }
        }
    }
}

/// The streams that exist from the start; the peer's state stream comes with its first state.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) control_out: Outgoing,
    pub(crate) control_in: Incoming,
    pub(crate) state_out: Outgoing,
}

impl Streams {
    /// The streams on the dialing side.
    pub(crate) async fn open(connection: &Connection) -> Result<Self, ConnectionError> {
        let control = connection.open_bi().await?;
        Self::new(connection, control).await
    }

    /// The streams on the accepting side, once the peer has begun to speak.
    pub(crate) async fn accept(connection: &Connection) -> Result<Self, ConnectionError> {
        let control = connection.accept_bi().await?;
        Self::new(connection, control).await
    }

    async fn new(
        connection: &Connection,
        (control_out, control_in): (SendStream, RecvStream),
    ) -> Result<Self, ConnectionError> {
        // It fails only on a closed stream, which reading and writing report.
        drop(control_out.set_priority(CONTROL_PRIORITY));
        let state_out = connection.open_uni().await?;
        Ok(Self {
            control_out: Outgoing::new(control_out),
            control_in: Incoming::new(control_in),
            state_out: Outgoing::new(state_out),
        })
    }
}

/// Tells the session how its connection ended.
pub(crate) fn report_loss(error: &ConnectionError, session: &mut Session) {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let code = u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX);
            session.handle_goodbye(GoodbyeReason::from_code(code));
        }
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => session.handle_lost(error.to_string()),
    }
}

/// Tells the session why it cannot read on.
pub(crate) fn report_read_error(error: &ReadError, session: &mut Session) {
    match error {
        ReadError::ConnectionLost(error) => report_loss(error, session),
        ReadError::Reset(_)
        | ReadError::ClosedStream
        | ReadError::IllegalOrderedRead
        | ReadError::ZeroRttRejected => session.handle_violation(Violation::BadStream),
    }
}

/// Tells the session why it cannot write on.
pub(crate) fn report_write_error(error: &WriteError, session: &mut Session) {
    match error {
        WriteError::ConnectionLost(error) => report_loss(error, session),
        WriteError::Stopped(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected => {
            session.handle_violation(Violation::BadStream);
        }
    }
}
