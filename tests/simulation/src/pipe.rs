//! One direction of one stream: bytes arrive in order and whole, but cut anywhere, late, and not at all while the path is
//! blocked.

use std::{collections::VecDeque, time::Duration};

use bytes::{Buf, BytesMut};
use fastrand::Rng;
use mesh_gateway_core::{codec, codec::Decoder, wire::Body};

/// The most bytes under way, so that a slow path holds its sender up.
const WINDOW_BYTES: usize = 2048;

/// The most bytes that arrive at once.
const MAX_CHUNK_BYTES: usize = 400;

/// How long after it was lost a packet is sent again.
const RETRANSMISSION: Duration = Duration::from_millis(60);

/// What a path does to what is sent over it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// The shortest time from one side to the other.
    pub(crate) latency: Duration,
    /// How many of a hundred packets are lost, and arrive when sent again.
    pub(crate) loss_percent: u8,
}

/// One direction of one stream.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    waiting: BytesMut,
    under_way: VecDeque<(Duration, Vec<u8>)>,
    under_way_bytes: usize,
    /// The receiver's end.
    pub(crate) decoder: Decoder,
}

impl Pipe {
    /// Takes a frame to be sent.
    pub(crate) fn push(&mut self, body: Body) {
        codec::encode(body, &mut self.waiting);
    }

    /// How much waits for room on the way.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting.len()
    }

    /// Sends what there is room for.
    pub(crate) fn pump(&mut self, now: Duration, weather: Weather, rng: &mut Rng) {
        while !self.waiting.is_empty() && self.under_way_bytes < WINDOW_BYTES {
            let length = rng.usize(1..=MAX_CHUNK_BYTES).min(self.waiting.len());
            let mut delay = weather.latency;
            while rng.u8(0..100) < weather.loss_percent {
                delay += RETRANSMISSION;
            }
            // A stream is in order: what comes behind a lost packet waits for it.
            let last = self.under_way.back().map_or(Duration::ZERO, |(at, _)| *at);
            let chunk = self.waiting[..length].to_vec();
            self.waiting.advance(length);
            self.under_way_bytes += length;
            self.under_way.push_back((last.max(now + delay), chunk));
        }
    }

    /// When the next bytes arrive.
    pub(crate) fn next_arrival(&self) -> Option<Duration> {
        self.under_way.front().map(|(at, _)| *at)
    }

    /// The next bytes, if they are due.
    pub(crate) fn arrive(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.next_arrival()? > now {
            return None;
        }
        let (_, chunk) = self.under_way.pop_front()?;
        self.under_way_bytes -= chunk.len();
        Some(chunk)
    }

    /// The next bytes were lost on the way.
    pub(crate) fn lose(&mut self, now: Duration) {
        if let Some((at, _)) = self.under_way.front_mut() {
            *at = now + RETRANSMISSION;
        }
    }

    /// The sender is gone: what it has not sent never leaves.
    pub(crate) fn abandon(&mut self) {
        self.waiting.clear();
    }
}
