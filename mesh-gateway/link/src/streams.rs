//! The streams of a session: control in both directions on one, and state on up to three for each direction.
//!
//! Each side opens its streams in this order: snapshots, and all state towards a peer that does not know streams by kind;
//! urgent updates; ordinary ones.

use bytes::{Buf, BytesMut};
use mesh_gateway_core::{
    codec::{self, Decoder},
    reason::{GoodbyeReason, Violation},
    session::{Channel, Half, Session},
    wire::Body,
};
use quinn::{Chunk, Connection, ConnectionError, ReadError, RecvStream, SendStream, WriteError};
use tokio::time::Instant;

/// The priority of a channel's stream: what waits on a higher one is sent first.
fn priority(channel: Channel) -> i32 {
    match channel {
        Channel::Control => 3,
        Channel::Urgent => 2,
        Channel::Updates => 1,
        Channel::Bulk => 0,
    }
}

/// The state channels, in the order in which their streams are opened.
const OPENING_ORDER: [Channel; 3] = [Channel::Bulk, Channel::Urgent, Channel::Updates];

/// The most bytes taken from a stream at once.
const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// A buffer that has grown beyond this is given back once it is empty.
const KEPT_BUFFER_BYTES: usize = 16 * 1024;

/// A stream that is written to, with what waits to be written; it may be opened later.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    stream: Option<SendStream>,
    buffer: BytesMut,
}

impl Outgoing {
    fn open(&mut self, stream: SendStream, channel: Channel) {
        // It fails only on a closed stream, which writing reports.
        drop(stream.set_priority(priority(channel)));
        self.stream = Some(stream);
    }

    fn push(&mut self, body: Body) {
        codec::encode(body, &mut self.buffer);
    }

    /// Writes some of what waits; cancel safe.
    async fn write(&mut self) -> Result<(), WriteError> {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.buffer.is_empty()) else {
            return std::future::pending().await;
        };
        let written = stream.write(&self.buffer).await?;
        self.buffer.advance(written);
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BUFFER_BYTES {
            self.buffer = BytesMut::new();
        }
        Ok(())
    }
}

/// A stream that is read from, with what was read and not taken.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    stream: Option<RecvStream>,
    decoder: Decoder,
}

impl Incoming {
    /// The next bytes; cancel safe.
    async fn read(&mut self) -> Result<Option<Chunk>, ReadError> {
        match &mut self.stream {
            Some(stream) => stream.read_chunk(MAX_CHUNK_BYTES, true).await,
            None => std::future::pending().await,
        }
    }

    /// Hands one frame to the session, if it takes one and a whole one is there; returns whether it did.
    fn hand_on(&mut self, channel: Channel, session: &mut Session) -> bool {
        if !session.may_read(channel) {
            return false;
        }
        match self.decoder.next_frame() {
            Ok(Some(frame)) => session.handle_frame(channel, frame, Instant::now().into_std()),
            Ok(None) => return false,
            Err(error) => session.handle_malformed(&error),
        }
        true
    }
}

/// Which channels the session takes frames of.
pub(crate) type Readable = [bool; 4];

/// The streams of a session, by channel.
#[derive(Debug)]
pub(crate) struct Streams {
    out: [Outgoing; 4],
    incoming: [Incoming; 4],
    /// How many streams of state were opened here, and by the peer.
    opened: usize,
    accepted: usize,
    /// How many are to be opened here.
    wanted: usize,
}

/// What happened on a stream.
#[derive(Debug)]
pub(crate) enum StreamEvent {
    /// Bytes came.
    Read(Channel, Result<Option<Chunk>, ReadError>),
    /// Some of what waited was written.
    Written(Result<(), WriteError>),
    /// The peer opened a stream.
    Accepted(Result<RecvStream, ConnectionError>),
    /// This side opened a stream.
    Opened(Result<SendStream, ConnectionError>),
}

impl Streams {
    /// The streams on the dialing side.
    pub(crate) async fn open(connection: &Connection) -> Result<Self, ConnectionError> {
        Ok(Self::new(connection.open_bi().await?))
    }

    /// The streams on the accepting side, once the peer has begun to speak.
    pub(crate) async fn accept(connection: &Connection) -> Result<Self, ConnectionError> {
        Ok(Self::new(connection.accept_bi().await?))
    }

    fn new((control_out, control_in): (SendStream, RecvStream)) -> Self {
        let mut streams = Self::unopened();
        let [control, ..] = &mut streams.out;
        control.open(control_out, Channel::Control);
        let [control, ..] = &mut streams.incoming;
        control.stream = Some(control_in);
        streams
    }

    fn unopened() -> Self {
        Self {
            out: Default::default(),
            incoming: Default::default(),
            opened: 0,
            accepted: 0,
            wanted: 1,
        }
    }

    /// The peer reads streams by kind: all of them are opened.
    pub(crate) fn split(&mut self) {
        self.wanted = OPENING_ORDER.len();
    }

    fn is_split(&self) -> bool {
        self.wanted == OPENING_ORDER.len()
    }

    /// Sends a message.
    pub(crate) fn push(&mut self, channel: Channel, body: Body) {
        self.out[index(channel)].push(body);
    }

