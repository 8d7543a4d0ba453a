//! What we tell the peer: what changed since it last heard from us, or else what differs from what it knows, or everything;
//! and then each change.
//!
//! There are two halves. The live one reads the store's changes in order; the bulk one reads what stands under ranges of
//! keys, after which only the changes since it began are missing. A peer that reads streams by kind gets both at once,
//! else the live half waits for the other. Neither holds a queue: one question of each is on its way at a time, and while
//! it is, newer changes of the same keys replace older ones in the store.

mod bulk;
mod frames;

use std::collections::VecDeque;

use cluster_registry::{
    name::ClusterName,
    store::{Batch, Cursor, ResumeError},
};

use self::{bulk::Bulk, frames::Frames};
use super::{Channel, Half, Output, exchange::Exchange};
use crate::{
    question::{Answer, Question},
    reason::{DownReason, Violation},
    resume::Offer,
    wire::{self, Body},
};

/// What the live half does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Live {
    /// The peer has not said HELLO.
    Waiting,
    /// The peer will say SUBSCRIBE.
    Deferred,
    /// The store was asked whether the peer's position still counts.
    Resuming,
    /// It begins where the store stands when the bulk half first reads it.
    Starting,
    /// It begins from here once the bulk half is done.
    Held { at: Cursor },
    /// The store was asked for what follows the peer's position.
    Fetching { at: Cursor },
    /// The peer has been told everything up to here.
    Idle { at: Cursor },
    /// The store has forgotten what follows: all begins anew once the bulk half is done.
    Lost,
}

/// The publishing half of a session.
///
/// ```text
///           ┌──HELLO with a position──► Resuming ──it counts──► Fetching ⇄ Idle
///  Waiting ─┤                              │ it does not           │ the store forgot
///           └──HELLO without─► Starting ◄──┴───────────────────────┘
///                                 └── the bulk half reads: ─► Fetching ⇄ Idle  (or Held, until it is done)
/// ```
///
/// A HELLO that is deferred leads to `Deferred`, from where SUBSCRIBE leads on as HELLO does.
#[derive(Debug)]
pub(super) struct Publisher {
    live: Live,
    bulk: Bulk,
    frames: Frames,
    exchange: Exchange,
    /// Where the store stood when a comparison began: the live half begins from there.
    since: Option<Cursor>,
    /// Whether the peer can compare digests.
    compares: bool,
    /// Whether the peer subscribed after its HELLO.
    is_late: bool,
    /// Where the store stood when it last said so, unless it was asked since.
    newest: Option<Cursor>,
}

impl Publisher {
    pub(super) fn new(cluster: ClusterName) -> Self {
        Self {
            live: Live::Waiting,
            bulk: Bulk::Rest,
            exchange: Exchange::new(cluster.clone(), true),
            frames: Frames::new(cluster),
            since: None,
            compares: false,
            is_late: false,
            newest: None,
        }
    }

    /// The peer reads state from streams by kind.
    pub(super) fn split(&mut self) {
        self.frames.is_split = true;
    }

    /// The peer unpacks snapshots.
    pub(super) fn pack(&mut self) {
        self.frames.packs = true;
    }

    /// The peer said HELLO and will subscribe later.
    pub(super) fn defer(&mut self, outputs: &mut VecDeque<Output>) {
        self.live = Live::Deferred;
        send(Channel::Control, welcome(false), outputs);
    }

    /// The peer said SUBSCRIBE.
    pub(super) fn subscribe(
        &mut self,
        offer: Offer,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        if self.live != Live::Deferred {
            return Err(Violation::UnexpectedSubscription.into());
        }
        self.is_late = true;
        self.begin(offer, outputs);
        Ok(())
    }

    /// The peer said HELLO, or what counts as much.
    pub(super) fn begin(&mut self, offer: Offer, outputs: &mut VecDeque<Output>) {
        self.compares = offer.compare;
        match offer.cursor {
            Some(after) => {
                self.live = Live::Resuming;
                ask(Half::Live, Question::Changes { after }, outputs);
            }
            None => {
                self.accept(false, outputs);
                self.start_over(outputs);
            }
        }
    }

