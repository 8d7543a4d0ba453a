//! The bulk half: finds out by digests what the peer lacks, if it can compare them, and says that, or everything.
//!
//! What is read here may be older than what the live half has said by the time it arrives; the peer then leaves it. What
//! changes after the first reading is the live half's to say, so that nothing is missed in between.

use std::collections::VecDeque;

use cluster_registry::{
    digest::{KeyRange, Step},
    store::{Cursor, Page},
};
use prost::Message;

use super::{Channel, Half, Live, Output, Publisher, ask, send};
use crate::{
    convert::encode_range,
    limits::TARGET_FRAME_BYTES,
    question::Question,
    reason::{DownReason, Violation},
    wire::{self, Body},
};

/// What the bulk half does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bulk {
    /// Nothing.
    Rest,
    /// The store was asked for digests.
    Digesting,
    /// The peer is to say what it holds.
    Comparing,
    /// The store was asked for what ranges hold.
    Sending {
        /// The ranges of the snapshots that follow this one.
        later: VecDeque<KeyRange>,
    },
}

impl Publisher {
    /// Says what the peer lacks, or everything.
    pub(super) fn start_over(&mut self, outputs: &mut VecDeque<Output>) {
        self.live = Live::Starting;
        self.since = None;
        if self.compares {
            self.exchange.begin();
            self.bulk = Bulk::Digesting;
            let theirs = Vec::new();
            ask(Half::Bulk, Question::Compare { theirs }, outputs);
        } else {
            let later = VecDeque::new();
            self.bulk = Bulk::Sending { later };
            self.begin_snapshot(wire::SnapshotBegin::default(), outputs);
            let ranges = vec![KeyRange::default()];
            ask(Half::Bulk, Question::Page { ranges }, outputs);
        }
    }

    pub(in crate::session) fn hear_summaries(
        &mut self,
        message: wire::Summaries,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        if self.bulk != Bulk::Comparing {
            return Err(Violation::MisplacedDigests.into());
        }
        if let Some(theirs) = self.exchange.hear(message)? {
            self.bulk = Bulk::Digesting;
            ask(Half::Bulk, Question::Compare { theirs }, outputs);
        }
        Ok(())
    }

    /// The peer found out what differs.
    pub(in crate::session) fn hear_differing(
        &mut self,
        message: wire::Differing,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), DownReason> {
        if self.bulk != Bulk::Comparing {
            return Err(Violation::MisplacedDigests.into());
        }
        if let Some(ranges) = self.exchange.hear_differing(message)? {
            self.say_ranges(ranges.into(), outputs);
        }
        Ok(())
    }

    pub(super) fn take_step(&mut self, step: Step, at: Cursor, outputs: &mut VecDeque<Output>) {
        if self.bulk != Bulk::Digesting {
            return;
        }
        // What is compared is never older than this, so that what the digests miss is a change that follows.
        self.since.get_or_insert(at);
        match step {
            Step::Same => self.say_ranges(VecDeque::new(), outputs),
            Step::Differ(ranges) => self.say_ranges(ranges.into(), outputs),
            Step::Finer(summaries) => {
                self.bulk = Bulk::Comparing;
                self.exchange.say(&summaries, outputs);
            }
        }
    }

    pub(super) fn take_page(&mut self, page: Page, outputs: &mut VecDeque<Output>) {
        let Bulk::Sending { later } = &mut self.bulk else {
            return;
        };
        let later = std::mem::take(later);
        self.start_live(page.cursor, outputs);
        self.frames.bulk(&page.changes, outputs);
        if !page.rest.is_empty() {
            self.bulk = Bulk::Sending { later };
            let ranges = page.rest;
            ask(Half::Bulk, Question::Page { ranges }, outputs);
            return;
        }
        self.end_snapshot(later, outputs);
    }

    /// Says what ranges hold, as many at a time as one message can name.
    fn say_ranges(&mut self, mut later: VecDeque<KeyRange>, outputs: &mut VecDeque<Output>) {
        let mut ranges = Vec::new();
        let mut begin = wire::SnapshotBegin {
            partial: true,
            ranges: Vec::new(),
        };
        let mut bytes = 0;
        while bytes < TARGET_FRAME_BYTES
            && let Some(range) = later.pop_front()
        {
            let encoded = encode_range(&range, self.frames.cluster());
            bytes += encoded.encoded_len();
            begin.ranges.push(encoded);
            ranges.push(range);
        }
        self.begin_snapshot(begin, outputs);
        // Only now: a position that is said before would count for a peer that was told changes until here.
        if let Some(at) = self.since.take() {
            self.start_live(at, outputs);
        }
        if ranges.is_empty() {
            self.end_snapshot(later, outputs);
        } else {
            self.bulk = Bulk::Sending { later };
            ask(Half::Bulk, Question::Page { ranges }, outputs);
        }
    }

    fn begin_snapshot(&self, begin: wire::SnapshotBegin, outputs: &mut VecDeque<Output>) {
        let channel = self.frames.ordered();
        send(channel, Body::SnapshotBegin(begin), outputs);
    }

    fn end_snapshot(&mut self, later: VecDeque<KeyRange>, outputs: &mut VecDeque<Output>) {
        let more = !later.is_empty() || self.live == Live::Lost;
        let end = Body::SnapshotEnd(wire::SnapshotEnd { more });
        send(Channel::Bulk, end, outputs);
        if later.is_empty() {
            self.bulk = Bulk::Rest;
            self.end_bulk(outputs);
        } else {
            self.say_ranges(later, outputs);
        }
    }
}