    /// How much waits to be written on the channels of a half of the publisher; a peer that does not read streams by kind
    /// is told all on one.
    pub(crate) fn waiting_bytes(&self, half: Half) -> usize {
        let bytes = |channel| self.out[index(channel)].buffer.len();
        match half {
            Half::Live if self.is_split() => bytes(Channel::Urgent) + bytes(Channel::Updates),
            Half::Live | Half::Bulk => bytes(Channel::Bulk),
        }
    }

    /// Takes bytes that came, as [`Self::hand_on`] gives them to the session.
    pub(crate) fn take(&mut self, channel: Channel, bytes: &[u8]) {
        self.incoming[index(channel)].decoder.push(bytes);
    }

    /// Hands the most urgent frame that is there to the session, one of state only if `takes_state`; returns whether it did.
    pub(crate) fn hand_on(&mut self, session: &mut Session, takes_state: bool) -> bool {
        Channel::ALL.into_iter().any(|channel| {
            let may_take = channel == Channel::Control || takes_state;
            may_take && self.incoming[index(channel)].hand_on(channel, session)
        })
    }

    /// Whether a stream that was opened is one of the protocol's; keeps it.
    pub(crate) fn keep_accepted(&mut self, stream: RecvStream) -> bool {
        let Some(channel) = OPENING_ORDER.get(self.accepted) else {
            return false;
        };
        self.accepted += 1;
        self.incoming[index(*channel)].stream = Some(stream);
        true
    }

    /// Keeps a stream that was opened here.
    pub(crate) fn keep_opened(&mut self, stream: SendStream) {
        if let Some(channel) = OPENING_ORDER.get(self.opened) {
            self.opened += 1;
            self.out[index(*channel)].open(stream, *channel);
        }
    }

    /// What must not wait for anything else, and the rest.
    pub(crate) fn parts(&mut self) -> (Pressing<'_>, Patient<'_>) {
        let [control_in, urgent_in, updates_in, bulk_in] = &mut self.incoming;
        let [control_out, urgent_out, updates_out, bulk_out] = &mut self.out;
        let pressing = Pressing {
            control_in,
            out: [control_out, urgent_out, updates_out],
        };
        let patient = Patient {
            urgent_in,
            updates_in,
            bulk_in,
            bulk_out,
            may_open: self.opened < self.wanted,
            may_accept: self.accepted < OPENING_ORDER.len(),
        };
        (pressing, patient)
    }
}

/// Control, and what is written of changes.
pub(crate) struct Pressing<'a> {
    control_in: &'a mut Incoming,
    out: [&'a mut Outgoing; 3],
}

impl Pressing<'_> {
    /// The next thing that happens; cancel safe.
    pub(crate) async fn next(self) -> StreamEvent {
        let [control, urgent, updates] = self.out;
        tokio::select! {
            biased;
            chunk = self.control_in.read() => StreamEvent::Read(Channel::Control, chunk),
            written = control.write() => StreamEvent::Written(written),
            written = urgent.write() => StreamEvent::Written(written),
            written = updates.write() => StreamEvent::Written(written),
        }
    }
}

/// What is read of state, what is written of snapshots, and new streams.
pub(crate) struct Patient<'a> {
    urgent_in: &'a mut Incoming,
    updates_in: &'a mut Incoming,
    bulk_in: &'a mut Incoming,
    bulk_out: &'a mut Outgoing,
    may_open: bool,
    may_accept: bool,
}

impl Patient<'_> {
    /// The next thing that happens; cancel safe.
    pub(crate) async fn next(self, connection: &Connection, readable: Readable) -> StreamEvent {
        let [_, reads_urgent, reads_updates, reads_bulk] = readable;
        tokio::select! {
            biased;
            stream = connection.open_uni(), if self.may_open => StreamEvent::Opened(stream),
            chunk = self.urgent_in.read(), if reads_urgent => StreamEvent::Read(Channel::Urgent, chunk),
            chunk = self.updates_in.read(), if reads_updates => StreamEvent::Read(Channel::Updates, chunk),
            written = self.bulk_out.write() => StreamEvent::Written(written),
            chunk = self.bulk_in.read(), if reads_bulk => StreamEvent::Read(Channel::Bulk, chunk),
            stream = connection.accept_uni(), if self.may_accept => StreamEvent::Accepted(stream),
        }
    }
}

/// The place of a channel's streams.
fn index(channel: Channel) -> usize {
    match channel {
        Channel::Control => 0,
        Channel::Urgent => 1,
        Channel::Updates => 2,
        Channel::Bulk => 3,
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

#[cfg(test)]
mod tests {
    use mesh_gateway_core::wire::Updates;

    use super::*;

    /// Else each change is asked of the store and kept, however little such a peer reads.
    #[test]
    fn changes_for_a_peer_with_one_stream_wait_until_it_has_read_what_was_said() {
        let mut streams = Streams::unopened();

        streams.push(Channel::Bulk, Body::Updates(Updates::default()));

        assert!(streams.waiting_bytes(Half::Live) > 0);
        streams.split();
        assert_eq!(streams.waiting_bytes(Half::Live), 0);
    }
}