    pub(super) fn handle_newest(&mut self, newest: Cursor, outputs: &mut VecDeque<Output>) {
        self.newest = Some(newest);
        match self.live {
            Live::Idle { at } => self.read_on(at, true, outputs),
            Live::Waiting
            | Live::Deferred
            | Live::Resuming
            | Live::Starting
            | Live::Held { .. }
            | Live::Fetching { .. }
            | Live::Lost => {}
        }
    }

    /// An answer of the store; one that nobody asked for is ignored.
    pub(super) fn handle_answer(&mut self, answer: Answer, outputs: &mut VecDeque<Output>) {
        match answer {
            Answer::Changes(answer) => self.take_changes(answer, outputs),
            Answer::Page(page) => self.take_page(page, outputs),
            Answer::Compared { step, cursor } => self.take_step(step, cursor, outputs),
        }
    }

    fn take_changes(&mut self, answer: Result<Batch, ResumeError>, outputs: &mut VecDeque<Output>) {
        match (self.live, answer) {
            (Live::Resuming, Ok(batch)) => {
                self.accept(true, outputs);
                self.send_delta(&batch, outputs);
            }
            (Live::Resuming, Err(_)) => {
                self.accept(false, outputs);
                self.start_over(outputs);
            }
            (Live::Fetching { .. }, Ok(batch)) => self.send_delta(&batch, outputs),
            (Live::Fetching { .. }, Err(_)) if self.bulk == Bulk::Rest => self.start_over(outputs),
            (Live::Fetching { .. }, Err(_)) => self.live = Live::Lost,
            (
                Live::Waiting
                | Live::Deferred
                | Live::Starting
                | Live::Held { .. }
                | Live::Idle { .. }
                | Live::Lost,
                _,
            ) => {}
        }
    }

    fn accept(&self, resumed: bool, outputs: &mut VecDeque<Output>) {
        let body = match self.is_late {
            false => welcome(resumed),
            true => Body::Subscribed(wire::Subscribed { resumed }),
        };
        send(Channel::Control, body, outputs);
    }

    /// The bulk half has read the store for the first time: the changes since are the live half's.
    fn start_live(&mut self, at: Cursor, outputs: &mut VecDeque<Output>) {
        if self.live != Live::Starting {
            return;
        }
        if self.frames.is_split {
            self.frames.progress(at, outputs);
            self.read_on(at, true, outputs);
        } else {
            self.live = Live::Held { at };
        }
    }

    /// The bulk half is done.
    fn end_bulk(&mut self, outputs: &mut VecDeque<Output>) {
        match self.live {
            Live::Held { at } => {
                self.frames.progress(at, outputs);
                self.read_on(at, true, outputs);
            }
            Live::Lost => self.start_over(outputs),
            Live::Waiting
            | Live::Deferred
            | Live::Resuming
            | Live::Starting
            | Live::Fetching { .. }
            | Live::Idle { .. } => {}
        }
    }

    fn send_delta(&mut self, batch: &Batch, outputs: &mut VecDeque<Output>) {
        self.frames.live(&batch.changes, outputs);
        let at = batch.cursor;
        let is_known = matches!(self.live, Live::Fetching { at: before } if before == at);
        if !is_known {
            self.frames.progress(at, outputs);
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
            self.live = Live::Idle { at };
            return;
        }
        self.live = Live::Fetching { at };
        ask(Half::Live, Question::Changes { after: at }, outputs);
    }
}

fn welcome(resumed: bool) -> Body {
    Body::Welcome(wire::Welcome { resumed })
}

fn send(channel: Channel, body: Body, outputs: &mut VecDeque<Output>) {
    outputs.push_back(Output::Send(channel, body));
}

fn ask(half: Half, question: Question, outputs: &mut VecDeque<Output>) {
    outputs.push_back(Output::Ask(half, question));
}
