//! What we tell the peer: what changed since it last heard from us, or else everything, and then each change.
//!
//! It holds no queue: one request to the store is on its way at a time, and while it is, newer changes of the same keys
//! replace older ones in the store.

use std::collections::VecDeque;

use cluster_registry::{
    name::ClusterName,
    store::{Batch, Change, Cursor, ResumeError},
};
use prost::Message;

use super::{Channel, Output};
use crate::{
    convert::{encode_change, encode_position},
    limits::{MAX_UPDATE_BYTES, MAX_UPDATES_PER_FRAME, TARGET_FRAME_BYTES},
    reason::{DownReason, Violation},
    wire::{self, Body},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The peer has not said HELLO.
    Waiting,
    /// The peer will say SUBSCRIBE.
    Deferred,
    /// The store was asked whether the peer's position still counts.
    Resuming,
    /// The store was asked for the next part of everything.
    Snapshot,
    /// The store was asked for what follows the peer's position.
    Fetching { at: Cursor },
    /// The peer has everything up to here.
    Idle { at: Cursor },
}

/// The publishing half of a session.
///
/// ```text
///  Waiting ──HELLO with a position──► Resuming ──it counts──► Fetching ⇄ Idle
///     └───────HELLO without───► Snapshot ◄─it does not─┘ └──last part──►┘   │
///                                   ▲────────────the store forgot───────────┘
/// ```
///
/// A HELLO that is deferred leads to `Deferred`, from where SUBSCRIBE leads on as HELLO does.
#[derive(Debug)]
pub(super) struct Publisher {
    cluster: ClusterName,
    state: State,
    /// Whether the peer subscribed after its HELLO.
    is_late: bool,
    /// Where the store stood when it last said so, unless it was asked since.
    newest: Option<Cursor>,
}

impl Publisher {
    pub(super) fn new(cluster: ClusterName) -> Self {
        Self {
            cluster,
            state: State::Waiting,
            is_late: false,
            newest: None,
        }
    }

    /// The peer said HELLO and will subscribe later.
    pub(super) fn defer(&mut self, outputs: &mut VecDeque<Output>) {
        self.state = State::Deferred;
        send(Channel::Control, welcome(false), outputs);
    }

    /// The peer said SUBSCRIBE.
    pub(super) fn subscribe(
        &mut self,
        resume: Option<Cursor>,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        if self.state != State::Deferred {
            return Err(Violation::UnexpectedSubscription.into());
        }
        self.is_late = true;
        self.begin(resume, outputs);
        Ok(())
    }

    /// The peer said HELLO, or what counts as much.
    pub(super) fn begin(&mut self, resume: Option<Cursor>, outputs: &mut VecDeque<Output>) {
        match resume {
            Some(_) => {
                self.state = State::Resuming;
                outputs.push_back(Output::Fetch { after: resume });
            }
            None => self.accept_with_snapshot(outputs),
        }
    }

    pub(super) fn handle_newest(&mut self, newest: Cursor, outputs: &mut VecDeque<Output>) {
        self.newest = Some(newest);
        match self.state {
            State::Idle { at } => self.read_on(at, true, outputs),
            State::Waiting
            | State::Deferred
            | State::Resuming
            | State::Snapshot
            | State::Fetching { .. } => {}
        }
    }

    pub(super) fn handle_batch(
        &mut self,
        answer: Result<Batch, ResumeError>,
        outputs: &mut VecDeque<Output>,
    ) {
        match (self.state, answer) {
            // An answer that nobody asked for.
            (State::Waiting | State::Deferred | State::Idle { .. }, _) => {}
            (State::Resuming, Err(_)) => self.accept_with_snapshot(outputs),
            (State::Resuming, Ok(batch)) => {
                self.accept(true, outputs);
                self.send_delta(batch, outputs);
            }
            (State::Fetching { .. }, Ok(batch)) => self.send_delta(batch, outputs),
            (State::Snapshot | State::Fetching { .. }, Err(_)) => self.begin_snapshot(outputs),
            (State::Snapshot, Ok(batch)) => self.send_snapshot_part(batch, outputs),
        }
    }

    fn accept(&self, resumed: bool, outputs: &mut VecDeque<Output>) {
        let body = match self.is_late {
            false => welcome(resumed),
            true => Body::Subscribed(wire::Subscribed { resumed }),
        };
        send(Channel::Control, body, outputs);
    }

    fn accept_with_snapshot(&mut self, outputs: &mut VecDeque<Output>) {
        self.accept(false, outputs);
        self.begin_snapshot(outputs);
    }

    fn begin_snapshot(&mut self, outputs: &mut VecDeque<Output>) {
        self.state = State::Snapshot;
        let begin = Body::SnapshotBegin(wire::SnapshotBegin {});
        send(Channel::State, begin, outputs);
        outputs.push_back(Output::Fetch { after: None });
    }

    fn send_snapshot_part(&mut self, batch: Batch, outputs: &mut VecDeque<Output>) {
        self.send_changes(&batch.changes, outputs);
        let at = batch.cursor;
        if !batch.is_last {
            outputs.push_back(Output::Fetch { after: Some(at) });
            return;
        }
        let end = Body::SnapshotEnd(wire::SnapshotEnd {});
        send(Channel::State, end, outputs);
        send(Channel::State, progress(at), outputs);
        self.read_on(at, true, outputs);
    }

    fn send_delta(&mut self, batch: Batch, outputs: &mut VecDeque<Output>) {
        self.send_changes(&batch.changes, outputs);
        let at = batch.cursor;
        let is_known = matches!(self.state, State::Fetching { at: before } if before == at);
        if !is_known {
            send(Channel::State, progress(at), outputs);
        }
        self.read_on(at, batch.is_last, outputs);
    }

    /// Asks for more if there is more: what the store said of itself counts once, so that an old word of it cannot make
    /// us ask for ever.
    fn read_on(&mut self, at: Cursor, is_last: bool, outputs: &mut VecDeque<Output>) {
        let newest = self.newest.take();
        let is_behind =
            newest.is_some_and(|newest| newest.epoch != at.epoch || newest.revision > at.revision);
        if is_last && !is_behind {
            self.state = State::Idle { at };
            return;
        }
        self.state = State::Fetching { at };
        outputs.push_back(Output::Fetch { after: Some(at) });
    }

    fn send_changes(&self, changes: &[Change], outputs: &mut VecDeque<Output>) {
        let mut frame = wire::Updates::default();
        let mut frame_bytes = 0;
        for change in changes {
            let update = encode_change(change, &self.cluster);
            let length = update.encoded_len();
            if length > MAX_UPDATE_BYTES {
                let key = change.key.clone();
                outputs.push_back(Output::LeftOut { key, length });
                continue;
            }
            frame_bytes += length;
            frame.updates.push(update);
            if frame_bytes >= TARGET_FRAME_BYTES || frame.updates.len() == MAX_UPDATES_PER_FRAME {
                frame_bytes = 0;
                let full = std::mem::take(&mut frame);
                send(Channel::State, Body::Updates(full), outputs);
            }
        }
        if !frame.updates.is_empty() {
            send(Channel::State, Body::Updates(frame), outputs);
        }
    }
}

fn welcome(resumed: bool) -> Body {
    Body::Welcome(wire::Welcome { resumed })
}

fn progress(at: Cursor) -> Body {
    let position = Some(encode_position(at));
    Body::Progress(wire::Progress { position })
}

fn send(channel: Channel, body: Body, outputs: &mut VecDeque<Output>) {
    outputs.push_back(Output::Send(channel, body));
}
