//! Builds packets.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpHeaders, Ipv4Header, Ipv6Header, PacketBuilder, PacketBuilderStep, ip_number};
use node_dp_common::{Tuple, conntrack::TcpFlags};

use crate::fixture::{TCP, UDP, address};

/// The link addresses that packets come from, and go to.
pub(super) const HERE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THERE: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// What the senders of these packets set.
pub(super) const HOPS: u8 = 61;
const SEQUENCE: u32 = 1_000_000;
const ACKNOWLEDGED: u32 = 2_000_000;

/// A packet to be built.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) protocol: u8,
    pub(super) flags: u8,
    pub(super) hops: u8,
    pub(super) payload: &'static [u8],
}

/// A segment with flags.
pub(super) fn tcp(from: &str, to: &str, flags: u8) -> Packet {
    Packet {
        from: address(from),
        to: address(to),
        protocol: TCP,
        flags,
        hops: HOPS,
        payload: b"",
    }
}

/// A datagram.
pub(super) fn udp(from: &str, to: &str) -> Packet {
    Packet {
        from: address(from),
        to: address(to),
        protocol: UDP,
        flags: 0,
        hops: HOPS,
        payload: b"what is the time",
    }
}

impl Packet {
    /// The same with other ends.
    pub(super) fn between(self, from: SocketAddr, to: SocketAddr) -> Self {
        Self { from, to, ..self }
    }

    /// One of the other direction.
    pub(super) fn reply(self) -> Self {
        self.between(self.to, self.from)
    }

    /// The same with other flags.
    pub(super) fn flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    /// The same with other hops to go.
    pub(super) fn hops(self, hops: u8) -> Self {
        Self { hops, ..self }
    }

    /// The same with another payload.
    pub(super) fn payload(self, payload: &'static [u8]) -> Self {
        Self { payload, ..self }
    }

    pub(super) fn tuple(&self) -> Tuple {
        Tuple {
            source: self.from.ip().into(),
            destination: self.to.ip().into(),
            source_port: self.from.port().into(),
            destination_port: self.to.port().into(),
        }
    }

    /// The bytes on the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let link = PacketBuilder::ethernet2(THERE, HERE);
        self.transport(link.ip(self.ip()))
    }

    fn ip(&self) -> IpHeaders {
        match headers(self.from.ip(), self.to.ip()) {
            IpHeaders::Ipv4(mut header, extensions) => {
                header.time_to_live = self.hops;
                IpHeaders::Ipv4(header, extensions)
            }
            IpHeaders::Ipv6(mut header, extensions) => {
                header.hop_limit = self.hops;
                IpHeaders::Ipv6(header, extensions)
            }
        }
    }

    /// The bytes from the IP header on.
    pub(super) fn ip_bytes(&self) -> Vec<u8> {
        self.bytes().split_off(14)
    }

    fn transport(&self, ip: PacketBuilderStep<IpHeaders>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (from, to) = (self.from.port(), self.to.port());
        if self.protocol == UDP {
            ip.udp(from, to).write(&mut bytes, self.payload).unwrap();
            return bytes;
        }
        let mut segment = ip.tcp(from, to, SEQUENCE, 512);
        for (flag, set) in [
            (TcpFlags::FIN, PacketBuilderStep::fin as fn(_) -> _),
            (TcpFlags::SYN, PacketBuilderStep::syn),
            (TcpFlags::RST, PacketBuilderStep::rst),
        ] {
            if self.flags & flag != 0 {
                segment = set(segment);
            }
        }
        if self.flags & TcpFlags::ACK != 0 {
            segment = segment.ack(ACKNOWLEDGED);
        }
        segment.write(&mut bytes, self.payload).unwrap();
        bytes
    }
}

/// IP headers between two addresses of one family.
pub(super) fn headers(from: IpAddr, to: IpAddr) -> IpHeaders {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = Ipv4Header::new(0, HOPS, ip_number::TCP, from.octets(), to.octets());
            IpHeaders::Ipv4(header.unwrap(), etherparse::Ipv4Extensions::default())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                hop_limit: HOPS,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv6Header::default()
            };
            IpHeaders::Ipv6(header, etherparse::Ipv6Extensions::default())
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            panic!("{from} and {to} are of two families")
        }
    }
}
