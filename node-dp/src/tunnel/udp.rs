//! The UDP socket of the embedded WireGuard, which outlives what networks do.
//!
//! A cut network answers sends with errors such as EHOSTUNREACH. They are the end of one packet: neither of the socket
//! nor of the packets to other peers in the same batch.

use std::{
    io::{self, IoSlice},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use gotatun::{
    packet::{Packet, PacketBufPool},
    udp::{
        UdpRecv, UdpSend, UdpTransportFactory, UdpTransportFactoryParams,
        socket::{SockOpt, UdpSocket},
    },
};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg, setsockopt, sockopt};
use tokio::io::Interest;

/// Room for bursts: 4 MiB hold what 10 Gbit/s bring in 3 ms, about as long as a busy core keeps the agent waiting.
const BUFFER_BYTES: usize = 4 << 20;

/// Packets per system call: the spread of a call's cost flattens out beyond.
const MAX_BATCH: usize = 64;

/// How long to wait after a failed receive, so that a socket that stays broken does not burn a core.
const RECEIVE_RETRY: Duration = Duration::from_millis(10);

/// Binds the sockets.
#[derive(Debug, Default)]
pub(super) struct Factory;

/// A bound socket; clones share it.
#[derive(Clone)]
pub(super) struct Socket(UdpSocket);

impl UdpTransportFactory for Factory {
    type Send = Socket;
    type Recv = Socket;

    async fn bind(&mut self, params: &UdpTransportFactoryParams) -> io::Result<(Socket, Socket)> {
        let opts = SockOpt {
            fwmark: params.fwmark,
            only_v6: Some(false),
            ..SockOpt::default()
        };
        let any = params.addr.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let bound = match UdpSocket::bind((any, params.port).into(), opts) {
            // A kernel without IPv6.
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                UdpSocket::bind((Ipv4Addr::UNSPECIFIED, params.port).into(), opts)
            }
            bound => bound,
        };
        let socket = Socket(bound?);
        socket.tune();
        Ok((socket.clone(), socket))
    }
}

impl Socket {
    /// Asks for what makes it faster; it works without.
    fn tune(&self) {
        let socket = self.0.as_fd();
        let tuned = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)
            .and_then(|()| setsockopt(&socket, sockopt::SndBufForce, &BUFFER_BYTES));
        if let Err(error) = tuned {
            tracing::debug!(%error, "the tunnel's socket keeps its default buffers");
        }
        if let Err(error) = self.0.enable_udp_gro() {
            tracing::debug!(%error, "the tunnel's socket receives without offload");
        }
    }

    /// Sends a prefix of the batch, at least one packet of it; answers its length.
    async fn send_some(&self, batch: &[(Packet, SocketAddr)]) -> io::Result<usize> {
        let buffers: Vec<[IoSlice<'_>; 1]> = batch
            .iter()
            .map(|(packet, _)| [IoSlice::new(packet)])
            .collect();
        let targets: Vec<Option<SockaddrStorage>> = batch
            .iter()
            .map(|(_, target)| Some(SockaddrStorage::from(*target)))
            .collect();
        let socket = self.0.socket();
        let send = || {
            let mut headers = MultiHeaders::preallocate(buffers.len(), None);
            let results = sendmmsg(
                socket.as_raw_fd(),
                &mut headers,
                &buffers,
                &targets,
                [],
                MsgFlags::MSG_DONTWAIT,
            )?;
            Ok(results.count())
        };
        socket.async_io(Interest::WRITABLE, send).await
    }
}

impl UdpSend for Socket {
    type SendManyBuf = ();

    async fn send_to(&self, packet: Packet, destination: SocketAddr) -> io::Result<()> {
        if let Err(error) = self.0.send_to(packet, destination).await {
            tracing::trace!(%error, %destination, "a tunnel packet was not sent");
        }
        Ok(())
    }

    fn max_number_of_packets_to_send(&self) -> usize {
        MAX_BATCH
    }

