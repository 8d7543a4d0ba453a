//! The loop of the embedded WireGuard: one thread between the TUN device and the UDP socket.
//!
//! One thread suffices for what two cores can carry, keeps the packets of a flow in order, and needs no locks. It waits
//! in `poll`, takes what there is from either side in large pieces, and looks at the peers' timers in between.

use std::{
    io::{self, IoSlice},
    mem,
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::BytesMut;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::EventFd,
};
use node_dp_core::tunnel::offload::{InnerPacket, Merger, VnetHeader, split};
use tokio::sync::{mpsc, watch};

use super::{
    Command,
    outbox::Outbox,
    table::PeerTable,
    tun::{Tun, is_gone},
    udp::{Buffers, Message, Socket},
};

/// The longest that the device gives at once: a header and an IP packet.
const MAX_READ: usize = VnetHeader::LEN + 65_535;

/// Super-packets taken from the device before the socket is looked at.
const MAX_READS: usize = 16;

/// Datagrams that are gathered before they are sent: two that the kernel cuts.
const SEND_AT: usize = 96;

/// Bytes that are gathered before the kernel gets them: two super-packets, which the processor's cache holds.
const WRITE_AT: usize = 128 << 10;

/// How often each peer's timers are looked at; the shortest of them is a second.
const TIMER_PERIOD: Duration = Duration::from_millis(250);

/// Peers whose timers are looked at together, so that many of them don't wake the thread for each.
const TIMER_BATCH: usize = 32;

/// How long timers may hold up packets: a handshake takes a tenth of a millisecond, and a thousand may be due at once.
const TIMER_SLICE: Duration = Duration::from_millis(1);

/// How long to wait after a failed receive, so that a socket that stays broken does not burn a core.
const RECEIVE_RETRY: Duration = Duration::from_millis(10);

/// What WireGuard pads packets to.
const PADDING: usize = 16;

/// The loop's state.
pub(super) struct Engine {
    tun: Tun,
    socket: Socket,
    table: PeerTable,
    mtu: Arc<AtomicU16>,
    wake: Arc<EventFd>,
    commands: mpsc::Receiver<Command>,
    is_lost: watch::Sender<bool>,
    outbox: Outbox,
    merger: Merger<BytesMut>,
    /// Bytes in the merger.
    merging: usize,
    buffers: Buffers,
    messages: Vec<Message>,
    read: Box<[u8]>,
    next_tick: Instant,
    receive_after: Option<Instant>,
}

/// Why the loop ends.
enum Ended {
    Stopped,
    DeviceGone,
}

/// What may be done without waiting.
#[derive(Debug, Clone, Copy)]
struct Ready {
    command: bool,
    device: bool,
    socket: bool,
}

/// What the engine reaches the world by.
pub(super) struct Ends {
    pub(super) tun: Tun,
    pub(super) socket: Socket,
    pub(super) wake: Arc<EventFd>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) is_lost: watch::Sender<bool>,
}

impl Engine {
    pub(super) fn new(ends: Ends, table: PeerTable, mtu: Arc<AtomicU16>) -> Self {
        Self {
            merger: Merger::new(ends.tun.takes_udp()),
            tun: ends.tun,
            socket: ends.socket,
            table,
            mtu,
            wake: ends.wake,
            commands: ends.commands,
            is_lost: ends.is_lost,
            outbox: Outbox::default(),
            merging: 0,
            buffers: Buffers::new(),
            messages: Vec::new(),
            read: vec![0; MAX_READ].into(),
            next_tick: Instant::now(),
            receive_after: None,
        }
    }

    /// Carries packets until it is stopped or the device is gone.
    pub(super) fn run(mut self) {
        if let Ended::DeviceGone = self.carry() {
            self.is_lost.send_replace(true);
            // The handle still asks and is answered until it is dropped.
            while let Some(command) = self.commands.blocking_recv() {
                if self.perform(command).is_some() {
                    return;
                }
            }
        }
    }

