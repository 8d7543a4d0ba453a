//! One side of a comparison of digests: cuts what is said into frames, and puts together what is heard.

use std::collections::VecDeque;

use cluster_registry::{
    digest::{KeyRange, Level, MAX_PARTS, Summary},
    name::ClusterName,
};
use prost::Message;

use super::{Channel, Output};
use crate::{
    convert::{RangeOrder, decode_range, decode_summary, encode_range, encode_summary},
    limits::{MAX_PARTS_OF_SUMMARY, TARGET_FRAME_BYTES},
    reason::Violation,
    wire::{self, Body},
};

/// One side of a comparison.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Whose store is compared.
    publisher: ClusterName,
    /// Whether it is this side's.
    is_own: bool,
    /// The level that was said last, by either side: the next must be finer.
    level: Option<Level>,
    summaries: Vec<Summary>,
    ranges: Vec<KeyRange>,
    /// That of the ranges heard so far, of summaries or as differing.
    order: RangeOrder,
    parts: usize,
}

impl Exchange {
    pub(super) fn new(publisher: ClusterName, is_own: bool) -> Self {
        Self {
            publisher,
            is_own,
            level: None,
            summaries: Vec::new(),
            ranges: Vec::new(),
            order: RangeOrder::default(),
            parts: 0,
        }
    }

    /// A new comparison begins.
    pub(super) fn begin(&mut self) {
        *self = Self::new(self.publisher.clone(), self.is_own);
    }

    /// Says what this side holds.
    pub(super) fn say(&mut self, summaries: &[Summary], outputs: &mut VecDeque<Output>) {
        let Some(first) = summaries.first() else {
            return;
        };
        self.level = Some(first.level);
        let level = u32::from(first.level.number());
        let mut frame = wire::Summaries {
            level,
            of_sender: self.is_own,
            ..wire::Summaries::default()
        };
        let mut bytes = 0;
        for summary in summaries.iter().flat_map(cut) {
            let summary = encode_summary(&summary, &self.publisher);
            bytes += summary.encoded_len();
            if bytes > TARGET_FRAME_BYTES {
                frame.more = true;
                send(Body::Summaries(frame.clone()), outputs);
                frame.summaries.clear();
                bytes = summary.encoded_len();
            }
            frame.summaries.push(summary);
        }
        frame.more = false;
        send(Body::Summaries(frame), outputs);
    }

    /// Says which ranges differ.
    pub(super) fn say_differing(&mut self, ranges: &[KeyRange], outputs: &mut VecDeque<Output>) {
        let mut frame = wire::Differing::default();
        let mut bytes = 0;
        for range in ranges {
            let range = encode_range(range, &self.publisher);
            bytes += range.encoded_len();
            if bytes > TARGET_FRAME_BYTES {
                frame.more = true;
                send(Body::Differing(std::mem::take(&mut frame)), outputs);
                bytes = range.encoded_len();
            }
            frame.ranges.push(range);
        }
        send(Body::Differing(frame), outputs);
    }

    /// Takes what the other side holds; returns all of it once it is whole.
    pub(super) fn hear(
        &mut self,
        message: wire::Summaries,
    ) -> Result<Option<Vec<Summary>>, Violation> {
        let level = u8::try_from(message.level).ok();
        let level = level.and_then(Level::from_number);
        let level = level
            .filter(|level| *level > Level::KEYS)
            .ok_or(Violation::MisplacedDigests)?;
        let is_next = match self.summaries.first() {
            Some(first) => first.level == level,
            None => self.level.is_none_or(|last| level < last),
        };
        if !is_next || message.summaries.is_empty() {
            return Err(Violation::MisplacedDigests);
        }
        for summary in message.summaries {
            self.parts += 1 + summary.parts.len();
            // A range is one part at the least, and was one of the other side's before.
            if self.parts > 3 * MAX_PARTS {
                return Err(Violation::TooManyRanges);
            }
            let summary = decode_summary(level, summary, &self.publisher)?;
            self.order.take(&summary.range)?;
            self.summaries.push(summary);
        }
        if message.more {
            return Ok(None);
        }
        self.level = Some(level);
        self.parts = 0;
        self.order = RangeOrder::default();
        Ok(Some(std::mem::take(&mut self.summaries)))
    }

    /// Takes the ranges that differ; returns all of them once these are whole.
    pub(super) fn hear_differing(
        &mut self,
        message: wire::Differing,
    ) -> Result<Option<Vec<KeyRange>>, Violation> {
        self.parts += message.ranges.len();
        if self.parts > MAX_PARTS {
            return Err(Violation::TooManyRanges);
        }
        for range in message.ranges {
            let range = decode_range(range, &self.publisher)?;
            self.order.take(&range)?;
            self.ranges.push(range);
        }
        if message.more {
            return Ok(None);
        }
        self.parts = 0;
        self.order = RangeOrder::default();
        Ok(Some(std::mem::take(&mut self.ranges)))
    }
}

/// A summary in pieces that fit into a frame each: what they are about adds up to its range.
fn cut(summary: &Summary) -> impl Iterator<Item = Summary> {
    let pieces = summary.parts.chunks(MAX_PARTS_OF_SUMMARY);
    pieces.enumerate().map(|(n, parts)| {
        let next = summary.parts.get((n + 1) * MAX_PARTS_OF_SUMMARY);
        let from = parts.first().and_then(|part| part.from.clone());
        let until = match next {
            Some(next) => next.from.clone(),
            None => summary.range.until.clone(),
        };
        Summary {
            level: summary.level,
            range: KeyRange { from, until },
            parts: parts.to_vec(),
        }
    })
}

fn send(body: Body, outputs: &mut VecDeque<Output>) {
    outputs.push_back(Output::Send(Channel::Control, body));
}
