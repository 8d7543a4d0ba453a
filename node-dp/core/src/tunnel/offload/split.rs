//! Cuts a super-packet of the kernel into the packets that it stands for.
//!
//! The packets are those that the kernel or a network card would have made: the flags that end a stream on the last one
//! only, the flag that answers congestion on the first one only, consecutive IPv4 identifications, whole checksums.

use super::{
    checksum::Sum,
    packet::{IPV4_LEN, IPV6_LEN, TCP_LEN, UDP_LEN, chunk, number, write},
    vnet::{Gso, GsoKind, PartialChecksum, VnetHeader},
};

/// The flags FIN and PSH, which belong to the end of the payload.
const TCP_ENDING: u8 = 0x01 | 0x08;
/// The flag CWR, which is said once.
const TCP_CWR: u8 = 0x80;

/// Why what came from the device cannot be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A checksum field that lies outside the packet.
    #[error("a checksum at {start}+{offset} in a packet of {len} bytes")]
    ChecksumOutside {
        /// Where the covered bytes begin.
        start: u16,
        /// Where the field stands, from there.
        offset: u16,
        /// Bytes of the packet.
        len: usize,
    },
    /// A super-packet that does not say where its transport header begins.
    #[error("a super-packet without the start of its checksum")]
    NoTransport,
    /// A super-packet with parts of no bytes.
    #[error("a super-packet with parts of no bytes")]
    NoSize,
    /// A super-packet whose headers are not what its kind asks for.
    #[error("a super-packet of {0:?} whose headers are malformed")]
    Malformed(GsoKind),
}

/// One packet: its headers and the payload behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The headers; empty for a packet that was not cut.
    pub headers: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
}

impl Segment<'_> {
    /// Bytes of the packet.
    pub fn len(&self) -> usize {
        self.headers.len() + self.payload.len()
    }

    /// Whether there are no bytes, which no packet has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The packets of a super-packet, one after the other.
#[derive(Debug)]
pub struct Segments<'a> {
    headers: &'a mut [u8],
    payload: &'a [u8],
    cut: Option<Cut>,
    /// How many were given out.
    index: u16,
    is_done: bool,
}

/// What stays the same from packet to packet.
#[derive(Debug, Clone, Copy)]
struct Cut {
    kind: GsoKind,
    is_ipv4: bool,
    size: usize,
    /// Where the transport header begins.
    transport: usize,
    /// The sum of the pseudo header without its length.
    pseudo: Sum,
    first_id: u16,
    first_sequence: u32,
    tcp_flags: u8,
}

/// Cuts what the device gave, or completes the checksum of what needs no cut.
pub fn split<'a>(vnet: &VnetHeader, packet: &'a mut [u8]) -> Result<Segments<'a>, SplitError> {
    let Some(gso) = vnet.gso else {
        if let Some(checksum) = vnet.checksum {
            complete(packet, checksum)?;
        }
        return Ok(Segments {
            headers: &mut [],
            payload: packet,
            cut: None,
            index: 0,
            is_done: false,
        });
    };
    let checksum = vnet.checksum.ok_or(SplitError::NoTransport)?;
    let malformed = SplitError::Malformed(gso.kind);
    if gso.size == 0 {
        return Err(SplitError::NoSize);
    }
    let (cut, headers_len) = Cut::read(packet, gso, checksum).ok_or(malformed)?;
    let (headers, payload) = packet.split_at_mut_checked(headers_len).ok_or(malformed)?;
    Ok(Segments {
        headers,
        payload,
        cut: Some(cut),
        index: 0,
        is_done: false,
    })
}

impl Segments<'_> {
    /// An upper bound for the bytes of all packets that are left.
    pub fn max_bytes(&self) -> usize {
        let count = self
            .cut
            .map_or(1, |cut| self.payload.len() / cut.size.max(1) + 1);
        self.payload.len() + count * self.headers.len()
    }

    /// The next packet.
    pub fn next_segment(&mut self) -> Option<Segment<'_>> {
        if self.is_done {
            return None;
        }
        let Some(cut) = self.cut else {
            self.is_done = true;
            return Some(Segment {
                headers: &[],
                payload: self.payload,
            });
        };
        let (payload, rest) = self
            .payload
            .split_at_checked(cut.size)
            .unwrap_or((self.payload, &[]));
        self.payload = rest;
        self.is_done = rest.is_empty();
        cut.write_headers(self.headers, payload, self.index, self.is_done);
        self.index = self.index.wrapping_add(1);
        Some(Segment {
            headers: self.headers,
            payload,
        })
    }
}

