//! What a session wants of its shell, and what it passes on of the peer.

use std::time::Duration;

use cluster_registry::{
    digest::{KeyRange, Summary},
    resource::Key,
    store::Cursor,
};

use crate::{
    instance::Instance,
    question::Question,
    reason::{DownReason, GoodbyeReason, Refusal},
    update::Update,
    wire::Body,
};

/// The stream that a frame travels on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// How the session comes up, subscriptions and heartbeats, never held up by state.
    Control,
    /// Withdrawals, and endpoints that are not ready.
    Urgent,
    /// Other updates, and where these, the urgent ones and snapshots stand to each other.
    Updates,
    /// What snapshots hold; between peers of which one does not know streams by kind, all state.
    Bulk,
}

impl Channel {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Control, Self::Urgent, Self::Updates, Self::Bulk];
}

/// Which of its two halves a publisher asks for: their questions do not wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// What changes.
    Live,
    /// What there is.
    Bulk,
}

/// What the peer says of its resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Everything that the peer has in these ranges follows.
    SnapshotBegin(Vec<KeyRange>),
    /// The newest state of some keys.
    Updates(Vec<Update>),
    /// The peer has said everything that it has.
    SnapshotEnd,
    /// Everything up to here was delivered.
    Progress(Cursor),
}

/// What the shell must do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send a frame.
    Send(Channel, Body),
    /// Ask the store, and answer with [`super::Session::handle_answer`].
    Ask(Half, Question),
    /// Compare what is known of the peer with what it says it has, and answer with [`super::Session::handle_compared`].
    Compare {
        /// What the peer has.
        theirs: Vec<Summary>,
    },
    /// The peer reads state from streams by kind: there is one for each [`Channel`].
    Split,
    /// Both sides have accepted each other.
    Up {
        /// Whether what is known of the peer still counts.
        resumed: bool,
        /// The process that the peer is; `None` if it is of a version that does not tell.
        instance: Option<Instance>,
    },
    /// The peer has begun to tell its state, as [`super::Session::handle_subscribe`] asked.
    Subscribed {
        /// Whether what is known of the peer still counts.
        resumed: bool,
    },
    /// Pass on what the peer says.
    Deliver(Delivery),
    /// One update was not taken.
    Refused(Refusal),
    /// One of our own resources is longer than any update may be, and was left out.
    LeftOut {
        /// Its key.
        key: Key,
        /// How long it would be.
        length: usize,
    },
    /// The peer says more than its pace allows, and is read no faster; or no longer does.
    Slowed(bool),
    /// The smoothed round-trip time.
    Rtt(Duration),
    /// End the connection with this code.
    Close(GoodbyeReason),
    /// The session has ended; nothing follows.
    Down(DownReason),
}
