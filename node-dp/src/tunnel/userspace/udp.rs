//! The UDP socket of the embedded WireGuard: many datagrams a system call, both ways, and errors that pass.
//!
//! A cut network answers sends with errors such as EHOSTUNREACH. They are the end of one datagram: neither of the socket
//! nor of the datagrams to other peers in the same batch.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
};

use gotatun::packet::{Packet, PacketBufPool};
use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg,
        sendmmsg, sendmsg, setsockopt, sockopt,
    },
};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use super::outbox::{Group, Outbox};

/// Room for bursts: 4 MiB hold what 10 Gbit/s bring in 3 ms, about as long as a busy core keeps the agent waiting.
const BUFFER_BYTES: usize = 4 << 20;

/// Messages per receive, each of up to 64 datagrams.
const MAX_RECEIVED: usize = 8;

/// The longest message: what the length field of UDP can say.
const MAX_MESSAGE: usize = 65_535;

/// A bound socket.
#[derive(Debug)]
pub(super) struct Socket(UdpSocket);

/// A message: one or more datagrams from one address, all of `size` bytes but for the last, which may be shorter.
pub(super) struct Message {
    pub(super) bytes: Packet,
    pub(super) from: SocketAddr,
    pub(super) size: usize,
}

/// What is in a buffer: how much, from whom, and the size of the datagrams in it.
struct Filled {
    len: usize,
    from: Option<SocketAddr>,
    size: usize,
}

/// Buffers that are used again once the packets in them are gone.
pub(super) struct Buffers {
    pool: PacketBufPool<MAX_MESSAGE>,
    empty: Vec<Packet>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self {
            pool: PacketBufPool::new(2 * MAX_RECEIVED),
            empty: Vec::new(),
        }
    }
}

impl Socket {
    /// Binds a port on all addresses of both families.
    pub(super) fn bind(port: u16) -> io::Result<Self> {
        let any: SocketAddr = (Ipv6Addr::UNSPECIFIED, port).into();
        let socket = match open(any) {
            // A kernel without IPv6.
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                open((Ipv4Addr::UNSPECIFIED, port).into())?
            }
            opened => opened?,
        };
        let socket = Self(socket);
        socket.tune();
        Ok(socket)
    }

    /// Asks for what makes it faster; it works without.
    fn tune(&self) {
        let tuned = setsockopt(&self.0, sockopt::RcvBufForce, &BUFFER_BYTES)
            .and_then(|()| setsockopt(&self.0, sockopt::SndBufForce, &BUFFER_BYTES));
        if let Err(error) = tuned {
            tracing::debug!(%error, "the tunnel's socket keeps its default buffers");
        }
        if let Err(error) = setsockopt(&self.0, sockopt::UdpGroSegment, &true) {
            tracing::debug!(%error, "the tunnel's socket receives without offload");
        }
    }

    /// Sends what waits; false when the socket takes no more for now.
    pub(super) fn send(&self, outbox: &mut Outbox) -> bool {
        while let Some(group) = outbox.next_group() {
            let sent = match group {
                Group::Segments(range) => self.send_segments(outbox.get(range)),
                Group::Singles(range) => self.send_singles(outbox.get(range)),
            };
            match sent {
                Some(count) => outbox.pass(count),
                None => return false,
            }
        }
        true
    }

    /// Sends all of a group at once; answers how many are sent or given up, `None` if the socket is full.
    fn send_segments(&self, group: &[(Packet, SocketAddr)]) -> Option<usize> {
        let (first, to) = group.first()?;
        let pieces: Vec<IoSlice<'_>> = group
            .iter()
            .map(|(datagram, _)| IoSlice::new(datagram))
            .collect();
        let size = u16::try_from(first.len()).ok()?;
        let sent = sendmsg(
            self.0.as_raw_fd(),
            &pieces,
            &[ControlMessage::UdpGsoSegments(&size)],
            MsgFlags::MSG_DONTWAIT,
            Some(&SockaddrStorage::from(*to)),
        );
        match sent {
            Ok(_) => Some(group.len()),
            Err(Errno::EAGAIN) => None,
            // A device without offload, or a path that is too narrow for it: one by one they may pass.
            Err(_) => self.send_singles(group),
        }
    }

    /// Sends a prefix of the group; answers how many are sent or given up, `None` if the socket is full.
    fn send_singles(&self, group: &[(Packet, SocketAddr)]) -> Option<usize> {
        let pieces: Vec<[IoSlice<'_>; 1]> = group
            .iter()
            .map(|(datagram, _)| [IoSlice::new(datagram)])
            .collect();
        let targets: Vec<Option<SockaddrStorage>> = group
            .iter()
            .map(|(_, to)| Some(SockaddrStorage::from(*to)))
            .collect();
        let mut headers = MultiHeaders::preallocate(pieces.len(), None);
        let sent = sendmmsg(
            self.0.as_raw_fd(),
            &mut headers,
            &pieces,
            &targets,
            [],
            MsgFlags::MSG_DONTWAIT,
        );
        match sent {
            Ok(results) => Some(results.count().max(1)),
            Err(Errno::EAGAIN) => None,
            Err(error) => {
                let to = group.first().map(|(_, to)| to);
                tracing::trace!(%error, ?to, "a tunnel datagram was not sent");
                Some(1)
            }
        }
    }

    /// Takes what has come; nothing if nothing has.
    pub(super) fn receive(
        &self,
        buffers: &mut Buffers,
        messages: &mut Vec<Message>,
    ) -> io::Result<()> {
        while buffers.empty.len() < MAX_RECEIVED {
            buffers.empty.push(buffers.pool.get());
        }
        let received = match self.receive_into(&mut buffers.empty) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            received => received?,
        };
        let filled = buffers.empty.drain(..received.len());
        for (mut bytes, Filled { len, from, size }) in filled.zip(received) {
            bytes.truncate(len);
            let size = size.max(1);
            messages.extend(from.map(|from| Message { bytes, from, size }));
        }
        Ok(())
    }

    /// Fills buffers, from the first on.
    fn receive_into(&self, buffers: &mut [Packet]) -> io::Result<Vec<Filled>> {
        let mut headers =
            MultiHeaders::<SockaddrStorage>::preallocate(buffers.len(), Some(cmsg_space!(i32)));
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = buffers
            .iter_mut()
            .map(|buffer| [IoSliceMut::new(buffer)])
            .collect();
        let results = recvmmsg(
            self.0.as_raw_fd(),
            &mut headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        )?;
        let received = results.map(|message| {
            let size = message
                .cmsgs()
                .ok()
                .and_then(|mut messages| messages.find_map(|message| segment_size(&message)));
            Filled {
                len: message.bytes,
                from: message.address.and_then(address),
                size: size.unwrap_or(message.bytes),
            }
        });
        Ok(received.collect())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = RawSocket::new(
        Domain::for_address(address),
        Type::DGRAM.nonblocking().cloexec(),
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn segment_size(message: &ControlMessageOwned) -> Option<usize> {
    if let ControlMessageOwned::UdpGroSegments(size) = message {
        usize::try_from(*size).ok()
    } else {
        None
    }
}

/// The sender's address; a socket of both families shows IPv4's inside IPv6's.
fn address(storage: SockaddrStorage) -> Option<SocketAddr> {
    if let Some(address) = storage.as_sockaddr_in() {
        return Some(SocketAddr::from(*address));
    }
    let address = storage.as_sockaddr_in6()?;
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => Some((ip, address.port()).into()),
        IpAddr::V6(_) => Some(SocketAddr::from(*address)),
    }
}

#[cfg(test)]
mod tests;
