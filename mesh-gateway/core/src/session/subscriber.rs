//! What the peer tells us: checked, converted and passed on in its order.

use std::collections::VecDeque;

use cluster_registry::name::ClusterName;

use super::{Delivery, Output};
use crate::{
    convert::{Origins, decode_position, decode_update},
    limits::MAX_UPDATES_PER_FRAME,
    reason::{DownReason, Violation},
    wire,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
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
    pub(super) fn new(peer: ClusterName, origins: Origins) -> Self {
        Self {
            peer,
            origins,
            state: State::Ignorant,
        }
    }

    pub(super) fn come_up(&mut self, resumed: bool) {
        self.state = if resumed {
            State::Current
        } else {
            State::Ignorant
        };
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
            (State::Current, None) | (State::Ignorant | State::Snapshot, _) => {
                Err(Violation::MisplacedProgress.into())
            }
        }
    }
}
