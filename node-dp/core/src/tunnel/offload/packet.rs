//! What of a packet inside the tunnel its carrier must know: from whom, to whom, and where it ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The protocol number of TCP.
pub(super) const TCP: u8 = 6;
/// The protocol number of UDP.
pub(super) const UDP: u8 = 17;

/// Bytes of an IPv4 header without options.
pub(super) const IPV4_LEN: usize = 20;
/// Bytes of an IPv6 header without extensions.
pub(super) const IPV6_LEN: usize = 40;
/// Bytes of a TCP header without options.
pub(super) const TCP_LEN: usize = 20;
/// Bytes of a UDP header.
pub(super) const UDP_LEN: usize = 8;

/// The addresses and the extent of an IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerPacket {
    /// From whom.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// Its bytes; WireGuard pads packets, and what follows is padding.
    pub len: usize,
}

/// The bytes are no IP packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseInnerError {
    /// Neither version 4 nor 6.
    #[error("not an IP packet")]
    NotIp,
    /// The header, or what the header says of the length, is longer than what there is, or shorter than a header.
    #[error("an IP packet that is cut off")]
    Truncated,
}

impl InnerPacket {
    /// Reads the IP header; extensions, options and payload are not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseInnerError> {
        let (packet, header_len) = match bytes.first().map(|first| first >> 4) {
            Some(4) => (parse_ipv4(bytes), IPV4_LEN),
            Some(6) => (parse_ipv6(bytes), IPV6_LEN),
            Some(_) | None => return Err(ParseInnerError::NotIp),
        };
        packet
            .filter(|packet| (header_len..=bytes.len()).contains(&packet.len))
            .ok_or(ParseInnerError::Truncated)
    }
}

fn parse_ipv4(bytes: &[u8]) -> Option<InnerPacket> {
    Some(InnerPacket {
        source: Ipv4Addr::from(chunk::<4>(bytes, 12)?).into(),
        destination: Ipv4Addr::from(chunk::<4>(bytes, 16)?).into(),
        len: usize::from(number(bytes, 2)?),
    })
}

fn parse_ipv6(bytes: &[u8]) -> Option<InnerPacket> {
    Some(InnerPacket {
        source: Ipv6Addr::from(chunk::<16>(bytes, 8)?).into(),
        destination: Ipv6Addr::from(chunk::<16>(bytes, 24)?).into(),
        len: IPV6_LEN + usize::from(number(bytes, 4)?),
    })
}

/// Some bytes of a header.
pub(super) fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// A number of two bytes of a header.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<u16> {
    chunk(bytes, at).map(u16::from_be_bytes)
}

/// Writes into a header; what does not fit is left out, and callers have checked that it fits.
pub(super) fn write<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *field = value;
    }
}
