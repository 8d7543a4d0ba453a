//! Packets for the tests, with checksums computed the plain way.

use super::super::{Gso, GsoKind, PartialChecksum, VnetHeader};

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// A packet to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Build {
    pub(super) family: Family,
    pub(super) is_tcp: bool,
    pub(super) host: u8,
    pub(super) port: u16,
    pub(super) class: u8,
    pub(super) hops: u8,
    pub(super) id: u16,
    /// IPv4's flags and offset.
    pub(super) fragment: u16,
    pub(super) ip_options: Vec<u8>,
    /// IPv6's extension header, whose first byte is the next protocol.
    pub(super) extension: Vec<u8>,
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) urgent: u16,
    pub(super) options: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const URG: u8 = 0x20;
pub(super) const ECE: u8 = 0x40;
pub(super) const CWR: u8 = 0x80;
pub(super) const DONT_FRAGMENT: u16 = 0x4000;
pub(super) const MORE_FRAGMENTS: u16 = 0x2000;

/// Two no-operations and a timestamp.
pub(super) const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9];

impl Build {
    pub(super) fn tcp(family: Family) -> Self {
        Self {
            family,
            is_tcp: true,
            host: 1,
            port: 5001,
            class: 0,
            hops: 64,
            id: 0x1234,
            fragment: DONT_FRAGMENT,
            ip_options: Vec::new(),
            extension: Vec::new(),
            sequence: 0xffff_ff00,
            acknowledged: 77,
            flags: ACK,
            window: 501,
            urgent: 0,
            options: TIMESTAMPS.to_vec(),
            payload: Vec::new(),
        }
    }

    pub(super) fn udp(family: Family) -> Self {
        Self {
            is_tcp: false,
            ..Self::tcp(family)
        }
    }