impl Cut {
    /// What the headers say, and their length; `None` if they are not the kind's.
    fn read(packet: &[u8], gso: Gso, checksum: PartialChecksum) -> Option<(Self, usize)> {
        let transport = usize::from(checksum.start);
        let transport_len = packet.len().checked_sub(transport)?;
        let version = packet.first()? >> 4;
        let ip_len = match (version, gso.kind) {
            (4, GsoKind::Tcp4 | GsoKind::Udp) => IPV4_LEN,
            (6, GsoKind::Tcp6 | GsoKind::Udp) => IPV6_LEN,
            _ => return None,
        };
        let (own_len, field, flags) = match gso.kind {
            GsoKind::Tcp4 | GsoKind::Tcp6 => {
                let [offset, flags] = chunk(packet, transport + 12)?;
                (usize::from(offset >> 4) * 4, 16, flags)
            }
            GsoKind::Udp => (UDP_LEN, 6, 0),
        };
        let minimum = match gso.kind {
            GsoKind::Tcp4 | GsoKind::Tcp6 => TCP_LEN,
            GsoKind::Udp => UDP_LEN,
        };
        if transport < ip_len || own_len < minimum || own_len > transport_len {
            return None;
        }
        let is_ipv4 = version == 4;
        let cut = Self {
            kind: gso.kind,
            is_ipv4,
            size: usize::from(gso.size),
            transport,
            // The kernel begins the checksum with the length of the super-packet, which none of its parts has.
            pseudo: Sum::default()
                .bytes(&chunk::<2>(packet, transport + field)?)
                .less(u16::try_from(transport_len).ok()?),
            first_id: if is_ipv4 { number(packet, 4)? } else { 0 },
            first_sequence: u32::from_be_bytes(chunk(packet, transport + 4)?),
            tcp_flags: flags,
        };
        Some((cut, transport + own_len))
    }

    fn write_headers(&self, headers: &mut [u8], payload: &[u8], index: u16, is_last: bool) {
        let length = |len: usize| u16::try_from(len).unwrap_or(u16::MAX);
        let total = headers.len() + payload.len();
        if self.is_ipv4 {
            write(headers, 2, length(total).to_be_bytes());
            write(headers, 4, self.first_id.wrapping_add(index).to_be_bytes());
            write(headers, 10, [0, 0]);
            // Options, if any, stand between header and transport and are covered too.
            let ip = headers.get(..self.transport).unwrap_or_default();
            let checksum = Sum::default().bytes(ip).checksum();
            write(headers, 10, checksum);
        } else {
            write(headers, 4, length(total - IPV6_LEN).to_be_bytes());
        }
        let transport_len = length(total - self.transport);
        let pseudo = self.pseudo.number(transport_len);
        let Some(transport) = headers.get_mut(self.transport..) else {
            return;
        };
        match self.kind {
            GsoKind::Tcp4 | GsoKind::Tcp6 => {
                // The sequence is a number of 32 bits that wraps, and a super-packet is shorter than that.
                let passed = u32::from(index).wrapping_mul(self.size as u32);
                let sequence = self.first_sequence.wrapping_add(passed);
                let mut flags = self.tcp_flags;
                if !is_last {
                    flags &= !TCP_ENDING;
                }
                if index > 0 {
                    flags &= !TCP_CWR;
                }
                write(transport, 4, sequence.to_be_bytes());
                write(transport, 13, [flags]);
                write(transport, 16, [0, 0]);
                let checksum = pseudo.bytes(transport).bytes(payload).nonzero_checksum();
                write(transport, 16, checksum);
            }
            GsoKind::Udp => {
                write(transport, 4, transport_len.to_be_bytes());
                write(transport, 6, [0, 0]);
                let checksum = pseudo.bytes(transport).bytes(payload).nonzero_checksum();
                write(transport, 6, checksum);
            }
        }
    }
}

/// Completes a checksum that holds the sum of the pseudo header.
fn complete(packet: &mut [u8], checksum: PartialChecksum) -> Result<(), SplitError> {
    let PartialChecksum { start, offset } = checksum;
    let outside = SplitError::ChecksumOutside {
        start,
        offset,
        len: packet.len(),
    };
    let (start, offset) = (usize::from(start), usize::from(offset));
    let covered = packet.get_mut(start..).ok_or(outside)?;
    if offset + 2 > covered.len() {
        return Err(outside);
    }
    let whole = Sum::default().bytes(covered).nonzero_checksum();
    write(covered, offset, whole);
    Ok(())
}
