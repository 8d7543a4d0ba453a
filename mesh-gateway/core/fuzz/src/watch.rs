//! Watches what a session puts out, and panics at what no session may.

use cluster_registry::name::ClusterName;
use mesh_gateway_core::{
    question::Question,
    session::{Channel, Delivery, Output},
    update::Update,
    wire::Body,
};

use super::frames::reads_back;

/// What the outputs so far add up to.
#[derive(Debug)]
pub(super) struct Watch {
    peer: ClusterName,
    is_up: bool,
    is_down: bool,
    has_closed: bool,
    /// Whether the peer has not been asked for its state, or has not said that it tells it.
    awaits_state: bool,
    /// Whether the peer was welcomed: before, it may be told no state.
    has_welcomed: bool,
    /// Whether the peer is being told a snapshot.
    sends_snapshot: bool,
    /// Whether the peer is telling one.
    takes_snapshot: bool,
    /// What the store was asked for and has not answered.
    pub(super) wanted: [Option<Question>; 2],
    /// Whether what is known of the peer is to be compared.
    pub(super) compares: bool,
    is_split: bool,
}

impl Watch {
    pub(super) fn new(peer: ClusterName, awaits_state: bool) -> Self {
        Self {
            peer,
            is_up: false,
            is_down: false,
            has_closed: false,
            awaits_state,
            has_welcomed: false,
            sends_snapshot: false,
            takes_snapshot: false,
            wanted: [None, None],
            compares: false,
            is_split: false,
        }
    }

    pub(super) fn is_down(&self) -> bool {
        self.is_down
    }

    pub(super) fn take(&mut self, output: Output) {
        assert!(!self.is_down, "after the end came {output:?}");
        let is_end = matches!(output, Output::Down(_));
        assert!(is_end || !self.has_closed, "after closing came {output:?}");
        match output {
            Output::Send(channel, body) => self.take_sent(channel, body),
            Output::Ask(half, question) => {
                let wanted = &mut self.wanted[half as usize];
                assert!(wanted.is_none(), "two requests are on their way");
                *wanted = Some(question);
            }
            Output::Compare { theirs } => {
                assert!(!theirs.is_empty() && !self.compares, "compared twice");
                self.compares = true;
            }
            Output::Split => {
                assert!(!self.has_welcomed && !self.is_split, "split too late");
                self.is_split = true;
            }
            Output::Up { .. } => {
                assert!(!self.is_up, "up twice");
                self.is_up = true;
            }
            Output::Subscribed { .. } => {
                assert!(self.is_up && self.awaits_state, "subscribed for no reason");
                self.awaits_state = false;
            }
            Output::Deliver(delivery) => {
                assert!(!self.awaits_state, "{delivery:?} before it was asked for");
                assert!(self.is_up, "{delivery:?} before the session was up");
                self.take_delivery(delivery);
            }
            Output::Refused(_) => assert!(self.is_up, "a refusal before the session was up"),
            Output::LeftOut { .. } => panic!("every resource of the store is short"),
            Output::Slowed(_) | Output::Rtt(_) => {}
            Output::Close(_) => self.has_closed = true,
            Output::Down(_) => self.is_down = true,
        }
    }

    fn take_sent(&mut self, channel: Channel, body: Body) {
        let expected = match &body {
            Body::Hello(_) | Body::Heartbeat(_) => Channel::Control,
            Body::Welcome(_) => {
                assert!(!self.has_welcomed, "welcomed twice");
                self.has_welcomed = true;
                Channel::Control
            }
            Body::Subscribe(_) => {
                assert!(self.awaits_state, "subscribed twice");
                Channel::Control
            }
            Body::Subscribed(_) | Body::Summaries(_) | Body::Differing(_) => Channel::Control,
            Body::SnapshotBegin(_) => {
                self.sends_snapshot = true;
                self.ordered()
            }
            Body::SnapshotEnd(_) => {
                assert!(self.sends_snapshot, "a snapshot ended that had not begun");
                self.sends_snapshot = false;
                Channel::Bulk
            }
            Body::Progress(_) => {
                assert!(
                    self.is_split || !self.sends_snapshot,
                    "a position within a snapshot"
                );
                self.ordered()
            }
            Body::Packed(_) => {
                assert!(self.sends_snapshot, "packed what is no snapshot");
                Channel::Bulk
            }
            Body::Updates(_) if self.is_split => channel,
            Body::Updates(_) => Channel::Bulk,
        };
        assert_eq!(channel, expected);
        assert!(channel == Channel::Control || self.has_welcomed);
        reads_back(body);
    }

    fn ordered(&self) -> Channel {
        match self.is_split {
            true => Channel::Updates,
            false => Channel::Bulk,
        }
    }

    fn take_delivery(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::SnapshotBegin(_) => self.takes_snapshot = true,
            Delivery::SnapshotEnd => {
                assert!(self.takes_snapshot, "a snapshot ended that had not begun");
                self.takes_snapshot = false;
            }
            Delivery::Progress(_) => assert!(!self.takes_snapshot),
            Delivery::Updates(updates) => {
                assert!(!updates.is_empty());
                updates.iter().for_each(|update| self.check_update(update));
            }
        }
    }

    fn check_update(&self, update: &Update) {
        assert_eq!(update.key.cluster, self.peer, "the peer spoke for another");
        let value = update.value.as_ref();
        assert!(value.is_none_or(|value| value.is_of(&update.key.id)));
    }
}
