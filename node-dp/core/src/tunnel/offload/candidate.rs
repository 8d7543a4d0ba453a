//! What decides whether a packet may be merged with those before it.

use super::{
    checksum::{Sum, pseudo_header},
    packet::{IPV4_LEN, IPV6_LEN, TCP, TCP_LEN, UDP, UDP_LEN, chunk, number},
    vnet::GsoKind,
};

const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_ACK: u8 = 0x10;
const TCP_ECE: u8 = 0x40;

/// The flag of IPv4's third word that says not to fragment.
const DONT_FRAGMENT: u16 = 0x4000;
/// IPv4's flags and offset that only fragments have.
const FRAGMENT: u16 = 0x3fff;

/// The flow of a packet: its addresses, ports and protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FlowKey {
    /// Source and destination port.
    ports: [u8; 4],
    /// Source and destination; IPv4's stand in front, and zeros behind.
    addresses: [u8; 32],
    protocol: u8,
    version: u8,
}

/// A packet of TCP or UDP with plain headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) key: FlowKey,
    pub(super) kind: GsoKind,
    pub(super) ip_len: usize,
    transport_header_len: usize,
    pub(super) payload_len: usize,
    /// Whether it may be part of a super-packet at all.
    pub(super) is_mergeable: bool,
    /// Whether nothing may follow it in one: it ends a write, or the stream.
    is_ending: bool,
    /// IPv4's identification where it means something: where fragmenting is allowed.
    id: Option<u16>,
    sequence: u32,
    pub(super) tcp_flags: u8,
}

/// What the IP header says.
struct Ip {
    key_version: u8,
    protocol: u8,
    header_len: usize,
    addresses: [u8; 32],
    id: Option<u16>,
}