    async fn send_many_to(
        &self,
        _: &mut Self::SendManyBuf,
        packets: &mut Vec<(Packet, SocketAddr)>,
    ) -> io::Result<()> {
        let mut rest = packets.as_slice();
        while let Some((_, destination)) = rest.first() {
            let passed = match self.send_some(rest).await {
                Ok(sent) => sent.max(1),
                Err(error) => {
                    tracing::trace!(%error, %destination, "a tunnel packet was not sent");
                    1
                }
            };
            rest = rest.get(passed..).unwrap_or_default();
        }
        packets.clear();
        Ok(())
    }

    fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        self.0.local_addr().map(Some)
    }

    fn set_fwmark(&self, mark: u32) -> io::Result<()> {
        self.0.set_fwmark(mark)
    }
}

impl UdpRecv for Socket {
    type RecvManyBuf = <UdpSocket as UdpRecv>::RecvManyBuf;

    async fn recv_from(&mut self, pool: &mut PacketBufPool) -> io::Result<(Packet, SocketAddr)> {
        loop {
            match self.0.recv_from(pool).await {
                Ok(received) => return Ok(received),
                Err(error) => after_failed_receive(&error).await,
            }
        }
    }

    async fn recv_many_from(
        &mut self,
        recv_buf: &mut Self::RecvManyBuf,
        pool: &mut PacketBufPool,
        packets: &mut Vec<(Packet, SocketAddr)>,
    ) -> io::Result<()> {
        loop {
            match self.0.recv_many_from(recv_buf, pool, packets).await {
                Ok(()) => return Ok(()),
                Err(error) => after_failed_receive(&error).await,
            }
        }
    }
}

async fn after_failed_receive(error: &io::Error) {
    tracing::debug!(%error, "the tunnel's socket failed to receive");
    tokio::time::sleep(RECEIVE_RETRY).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_packet_that_cannot_be_sent_takes_none_of_its_batch_with_it() {
        let receiver = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let good = receiver.local_addr().unwrap();
        // The kernel refuses broadcasts of sockets that did not ask for them.
        let bad = SocketAddr::from((Ipv4Addr::BROADCAST, 9));
        let socket = bound().await;
        let mut batch: Vec<(Packet, SocketAddr)> = [bad, good, bad, bad, good, bad]
            .into_iter()
            .zip(0..)
            .map(|(to, number)| (packet(&[number]), to))
            .collect();

        socket.send_many_to(&mut (), &mut batch).await.unwrap();

        assert!(batch.is_empty());
        assert_eq!(received(&receiver).await, [1]);
        assert_eq!(received(&receiver).await, [4]);
    }

    #[tokio::test]
    async fn a_packet_that_cannot_be_sent_is_no_error_of_the_socket() {
        let socket = bound().await;

        let sent = socket.send_to(packet(b"x"), (Ipv4Addr::BROADCAST, 9).into());

        assert!(sent.await.is_ok());
    }

    #[tokio::test]
    async fn packets_of_both_families_arrive_with_their_own_addresses() {
        let mut socket = bound().await;
        let port = socket.local_addr().unwrap().unwrap().port();
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            let sender = tokio::net::UdpSocket::bind((address, 0)).await.unwrap();
            sender.send_to(b"hello", (address, port)).await.unwrap();

            let mut packets = Vec::new();
            let mut buffers = Default::default();
            let mut pool = PacketBufPool::new(4);
            socket
                .recv_many_from(&mut buffers, &mut pool, &mut packets)
                .await
                .unwrap();

            let (packet, from) = packets.first().unwrap();
            assert_eq!(&packet[..], b"hello");
            assert_eq!(*from, sender.local_addr().unwrap());
        }
    }

    async fn bound() -> Socket {
        let params = UdpTransportFactoryParams {
            addr: None,
            port: 0,
            fwmark: None,
        };
        Factory.bind(&params).await.unwrap().0
    }

    fn packet(bytes: &[u8]) -> Packet {
        let mut packet = PacketBufPool::<64>::new(1).get();
        packet.truncate(bytes.len());
        packet.copy_from_slice(bytes);
        packet
    }

    async fn received(socket: &tokio::net::UdpSocket) -> Vec<u8> {
        let mut buffer = [0; 16];
        let received = socket.recv_from(&mut buffer);
        let limit = Duration::from_secs(5);
        let (length, _) = tokio::time::timeout(limit, received)
            .await
            .unwrap()
            .unwrap();
        buffer[..length].to_vec()
    }
}
