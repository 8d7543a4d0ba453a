//! Packs changes into frames, and puts these on the stream of their kind.

use std::collections::VecDeque;

use cluster_registry::{
    name::ClusterName,
    resource::Resource,
    store::{Change, Cursor},
};
use prost::Message;

use super::{Channel, Output, send};
use crate::{
    convert::{append_update, encode_change, encode_position, write_change},
    limits::{MAX_UPDATE_BYTES, MAX_UPDATES_PER_FRAME, TARGET_FRAME_BYTES, TARGET_UNPACKED_BYTES},
    packing,
    wire::{self, Body},
};

/// The frames of one session.
#[derive(Debug)]
pub(super) struct Frames {
    cluster: ClusterName,
    /// Whether the peer reads state from streams by kind; else all of it goes onto one, in order.
    pub(super) is_split: bool,
    /// Whether the peer unpacks snapshots.
    pub(super) packs: bool,
    /// How many Progress messages were sent.
    batches: u64,
    /// How many frames of urgent updates were sent.
    urgent_frames: u64,
}

impl Frames {
    pub(super) fn new(cluster: ClusterName) -> Self {
        Self {
            cluster,
            is_split: false,
            packs: false,
            batches: 0,
            urgent_frames: 0,
        }
    }

    /// The cluster that this side speaks for.
    pub(super) fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The stream whose order counts.
    pub(super) fn ordered(&self) -> Channel {
        match self.is_split {
            true => Channel::Updates,
            false => Channel::Bulk,
        }
    }

    /// Sends changes, those first that take something out of use.
    pub(super) fn live(&mut self, changes: &[Change], outputs: &mut VecDeque<Output>) {
        if !self.is_split {
            self.pack(Channel::Bulk, changes.iter(), outputs);
            return;
        }
        let urgent = changes.iter().filter(|change| is_urgent(change));
        self.urgent_frames += self.pack(Channel::Urgent, urgent, outputs);
        let ordinary = changes.iter().filter(|change| !is_urgent(change));
        self.pack(Channel::Updates, ordinary, outputs);
    }

    /// Sends what stands under ranges of keys: endpoints come by service, so that a frame of them packs well.
    pub(super) fn bulk(&mut self, changes: &[Change], outputs: &mut VecDeque<Output>) {
        if !self.packs {
            self.pack(Channel::Bulk, changes.iter(), outputs);
            return;
        }
        let mut frame = Vec::with_capacity(TARGET_UNPACKED_BYTES);
        let mut update = Vec::new();
        let mut said = 0..0;
        for (at, change) in changes.iter().enumerate() {
            update.clear();
            write_change(change, &self.cluster, &mut update);
            let is_long = update.len() > MAX_UPDATE_BYTES;
            let is_full = frame.len() + update.len() > TARGET_UNPACKED_BYTES;
            if is_long || is_full || said.len() == MAX_UPDATES_PER_FRAME {
                let changes = changes.get(said).unwrap_or_default();
                self.send_packed(&frame, changes, outputs);
                frame.clear();
                said = at..at;
            }
            if is_long {
                let (key, length) = (change.key.clone(), update.len());
                outputs.push_back(Output::LeftOut { key, length });
                said = at + 1..at + 1;
                continue;
            }
            append_update(&update, &mut frame);
            said.end = at + 1;
        }
        let changes = changes.get(said).unwrap_or_default();
        self.send_packed(&frame, changes, outputs);
    }

    /// Sends a frame of some changes: packed, or plainly if it packs badly.
    fn send_packed(&self, frame: &[u8], changes: &[Change], outputs: &mut VecDeque<Output>) {
        if frame.is_empty() {
            return;
        }
        match packing::pack(frame) {
            Some(packed) => send(Channel::Bulk, Body::Packed(packed), outputs),
            None => drop(self.pack(Channel::Bulk, changes.iter(), outputs)),
        }
    }

    /// Says that everything up to a position was sent.
    pub(super) fn progress(&mut self, at: Cursor, outputs: &mut VecDeque<Output>) {
        self.batches += 1;
        let body = Body::Progress(wire::Progress {
            position: Some(encode_position(at)),
            urgent_frames: self.urgent_frames,
        });
        send(self.ordered(), body, outputs);
    }

    /// Sends changes on a stream, and returns in how many frames.
    fn pack<'a>(
        &self,
        channel: Channel,
        changes: impl Iterator<Item = &'a Change>,
        outputs: &mut VecDeque<Output>,
    ) -> u64 {
        let batch = match channel {
            Channel::Urgent => self.batches,
            Channel::Control | Channel::Updates | Channel::Bulk => 0,
        };
        let mut frame = wire::Updates::default();
        let mut frame_bytes = 0;
        let mut frames = 0;
        let mut finish = |frame: &mut wire::Updates, outputs: &mut VecDeque<Output>| {
            let updates = std::mem::take(&mut frame.updates);
            let frame = wire::Updates { updates, batch };
            send(channel, Body::Updates(frame), outputs);
            frames += 1;
        };
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
                finish(&mut frame, outputs);
            }
        }
        if !frame.updates.is_empty() {
            finish(&mut frame, outputs);
        }
        frames
    }
}

/// Whether a change takes something out of use: traffic goes where it should not until it is known.
fn is_urgent(change: &Change) -> bool {
    match &change.value {
        None => true,
        Some(Resource::Endpoint(endpoint)) => !endpoint.conditions.ready,
        Some(
            Resource::Cluster(_)
            | Resource::Node(_)
            | Resource::Tunnel(_)
            | Resource::Service(_)
            | Resource::Namespace(_)
            | Resource::Import(_),
        ) => false,
    }
}
