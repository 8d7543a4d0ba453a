//! The virtio-net header that stands before each packet of a TUN device: what is left for the other side to do.

/// The packet is to be cut by its reader, or was merged by its writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over either: each part is a datagram of its own.
    Udp,
}

/// How a super-packet is to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gso {
    /// Of what.
    pub kind: GsoKind,
    /// Bytes of payload in each part but the last.
    pub size: u16,
}

/// A checksum that is begun with the sum of the pseudo header and lacks the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Where the bytes begin that it covers, from the start of the packet.
    pub start: u16,
    /// Where it stands, from there.
    pub offset: u16,
}

/// The header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VnetHeader {
    /// How to cut it, if it is a super-packet.
    pub gso: Option<Gso>,
    /// The checksum to complete, if one is.
    pub checksum: Option<PartialChecksum>,
    /// Bytes of all headers of a super-packet: a hint for the kernel's memory.
    pub headers_len: u16,
}

/// The bytes are not a header of a kind that was agreed on with the device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseVnetError {
    /// Too few.
    #[error("{0} bytes are no virtio-net header")]
    Short(usize),
    /// A kind of super-packet that nobody asked for.
    #[error("a super-packet of kind {0}, which was not asked for")]
    Kind(u8),
}

const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
/// Set beside the kind where the first part's congestion flag is to be cleared from the others, which `split` does always.
const GSO_ECN: u8 = 0x80;

impl VnetHeader {
    /// Its length in bytes; the number of merged buffers, which only longer ones have, is for network cards.
    pub const LEN: usize = 10;

    /// Reads the header off the bytes that came from the device; gives the packet behind it too.
    pub fn parse(bytes: &mut [u8]) -> Result<(Self, &mut [u8]), ParseVnetError> {
        let length = bytes.len();
        let Some((header, packet)) = bytes.split_first_chunk_mut::<{ Self::LEN }>() else {
            return Err(ParseVnetError::Short(length));
        };
        let [flags, kind, h0, h1, g0, g1, s0, s1, o0, o1] = *header;
        let kind = match kind & !GSO_ECN {
            GSO_NONE => None,
            GSO_TCP4 => Some(GsoKind::Tcp4),
            GSO_TCP6 => Some(GsoKind::Tcp6),
            GSO_UDP => Some(GsoKind::Udp),
            _ => return Err(ParseVnetError::Kind(kind)),
        };
        let size = u16::from_ne_bytes([g0, g1]);
        let checksum = PartialChecksum {
            start: u16::from_ne_bytes([s0, s1]),
            offset: u16::from_ne_bytes([o0, o1]),
        };
        let header = Self {
            gso: kind.map(|kind| Gso { kind, size }),
            checksum: (flags & NEEDS_CHECKSUM != 0).then_some(checksum),
            headers_len: u16::from_ne_bytes([h0, h1]),
        };
        Ok((header, packet))
    }

    /// The bytes that go to the device before the packet.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let (kind, size) = match self.gso {
            None => (GSO_NONE, 0),
            Some(Gso { kind, size }) => match kind {
                GsoKind::Tcp4 => (GSO_TCP4, size),
                GsoKind::Tcp6 => (GSO_TCP6, size),
                GsoKind::Udp => (GSO_UDP, size),
            },
        };
        let (flags, start, offset) = self.checksum.map_or((0, 0, 0), |checksum| {
            (NEEDS_CHECKSUM, checksum.start, checksum.offset)
        });
        let [h0, h1] = self.headers_len.to_ne_bytes();
        let [g0, g1] = size.to_ne_bytes();
        let [s0, s1] = start.to_ne_bytes();
        let [o0, o1] = offset.to_ne_bytes();
        [flags, kind, h0, h1, g0, g1, s0, s1, o0, o1]
    }
}