    /// Gives it that many bytes, none of them like its neighbours.
    pub(super) fn payload(mut self, len: usize) -> Self {
        self.payload = (0..len).map(|at| (at * 7 + at / 256) as u8).collect();
        self
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The packet that a sender would send after it.
    pub(super) fn next(&self) -> Self {
        let mut next = self.clone();
        next.sequence = next.sequence.wrapping_add(self.payload.len() as u32);
        next.id = next.id.wrapping_add(1);
        next
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = vec![0x13, 0x88];
        bytes.extend(self.port.to_be_bytes());
        if self.is_tcp {
            bytes.extend(self.sequence.to_be_bytes());
            bytes.extend(self.acknowledged.to_be_bytes());
            bytes.extend([(((20 + self.options.len()) / 4) << 4) as u8, self.flags]);
            bytes.extend(self.window.to_be_bytes());
            bytes.extend([0, 0]);
            bytes.extend(self.urgent.to_be_bytes());
            bytes.extend(&self.options);
        } else {
            bytes.extend((8 + self.payload.len() as u16).to_be_bytes());
            bytes.extend([0, 0]);
        }
        bytes.extend(&self.payload);
        bytes
    }

    fn protocol(&self) -> u8 {
        if self.is_tcp { 6 } else { 17 }
    }

    fn ip(&self, transport_len: usize) -> Vec<u8> {
        match self.family {
            Family::V4 => {
                let len = 20 + self.ip_options.len();
                let mut bytes = vec![0x40 | (len / 4) as u8, self.class];
                bytes.extend(((len + transport_len) as u16).to_be_bytes());
                bytes.extend(self.id.to_be_bytes());
                bytes.extend(self.fragment.to_be_bytes());
                bytes.extend([self.hops, self.protocol(), 0, 0]);
                bytes.extend([10, 1, 0, self.host, 10, 2, 0, 1]);
                bytes.extend(&self.ip_options);
                let checksum = naive_checksum(&[&bytes]);
                bytes[10..12].copy_from_slice(&checksum);
                bytes
            }
            Family::V6 => {
                let mut bytes = vec![0x60 | self.class >> 4, self.class << 4 | 0x0a, 0xbc, 0xde];
                let len = self.extension.len() + transport_len;
                bytes.extend((len as u16).to_be_bytes());
                let next = if self.extension.is_empty() {
                    self.protocol()
                } else {
                    60
                };
                bytes.extend([next, self.hops]);
                for last in [self.host, 99] {
                    bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
                }
                bytes.extend(&self.extension);
                bytes
            }
        }
    }

    fn pseudo(&self, transport_len: usize) -> Vec<u8> {
        let ip = self.ip(transport_len);
        let mut bytes = match self.family {
            Family::V4 => ip[12..20].to_vec(),
            Family::V6 => ip[8..40].to_vec(),
        };
        bytes.extend([0, self.protocol()]);
        bytes.extend((transport_len as u16).to_be_bytes());
        bytes
    }

    fn checksum_at(&self) -> usize {
        if self.is_tcp { 16 } else { 6 }
    }

    /// The packet as a sender sends it.
    pub(super) fn packet(&self) -> Vec<u8> {
        let mut transport = self.transport();
        let pseudo = self.pseudo(transport.len());
        let checksum = match naive_checksum(&[&pseudo, &transport]) {
            [0, 0] => [0xff, 0xff],
            checksum => checksum,
        };
        let at = self.checksum_at();
        transport[at..at + 2].copy_from_slice(&checksum);
        [self.ip(transport.len()), transport].concat()
    }

    /// The packet as the kernel passes it on, its checksum begun, to be cut into parts of so many bytes if at all.
    pub(super) fn super_packet(&self, size: Option<u16>) -> (VnetHeader, Vec<u8>) {
        let mut transport = self.transport();
        let [a, b] = naive_checksum(&[&self.pseudo(transport.len())]);
        let at = self.checksum_at();
        transport[at..at + 2].copy_from_slice(&[!a, !b]);
        let ip = self.ip(transport.len());
        let kind = match (self.is_tcp, self.family) {
            (false, _) => GsoKind::Udp,
            (true, Family::V4) => GsoKind::Tcp4,
            (true, Family::V6) => GsoKind::Tcp6,
        };
        let headers = ip.len() + transport.len() - self.payload.len();
        let vnet = VnetHeader {
            gso: size.map(|size| Gso { kind, size }),
            checksum: Some(PartialChecksum {
                start: ip.len() as u16,
                offset: at as u16,
            }),
            headers_len: headers as u16,
        };
        (vnet, [ip, transport].concat())
    }
}

/// The checksum as RFC 1071 describes it, sixteen bits at a time, of pieces of which only the last may be odd.
pub(super) fn naive_checksum(pieces: &[&[u8]]) -> [u8; 2] {
    let mut sum = 0_u64;
    for piece in pieces {
        for pair in piece.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u64::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// Panics if a packet of TCP or UDP behind a plain IP header (or extensions of so many bytes) has a wrong checksum or length.
pub(super) fn verify(packet: &[u8], extension_len: usize) {
    let length = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let (ip_len, addresses, protocol) = match packet[0] >> 4 {
        4 => {
            let ip_len = usize::from(packet[0] & 0xf) * 4;
            assert_eq!(length(2), packet.len());
            assert_eq!(naive_checksum(&[&packet[..ip_len]]), [0, 0], "IPv4 header");
            (ip_len, &packet[12..20], packet[9])
        }
        _ => {
            assert_eq!(length(4) + 40, packet.len());
            let protocol = packet[if extension_len > 0 { 40 } else { 6 }];
            (40 + extension_len, &packet[8..40], protocol)
        }
    };
    let transport = &packet[ip_len..];
    let mut pseudo = addresses.to_vec();
    pseudo.extend([0, protocol]);
    pseudo.extend((transport.len() as u16).to_be_bytes());
    assert_eq!(naive_checksum(&[&pseudo, transport]), [0, 0], "transport");
    if protocol == 17 {
        assert_eq!(length(ip_len + 4), transport.len());
        assert_ne!(transport[6..8], [0, 0], "a UDP checksum of zero is none");
    }
}