    fn carry(&mut self) -> Ended {
        loop {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::error!(%error, "the tunnel cannot wait for packets");
                    return Ended::DeviceGone;
                }
            };
            if ready.command && self.perform_all().is_some() {
                return Ended::Stopped;
            }
            self.tick();
            if ready.socket {
                self.receive();
            }
            if ready.device && self.read_device().is_err() {
                return Ended::DeviceGone;
            }
            self.socket.send(&mut self.outbox);
        }
    }

    /// Waits for a packet, a command or a timer.
    fn wait(&mut self) -> io::Result<Ready> {
        let now = Instant::now();
        let is_full = !self.outbox.is_empty();
        let resting = self.receive_after.filter(|at| *at > now);
        self.receive_after = resting;
        let mut socket_flags = PollFlags::empty();
        socket_flags.set(PollFlags::POLLIN, resting.is_none());
        // A full socket holds up the device, whose queue then tells the senders.
        socket_flags.set(PollFlags::POLLOUT, is_full);
        let mut device_flags = PollFlags::empty();
        device_flags.set(PollFlags::POLLIN, !is_full);
        let mut fds = [
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.tun.as_fd(), device_flags),
            PollFd::new(self.socket.as_fd(), socket_flags),
        ];
        let deadline = resting.map_or(self.next_tick, |at| at.min(self.next_tick));
        let left = deadline.saturating_duration_since(now);
        // Rounded up, so that a timer is due when the wait is over.
        let left =
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, left) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [command, device, socket] = fds.map(|fd| fd.any().unwrap_or(false));
        Ok(Ready {
            command,
            device,
            socket: socket && resting.is_none(),
        })
    }

    /// Does what was asked; the answer says that it is to end.
    fn perform_all(&mut self) -> Option<Ended> {
        // Only the number of wake-ups is lost, and what they were for is in the queue.
        self.wake.read().ok();
        loop {
            match self.commands.try_recv() {
                Ok(command) => {
                    if let Some(ended) = self.perform(command) {
                        return Some(ended);
                    }
                }
                Err(mpsc::error::TryRecvError::Empty) => return None,
                Err(mpsc::error::TryRecvError::Disconnected) => return Some(Ended::Stopped),
            }
        }
    }

    fn perform(&mut self, command: Command) -> Option<Ended> {
        match command {
            Command::Change(changes, done) => {
                for change in changes {
                    self.table.apply(change);
                }
                self.next_tick = Instant::now();
                // Who asked may have gone.
                done.send(()).ok();
                None
            }
            Command::Succeed(succession, done) => {
                self.table.succeed(*succession);
                self.next_tick = Instant::now();
                // As above.
                done.send(()).ok();
                None
            }
            Command::Stats(answer) => {
                answer.send(self.table.stats()).ok();
                None
            }
            Command::Drops(answer) => {
                answer.send(self.table.drops()).ok();
                None
            }
            Command::Stop => Some(Ended::Stopped),
        }
    }

    /// Looks at the timers of the next peers, if that is due.
    fn tick(&mut self) {
        let now = Instant::now();
        if now < self.next_tick {
            return;
        }
        let all = self.table.len().max(1);
        let until = now + TIMER_SLICE;
        let seen = self.table.tick(TIMER_BATCH, until, &mut self.outbox);
        // In one period every peer has its turn.
        let share = seen.max(1) as f64 / all as f64;
        self.next_tick = now + TIMER_PERIOD.mul_f64(share.min(1.0));
    }

    /// Takes datagrams off the network and gives the kernel what is in them.
    fn receive(&mut self) {
        if let Err(error) = self.socket.receive(&mut self.buffers, &mut self.messages) {
            tracing::debug!(%error, "the tunnel's socket failed to receive");
            self.receive_after = Some(Instant::now() + RECEIVE_RETRY);
        }
        let mut messages = mem::take(&mut self.messages);
        for message in messages.drain(..) {
            self.open(message);
            if self.merging >= WRITE_AT {
                self.write_device();
            }
        }
        self.messages = messages;
        self.write_device();
    }

    fn open(&mut self, message: Message) {
        let Message {
            mut bytes,
            from,
            size,
        } = message;
        let mtu = self.mtu.load(Ordering::Relaxed);
        let bytes = bytes.buf_mut();
        while !bytes.is_empty() {
            let datagram = bytes.split_to(size.min(bytes.len()));
            let inner = self.table.open(datagram, from, mtu, &mut self.outbox);
            if let Some(packet) = inner {
                self.merging += packet.len();
                self.merger.push(packet);
            }
        }
    }

    /// Gives the kernel what was gathered.
    fn write_device(&mut self) {
        self.merging = 0;
        for packet in self.merger.drain() {
            let header = packet.vnet.to_bytes();
            let pieces = std::iter::once(&header[..]).chain(packet.slices());
            let pieces: Vec<IoSlice<'_>> = pieces.map(IoSlice::new).collect();
            // A packet that the kernel does not take (a device that is down, a malformed header) is that packet's end only.
            if let Err(error) = self.tun.write(&pieces) {
                tracing::trace!(%error, "the kernel did not take a packet");
            }
        }
    }

    /// Takes packets from the kernel and encrypts them; an error says that the device is gone.
    fn read_device(&mut self) -> io::Result<()> {
        let mut read = mem::take(&mut self.read);
        let mut result = Ok(());
        for _ in 0..MAX_READS {
            match self.tun.read(&mut read) {
                Ok(len) => self.seal(read.get_mut(..len).unwrap_or_default()),
                Err(error) if is_gone(&error) => {
                    result = Err(error);
                    break;
                }
                Err(_) => break,
            }
            if self.outbox.len() >= SEND_AT && !self.socket.send(&mut self.outbox) {
                break;
            }
        }
        self.read = read;
        result
    }

    /// Cuts and encrypts what the device gave at once.
    fn seal(&mut self, bytes: &mut [u8]) {
        let Ok((vnet, packet)) = VnetHeader::parse(bytes) else {
            return;
        };
        // What is no IP packet, or is nobody's, has nowhere to go.
        let Ok(inner) = InnerPacket::parse(packet) else {
            return;
        };
        let Some(peer) = self.table.recipient(inner.destination) else {
            return;
        };
        let mut segments = match split(&vnet, packet) {
            Ok(segments) => segments,
            Err(error) => {
                tracing::debug!(%error, "the kernel gave a super-packet that cannot be cut");
                return;
            }
        };
        let mtu = usize::from(self.mtu.load(Ordering::Relaxed));
        let mut all = BytesMut::with_capacity(segments.max_bytes());
        while let Some(segment) = segments.next_segment() {
            all.extend_from_slice(segment.headers);
            all.extend_from_slice(segment.payload);
            let len = all.len();
            let padded = len.next_multiple_of(PADDING).min(mtu);
            all.resize(padded.max(len), 0);
            self.table.seal(peer, all.split(), &mut self.outbox);
        }
    }
}