impl Candidate {
    /// Reads a packet that ends with the bytes; `None` for what is neither TCP nor UDP right behind a plain IP header.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let ip = Ip::read(packet)?;
        let transport = packet.get(ip.header_len..)?;
        let key = FlowKey {
            ports: chunk(transport, 0)?,
            addresses: ip.addresses,
            protocol: ip.protocol,
            version: ip.key_version,
        };
        match ip.protocol {
            TCP => Self::read_tcp(&ip, key, transport),
            UDP => Self::read_udp(&ip, key, transport),
            _ => None,
        }
    }

    fn read_tcp(ip: &Ip, key: FlowKey, transport: &[u8]) -> Option<Self> {
        let [offset, flags] = chunk(transport, 12)?;
        let header_len = usize::from(offset >> 4) * 4;
        let payload_len = transport.len().checked_sub(header_len)?;
        let is_plain = flags & !(TCP_PSH | TCP_FIN | TCP_ECE) == TCP_ACK;
        Some(Self {
            key,
            kind: if ip.key_version == 4 {
                GsoKind::Tcp4
            } else {
                GsoKind::Tcp6
            },
            ip_len: ip.header_len,
            transport_header_len: header_len,
            payload_len,
            is_mergeable: is_plain && header_len >= TCP_LEN && payload_len > 0,
            is_ending: flags & (TCP_PSH | TCP_FIN) != 0,
            id: ip.id,
            sequence: u32::from_be_bytes(chunk(transport, 4)?),
            tcp_flags: flags,
        })
    }

    fn read_udp(ip: &Ip, key: FlowKey, transport: &[u8]) -> Option<Self> {
        let payload_len = transport.len().checked_sub(UDP_LEN)?;
        let is_all = usize::from(number(transport, 4)?) == transport.len();
        let has_checksum = number(transport, 6)? != 0;
        Some(Self {
            key,
            kind: GsoKind::Udp,
            ip_len: ip.header_len,
            transport_header_len: UDP_LEN,
            payload_len,
            is_mergeable: is_all && has_checksum && payload_len > 0,
            is_ending: false,
            id: ip.id,
            sequence: 0,
            tcp_flags: 0,
        })
    }

    /// Whether it is the packet that a cut would make after `last`, in a super-packet that begins with `first`.
    ///
    /// All of them are mergeable and of one flow.
    pub(super) fn follows(
        &self,
        packet: &[u8],
        last: &Self,
        first: &Self,
        first_packet: &[u8],
    ) -> bool {
        let is_next_id = match (last.id, self.id) {
            (Some(last), Some(next)) => last.wrapping_add(1) == next,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let is_next = is_next_id
            && !last.is_ending
            && last.payload_len == first.payload_len
            && self.payload_len <= first.payload_len
            && self.transport_header_len == first.transport_header_len;
        is_next
            && self.has_same_ip(packet, first_packet)
            && match self.kind {
                GsoKind::Tcp4 | GsoKind::Tcp6 => self.has_same_tcp(packet, last, first_packet),
                GsoKind::Udp => true,
            }
    }

    /// Whether the IP headers agree in what a cut copies; addresses and protocol are the flow's.
    fn has_same_ip(&self, packet: &[u8], first: &[u8]) -> bool {
        let same = |from: usize, to: usize| packet.get(from..to) == first.get(from..to);
        if self.is_ipv4() {
            // Traffic class; fragmenting; time to live.
            same(1, 2) && same(6, 9)
        } else {
            // Traffic class and flow label; hop limit.
            same(0, 4) && same(7, 8)
        }
    }

    fn has_same_tcp(&self, packet: &[u8], last: &Self, first: &[u8]) -> bool {
        // A payload is shorter than an IP packet, which is shorter than 2^32.
        let next_sequence = last.sequence.wrapping_add(last.payload_len as u32);
        let mask = !(TCP_PSH | TCP_FIN);
        let at = self.ip_len;
        let same = |from: usize, to: usize| {
            packet.get(at + from..at + to) == first.get(at + from..at + to)
        };
        self.sequence == next_sequence
            && self.tcp_flags & mask == last.tcp_flags & mask
            // Acknowledgement and length; window; urgent pointer and options.
            && same(8, 13)
            && same(14, 16)
            && same(18, self.transport_header_len)
    }

    /// Whether its checksums are right.
    pub(super) fn is_whole(&self, packet: &[u8]) -> bool {
        let Some((header, transport)) = packet.split_at_checked(self.ip_len) else {
            return false;
        };
        let Ok(length) = u16::try_from(transport.len()) else {
            return false;
        };
        let is_header_whole = !self.is_ipv4() || Sum::default().bytes(header).is_whole();
        is_header_whole && self.pseudo(packet, length).bytes(transport).is_whole()
    }

    /// The sum of the pseudo header for so many bytes of transport.
    pub(super) fn pseudo(&self, packet: &[u8], transport_len: u16) -> Sum {
        let from = if self.is_ipv4() { 12 } else { 8 };
        let addresses = packet.get(from..self.ip_len).unwrap_or_default();
        pseudo_header(addresses, self.key.protocol, transport_len)
    }

    pub(super) fn is_ipv4(&self) -> bool {
        self.key.version == 4
    }

    /// Bytes of all headers.
    pub(super) fn headers_len(&self) -> usize {
        self.ip_len + self.transport_header_len
    }
}

impl Ip {
    fn read(packet: &[u8]) -> Option<Self> {
        match packet.first()? {
            // Version 4 with the five words of a header without options.
            0x45 => Self::read_ipv4(packet),
            first if first >> 4 == 6 => Self::read_ipv6(packet),
            _ => None,
        }
    }

    fn read_ipv4(packet: &[u8]) -> Option<Self> {
        let fragment = number(packet, 6)?;
        if fragment & FRAGMENT != 0 || usize::from(number(packet, 2)?) != packet.len() {
            return None;
        }
        let mut addresses = [0; 32];
        addresses
            .first_chunk_mut::<8>()?
            .copy_from_slice(&chunk::<8>(packet, 12)?);
        let id = number(packet, 4)?;
        Some(Self {
            key_version: 4,
            protocol: *packet.get(9)?,
            header_len: IPV4_LEN,
            addresses,
            // What is never fragmented needs no identification, and some senders give all the same (RFC 6864).
            id: (fragment & DONT_FRAGMENT == 0).then_some(id),
        })
    }

    fn read_ipv6(packet: &[u8]) -> Option<Self> {
        if IPV6_LEN + usize::from(number(packet, 4)?) != packet.len() {
            return None;
        }
        Some(Self {
            key_version: 6,
            protocol: *packet.get(6)?,
            header_len: IPV6_LEN,
            addresses: chunk(packet, 8)?,
            id: None,
        })
    }
}
