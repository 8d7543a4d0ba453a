//! A connection between two gateways: its handshake, its streams, and how each end learns of its end.

use std::time::Duration;

use mesh_gateway_core::{reason::GoodbyeReason, session::Channel};

use crate::{drive::Drive, pipe::Pipe};

/// The place of a channel's pipe.
pub(crate) fn index_of(channel: Channel) -> usize {
    match channel {
        Channel::Control => 0,
        Channel::Urgent => 1,
        Channel::Updates => 2,
        Channel::Bulk => 3,
    }
}

/// How one end learns that the other has ended the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Notice {
    Goodbye(GoodbyeReason),
    Reset,
}

/// One end.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) gateway: usize,
    /// The life of the gateway that has the end: another one knows nothing of it.
    pub(crate) life: u64,
    pub(crate) drive: Option<Drive>,
    /// Whether its session has ended, or its gateway is gone.
    pub(crate) is_over: bool,
    pub(crate) notice: Option<(Duration, Notice)>,
    /// When anything last arrived.
    pub(crate) heard_at: Duration,
    /// What it sends, by channel.
    pub(crate) out: [Pipe; 4],
}

/// A connection; end 0 has dialled end 1.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) ends: [End; 2],
    /// When the handshake succeeds or is given up, while it is under way.
    pub(crate) handshake: Option<(Duration, bool)>,
    /// Whether nothing more is sent on it.
    pub(crate) is_broken: bool,
}

impl End {
    /// Whether what arrives on a channel may be read; the first bytes of control begin the listener's session.
    pub(crate) fn may_read(&self, channel: Channel) -> bool {
        match &self.drive {
            Some(drive) => drive.may_read(channel),
            None => channel == Channel::Control,
        }
    }

    /// Nothing more comes of it.
    pub(crate) fn end(&mut self) {
        self.is_over = true;
        self.drive = None;
        self.notice = None;
        self.out.iter_mut().for_each(Pipe::abandon);
    }
}

impl Connection {
    pub(crate) fn new(
        dialler: (usize, u64),
        listener: (usize, u64),
        handshake: (Duration, bool),
    ) -> Self {
        let end = |(gateway, life)| End {
            gateway,
            life,
            drive: None,
            is_over: false,
            notice: None,
            heard_at: Duration::ZERO,
            out: Default::default(),
        };
        Self {
            ends: [end(dialler), end(listener)],
            handshake: Some(handshake),
            is_broken: false,
        }
    }

    /// The other end.
    pub(crate) fn other(end: usize) -> usize {
        1 - end
    }

    /// Whether it joins two gateways.
    pub(crate) fn joins(&self, one: usize, other: usize) -> bool {
        let [a, b] = &self.ends;
        (a.gateway, b.gateway) == (one, other) || (a.gateway, b.gateway) == (other, one)
    }

    /// When bytes or a notice next arrive at an end.
    pub(crate) fn next_arrival(&self, end: usize) -> Option<Duration> {
        let (receiver, sender) = (&self.ends[end], &self.ends[Self::other(end)]);
        if receiver.is_over {
            return None;
        }
        let bytes = Channel::ALL
            .into_iter()
            .filter(|channel| receiver.may_read(*channel))
            .filter_map(|channel| sender.out[index_of(channel)].next_arrival());
        bytes.chain(receiver.notice.map(|(at, _)| at)).min()
    }

    /// Whether nothing will ever happen on it.
    pub(crate) fn is_dead(&self) -> bool {
        self.handshake.is_none() && self.ends.iter().all(|end| end.is_over)
    }
}
