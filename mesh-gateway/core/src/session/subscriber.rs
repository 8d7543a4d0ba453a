//! What the peer tells us: checked, converted and passed on in its order.

use std::collections::VecDeque;

use cluster_registry::{name::ClusterName, store::Cursor};

use super::{Channel, Config, Delivery, Output, Subscription};
use crate::{
    convert::{Origins, decode_position, decode_update, encode_position},
    limits::MAX_UPDATES_PER_FRAME,
    reason::{DownReason, Violation},
    wire::{self, Body},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The peer is to tell nothing yet; `can_defer` is false before its HELLO, and if it tells everything at once.
    Deferred { can_defer: bool },
    /// The peer was asked to tell its state, and has not accepted.
    Asked { offered: bool },
    /// Nothing of what is known counts: a snapshot must come.
    Ignorant,
    /// Within a snapshot.
    Snapshot,
    /// Updates continue from what is known.
    Current,
}

/// The subscribing half of a session.
#[derive(Debug)]
pub(super) struct Subscriber {
    peer: ClusterName,
    origins: Origins,
    state: State,
}

impl Subscriber {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            peer: config.peer.clone(),
            origins: config.origins,
            state: match config.subscription {
                Subscription::Now(_) => State::Ignorant,
                Subscription::Later => State::Deferred { can_defer: false },
            },
        }
    }

    /// Both sides have accepted each other.
    pub(super) fn come_up(&mut self, resumed: bool, can_defer: bool) {
        self.state = match self.state {
            State::Deferred { .. } => State::Deferred { can_defer },
            State::Asked { .. } | State::Ignorant | State::Snapshot | State::Current => {
                begin(resumed)
            }
        };
    }

    /// Whether the peer was asked for its state, and tells it.
    pub(super) fn is_subscribed(&self) -> bool {
        match self.state {
            State::Deferred { .. } | State::Asked { .. } => false,
            State::Ignorant | State::Snapshot | State::Current => true,
        }
    }

    /// The peer's state is wanted from now on.
    pub(super) fn subscribe(&mut self, resume: Option<Cursor>, outputs: &mut VecDeque<Output>) {
        match self.state {
            State::Deferred { can_defer: true } => {
                let resume = resume.map(encode_position);
                self.state = State::Asked {
                    offered: resume.is_some(),
                };
                let body = Body::Subscribe(wire::Subscribe { resume });
                outputs.push_back(Output::Send(Channel::Control, body));
            }
            // A peer that does not know of subscriptions tells everything from the start: it waits to be read.
            State::Deferred { can_defer: false } => {
                self.state = State::Ignorant;
                outputs.push_back(Output::Subscribed { resumed: false });
            }
            State::Asked { .. } | State::Ignorant | State::Snapshot | State::Current => {}
        }
    }

    /// The peer accepts that it was asked.
    pub(super) fn hear_subscribed(
        &mut self,
        message: &wire::Subscribed,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        let resumed = message.resumed;
        match self.state {
            State::Asked { offered } if offered || !resumed => {
                self.state = begin(resumed);
                outputs.push_back(Output::Subscribed { resumed });
                Ok(())
            }
            State::Asked { .. }
            | State::Deferred { .. }
            | State::Ignorant
            | State::Snapshot
            | State::Current => Err(Violation::UnexpectedSubscription.into()),
        }
    }

    pub(super) fn begin_snapshot(
        &mut self,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        self.state = State::Snapshot;
        outputs.push_back(Output::Deliver(Delivery::SnapshotBegin));
        Ok(())
    }

    pub(super) fn take_updates(
        &mut self,
        updates: Vec<wire::Update>,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        if self.state == State::Ignorant {
            return Err(Violation::NothingToUpdate.into());
        }
        if updates.len() > MAX_UPDATES_PER_FRAME {
            return Err(Violation::TooManyUpdates.into());
        }
        let mut taken = Vec::with_capacity(updates.len());
        for update in updates {
            match decode_update(update, &self.peer, self.origins) {
                Ok(update) => taken.push(update),
                Err(refusal) => outputs.push_back(Output::Refused(refusal)),
            }
        }
        if !taken.is_empty() {
            outputs.push_back(Output::Deliver(Delivery::Updates(taken)));
        }
        Ok(())
    }

    pub(super) fn end_snapshot(
        &mut self,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        if self.state != State::Snapshot {
            return Err(Violation::SnapshotNotBegun.into());
        }
        self.state = State::Current;
        outputs.push_back(Output::Deliver(Delivery::SnapshotEnd));
        Ok(())
    }

    /// A position within a snapshot would let a later session resume from half of everything, so there is none.
    pub(super) fn progress(
        &mut self,
        progress: &wire::Progress,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        match (self.state, &progress.position) {
            (State::Current, Some(position)) => {
                let cursor = decode_position(position);
                outputs.push_back(Output::Deliver(Delivery::Progress(cursor)));
                Ok(())
            }
            (State::Current, None)
            | (
                State::Deferred { .. } | State::Asked { .. } | State::Ignorant | State::Snapshot,
                _,
            ) => Err(Violation::MisplacedProgress.into()),
        }
    }
}

fn begin(resumed: bool) -> State {
    match resumed {
        true => State::Current,
        false => State::Ignorant,
    }
}
