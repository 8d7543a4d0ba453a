//! What the peer tells us: checked, converted and passed on in its order.

use std::collections::VecDeque;

use cluster_registry::{
    digest::{KeyRange, Step},
    name::ClusterName,
    store::Cursor,
};

use super::{
    Channel, Config, Delivery, Features, Output, Subscription, exchange::Exchange, order::Order,
};
use crate::{
    convert::{
        Origins, SnapshotReader, decode_position, decode_ranges, decode_update, encode_position,
    },
    limits::MAX_UPDATES_PER_FRAME,
    packing,
    reason::{DownReason, Violation},
    resume::Offer,
    update::Update,
    wire::{self, Body},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The peer is to tell nothing yet; `can_defer` is false before its HELLO, and if it tells everything at once.
    Deferred { can_defer: bool },
    /// The peer was asked to tell its state, and has not accepted.
    Asked,
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
    /// What the peer was offered to continue from.
    offered: Offer,
    /// Whether the peer says state on streams by kind.
    is_split: bool,
    /// Whether the peer packs snapshots.
    unpacks: bool,
    order: Order,
    /// Reads what is packed of a snapshot.
    reader: SnapshotReader,
    /// A Progress whose urgent frames are under way.
    waiting: Option<(Cursor, u64)>,
    /// A snapshot that begins when the one before has ended.
    next_snapshot: Option<Vec<KeyRange>>,
    /// The newest position, while it does not count.
    reached: Option<Cursor>,
    exchange: Exchange,
    /// Whether what is known is being compared.
    is_comparing: bool,
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
            offered: config.offer(),
            is_split: false,
            unpacks: false,
            order: Order::default(),
            reader: SnapshotReader::default(),
            waiting: None,
            next_snapshot: None,
            reached: None,
            exchange: Exchange::new(config.peer.clone(), false),
            is_comparing: false,
        }
    }

    /// What the peer was offered to continue from.
    pub(super) fn offered(&self) -> Offer {
        self.offered
    }

    /// Both sides have accepted each other.
    pub(super) fn come_up(&mut self, resumed: bool, shared: Features) {
        let can_defer = shared.subscribe;
        self.is_split = shared.streams;
        self.unpacks = shared.zstd;
        self.state = match self.state {
            State::Deferred { .. } => State::Deferred { can_defer },
            State::Asked | State::Ignorant | State::Snapshot | State::Current => begin(resumed),
        };
    }

    /// Whether the next frame of a stream of state may be taken.
    pub(super) fn may_read(&self, channel: Channel) -> bool {
        let may = match channel {
            Channel::Control => return true,
            Channel::Urgent => self.order.has_room_ahead() && self.order.has_room_in_snapshot(),
            Channel::Updates => {
                let must_wait = self.waiting.is_some() || self.next_snapshot.is_some();
                !must_wait && self.order.has_room_in_snapshot()
            }
            Channel::Bulk => !self.is_split || self.state == State::Snapshot,
        };
        self.is_subscribed() && may
    }

    /// Whether the peer tells its state.
    fn is_subscribed(&self) -> bool {
        match self.state {
            State::Deferred { .. } | State::Asked => false,
            State::Ignorant | State::Snapshot | State::Current => true,
        }
    }

    /// The peer's state is wanted from now on.
    pub(super) fn subscribe(&mut self, offer: Offer, outputs: &mut VecDeque<Output>) {
        match self.state {
            State::Deferred { can_defer: true } => {
                self.offered = offer;
                self.state = State::Asked;
                let body = Body::Subscribe(wire::Subscribe {
                    resume: offer.cursor.map(encode_position),
                    compare: offer.compare,
                });
                outputs.push_back(Output::Send(Channel::Control, body));
            }
            // A peer that does not know of subscriptions tells everything from the start: it waits to be read.
            State::Deferred { can_defer: false } => {
                self.state = State::Ignorant;
                outputs.push_back(Output::Subscribed { resumed: false });
            }
            State::Asked | State::Ignorant | State::Snapshot | State::Current => {}
        }
    }

    /// The peer accepts that it was asked.
    pub(super) fn hear_subscribed(
        &mut self,
        message: &wire::Subscribed,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        let resumed = message.resumed;
        let is_offered = self.offered.cursor.is_some() || !resumed;
        if self.state != State::Asked || !is_offered {
            return Err(Violation::UnexpectedSubscription.into());
        }
        self.state = begin(resumed);
        outputs.push_back(Output::Subscribed { resumed });
        Ok(())
    }

    /// The peer says what it has, in digests.
    pub(super) fn hear_summaries(
        &mut self,
        message: wire::Summaries,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        if !self.offered.compare || self.is_comparing || !self.is_subscribed() {
            return Err(Violation::MisplacedDigests.into());
        }
        if message.level == u32::from(cluster_registry::digest::Level::ROOT.number()) {
            self.exchange.begin();
        }
        if let Some(theirs) = self.exchange.hear(message)? {
            self.is_comparing = true;
            outputs.push_back(Output::Compare { theirs });
        }
        Ok(())
    }

    /// What is known was compared with what the peer has.
    pub(super) fn handle_compared(&mut self, step: Step, outputs: &mut VecDeque<Output>) {
        if !std::mem::take(&mut self.is_comparing) {
            return;
        }
        match step {
            Step::Same => self.exchange.say_differing(&[], outputs),
            Step::Differ(ranges) => self.exchange.say_differing(&ranges, outputs),
            Step::Finer(summaries) => self.exchange.say(&summaries, outputs),
        }
    }

    pub(super) fn begin_snapshot(
        &mut self,
        channel: Channel,
        message: wire::SnapshotBegin,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        self.check_ordered(channel)?;
        if message.partial && !self.offered.compare {
            return Err(Violation::MisplacedDigests.into());
        }
        let ranges = if message.partial {
            decode_ranges(message.ranges, &self.peer)?
        } else {
            vec![KeyRange::default()]
        };
        if self.is_split && self.state == State::Snapshot {
            self.next_snapshot = Some(ranges);
        } else {
            self.open_snapshot(ranges, outputs);
        }
        Ok(())
    }

    fn open_snapshot(&mut self, ranges: Vec<KeyRange>, outputs: &mut VecDeque<Output>) {
        self.state = State::Snapshot;
        deliver(Delivery::SnapshotBegin(ranges), outputs);
        // What has overtaken this counts within the snapshot too.
        let ahead = self.order.begin_snapshot();
        if !ahead.is_empty() {
            deliver(Delivery::Updates(ahead), outputs);
        }
    }

    pub(super) fn take_updates(
        &mut self,
        channel: Channel,
        message: wire::Updates,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        if channel != Channel::Bulk && !self.is_split {
            return Err(Violation::WrongChannel.into());
        }
        if message.updates.len() > MAX_UPDATES_PER_FRAME {
            return Err(Violation::TooManyUpdates.into());
        }
        let taken = self.decode(message.updates, outputs);
        self.take_decoded(channel, message.batch, taken, outputs)
    }

    fn take_decoded(
        &mut self,
        channel: Channel,
        batch: u64,
        mut taken: Vec<Update>,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        if self.state == State::Ignorant && !self.is_split {
            return Err(Violation::NothingToUpdate.into());
        }
        match channel {
            Channel::Urgent => {
                if !self.order.take_urgent(batch, &taken) {
                    return Err(Violation::MisplacedUpdates.into());
                }
            }
            Channel::Updates => self.order.take_ordinary(&mut taken),
            Channel::Bulk if self.is_split => self.order.take_bulk(&mut taken),
            Channel::Bulk | Channel::Control => {}
        }
        if !taken.is_empty() {
            deliver(Delivery::Updates(taken), outputs);
        }
        if channel == Channel::Urgent {
            self.end_batch_if_whole(outputs);
        }
        Ok(())
    }

    /// Takes compressed updates of a snapshot.
    pub(super) fn take_packed(
        &mut self,
        channel: Channel,
        message: &wire::Packed,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        if !self.unpacks || channel != Channel::Bulk {
            return Err(Violation::WrongChannel.into());
        }
        let frame = packing::unpack(message)?;
        let (taken, refused) = self.reader.read(&frame, &self.peer, self.origins)?;
        outputs.extend(refused.into_iter().map(Output::Refused));
        self.take_decoded(channel, 0, taken, outputs)
    }

    fn decode(&self, updates: Vec<wire::Update>, outputs: &mut VecDeque<Output>) -> Vec<Update> {
        let mut taken = Vec::with_capacity(updates.len());
        for update in updates {
            match decode_update(update, &self.peer, self.origins) {
                Ok(update) => taken.push(update),
                Err(refusal) => outputs.push_back(Output::Refused(refusal)),
            }
        }
        taken
    }

    pub(super) fn end_snapshot(
        &mut self,
        channel: Channel,
        message: wire::SnapshotEnd,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        if channel != Channel::Bulk {
            return Err(Violation::WrongChannel.into());
        }
        if self.state != State::Snapshot {
            return Err(Violation::SnapshotNotBegun.into());
        }
        self.state = begin(!message.more);
        self.order.end_snapshot();
        self.reader = SnapshotReader::default();
        deliver(Delivery::SnapshotEnd, outputs);
        if let Some(ranges) = self.next_snapshot.take() {
            self.open_snapshot(ranges, outputs);
        }
        self.release_position(outputs);
        Ok(())
    }

    /// A position within a snapshot would let a later session resume from half of everything, so it waits for the end.
    pub(super) fn progress(
        &mut self,
        channel: Channel,
        message: &wire::Progress,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        self.check_ordered(channel)?;
        let may_be = self.is_split || self.state == State::Current;
        let Some(position) = message.position.as_ref().filter(|_| may_be) else {
            return Err(Violation::MisplacedProgress.into());
        };
        self.waiting = Some((decode_position(position), message.urgent_frames));
        self.end_batch_if_whole(outputs);
        Ok(())
    }

    fn end_batch_if_whole(&mut self, outputs: &mut VecDeque<Output>) {
        let whole = self
            .waiting
            .take_if(|(_, frames)| self.order.has_urgent(*frames));
        if let Some((position, _)) = whole {
            self.order.end_batch();
            self.reached = Some(position);
            self.release_position(outputs);
        }
    }

    fn release_position(&mut self, outputs: &mut VecDeque<Output>) {
        if self.state == State::Current
            && let Some(position) = self.reached.take()
        {
            deliver(Delivery::Progress(position), outputs);
        }
    }

    /// Checks that a message is on the stream whose order counts.
    fn check_ordered(&self, channel: Channel) -> Result<(), Violation> {
        let ordered = match self.is_split {
            true => Channel::Updates,
            false => Channel::Bulk,
        };
        if channel == ordered {
            Ok(())
        } else {
            Err(Violation::WrongChannel)
        }
    }
}

fn deliver(delivery: Delivery, outputs: &mut VecDeque<Output>) {
    outputs.push_back(Output::Deliver(delivery));
}

fn begin(is_current: bool) -> State {
    match is_current {
        true => State::Current,
        false => State::Ignorant,
    }
}
