//! A peer without a device and without offload: the protocol and a socket, so that tests see and make each datagram.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use gotatun::{
    noise::{Tunn, TunnResult, index_table::IndexTable, rate_limiter::RateLimiter},
    packet::{Packet, WgKind},
    x25519,
};
use node_dp_core::tunnel::offload::InnerPacket;

use super::net::{ATTEMPT, DEADLINE, Node, Pair, eventually};

/// The peer, in the place of the pair's second node.
pub(super) struct PlainPeer {
    protocol: Tunn,
    pub(super) socket: UdpSocket,
    to: SocketAddr,
    limiter: Arc<RateLimiter>,
}

impl PlainPeer {
    /// Takes the second node's place, with its key and address, and waits until the first has shaken hands.
    pub(super) fn instead_of_second(pair: &mut Pair) -> Self {
        pair.b.close_tunnel();
        let secret = pair.b.private_key().secret();
        let limiter = Arc::new(RateLimiter::new(&x25519::PublicKey::from(&secret), 100));
        let protocol = Tunn::new(
            secret,
            x25519::PublicKey::from(pair.a.public_key().0),
            None,
            None,
            IndexTable::from_os_rng(),
            Arc::clone(&limiter),
        );
        let mut peer = Self {
            protocol,
            socket: bind(&pair.b, 51872),
            to: SocketAddr::new(pair.a.underlay, 51872),
            limiter,
        };
        pair.a.configure_towards(&pair.b);
        peer.shake_hands();
        peer
    }

    /// Answers the node, which calls a peer as soon as it has one. Were both to call, the kernel's WireGuard would keep one of
    /// the two sessions and this end might send in the other.
    fn shake_hands(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.protocol.time_since_last_handshake().is_none() {
            assert!(Instant::now() < deadline, "no handshake");
            self.receive();
        }
    }

    /// The datagram that carries an inner packet.
    pub(super) fn seal(&mut self, inner: &[u8]) -> Vec<u8> {
        let packet = Packet::from_bytes(BytesMut::from(inner));
        let sealed = self.protocol.encapsulate_with_session(packet);
        let Ok(datagram) = sealed else {
            panic!("there is no session");
        };
        Packet::from(WgKind::Data(datagram)).to_vec()
    }

    /// Sends bytes as a datagram.
    pub(super) fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.to).unwrap();
    }

    /// Sends an inner packet.
    pub(super) fn send_inner(&mut self, inner: &[u8]) {
        let datagram = self.seal(inner);
        self.send(&datagram);
    }

    /// The next inner packet, as it came: with its padding. `None` if none comes for a while.
    pub(super) fn receive(&mut self) -> Option<Vec<u8>> {
        let deadline = Instant::now() + ATTEMPT;
        let mut buffer = [0; 65_536];
        while Instant::now() < deadline {
            let Ok((len, from)) = self.socket.recv_from(&mut buffer) else {
                return None;
            };
            let datagram = Packet::from_bytes(BytesMut::from(&buffer[..len]));
            let Ok(message) = self.limiter.verify_packet(from, datagram) else {
                continue;
            };
            match self.protocol.handle_incoming_packet(message) {
                TunnResult::WriteToNetwork(reply) => self.send(&Packet::from(reply)),
                TunnResult::WriteToTunnel(packet) if !packet.is_empty() => {
                    return Some(packet.to_vec());
                }
                TunnResult::WriteToTunnel(_) | TunnResult::Done | TunnResult::Err(_) => {}
            }
        }
        None
    }

    /// The next inner packet to an address of a protocol, cut to its length.
    pub(super) fn receive_of(&mut self, protocol: u8, to: IpAddr) -> Vec<u8> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            assert!(Instant::now() < deadline, "no packet came");
            if let Some(mut packet) = self.receive() {
                let inner = InnerPacket::parse(&packet).unwrap();
                let found = packet[if to.is_ipv4() { 9 } else { 6 }];
                if inner.destination == to && found == protocol {
                    packet.truncate(inner.len);
                    return packet;
                }
            }
        }
    }

    /// Goes on from another port.
    pub(super) fn roam(&mut self, node: &Node, port: u16) {
        self.socket = bind(node, port);
    }
}

fn bind(node: &Node, port: u16) -> UdpSocket {
    let address = SocketAddr::new(node.underlay, port);
    let socket = node.inside(move || {
        let mut socket = None;
        // The port may outlive its owner in a program that another test is just starting.
        eventually(DEADLINE, || {
            socket = UdpSocket::bind(address).ok();
            socket.is_some().then_some(())
        });
        socket.unwrap()
    });
    socket.set_read_timeout(Some(ATTEMPT)).unwrap();
    socket
}

/// An IP packet of a protocol, with the checksum of its transport at `checksum_at`.
pub(super) fn packet(
    (from, to): (IpAddr, IpAddr),
    protocol: u8,
    mut transport: Vec<u8>,
    checksum_at: usize,
) -> Vec<u8> {
    let len = transport.len() as u16;
    let (mut ip, addresses) = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let addresses = [from.octets(), to.octets()].concat();
            let [a, b] = (20 + len).to_be_bytes();
            let ip = vec![0x45, 0, a, b, 0, 1, 0x40, 0, 64, protocol, 0, 0];
            (ip, addresses)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [a, b] = len.to_be_bytes();
            let addresses = [from.octets(), to.octets()].concat();
            (vec![0x60, 0, 0, 0, a, b, protocol, 64], addresses)
        }
        _ => panic!("addresses of two families"),
    };
    ip.extend(&addresses);
    if from.is_ipv4() {
        let checksum = checksum(&[&ip]);
        ip[10..12].copy_from_slice(&checksum);
    }
    let sum = checksum(&[&addresses, &[0, protocol], &len.to_be_bytes(), &transport]);
    transport[checksum_at..checksum_at + 2].copy_from_slice(&sum);
    [ip, transport].concat()
}

/// A datagram inside the tunnel.
pub(super) fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut transport = Vec::new();
    transport.extend(from.port().to_be_bytes());
    transport.extend(to.port().to_be_bytes());
    transport.extend((8 + payload.len() as u16).to_be_bytes());
    transport.extend([0, 0]);
    transport.extend(payload);
    packet((from.ip(), to.ip()), 17, transport, 6)
}

/// Whether the checksums of a packet of TCP or UDP are right.
pub(super) fn is_whole(packet: &[u8]) -> bool {
    let (ip_len, addresses, protocol) = match packet[0] >> 4 {
        4 => (20, &packet[12..20], packet[9]),
        _ => (40, &packet[8..40], packet[6]),
    };
    let transport = &packet[ip_len..];
    let len = (transport.len() as u16).to_be_bytes();
    let is_header_whole = ip_len == 40 || checksum(&[&packet[..20]]) == [0, 0];
    is_header_whole && checksum(&[addresses, &[0, protocol], &len, transport]) == [0, 0]
}

/// The checksum of pieces of which only the last may be odd.
fn checksum(pieces: &[&[u8]]) -> [u8; 2] {
    let mut sum = 0_u32;
    for pair in pieces.iter().flat_map(|piece| piece.chunks(2)) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}
