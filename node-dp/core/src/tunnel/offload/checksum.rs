//! The Internet checksum (RFC 1071).
//!
//! Sums are kept in the machine's byte order: the ones' complement sum does not depend on it, and a sum is stored with
//! `to_ne_bytes` whence it came.

/// A ones' complement sum, not yet folded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum(u64);

/// Words summed side by side, so that the compiler can use vector instructions.
const LANES: usize = 8;

impl Sum {
    /// Adds bytes that begin at an even offset of what is summed.
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let (blocks, rest) = bytes.as_chunks::<{ LANES * 4 }>();
        let mut lanes = [0_u64; LANES];
        for block in blocks {
            let (words, _) = block.as_chunks::<4>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane += u64::from(u32::from_ne_bytes(*word));
            }
        }
        let (words, last) = rest.as_chunks::<2>();
        let tail: u64 = words
            .iter()
            .map(|word| u64::from(u16::from_ne_bytes(*word)))
            .sum();
        let odd = last
            .first()
            .map_or(0, |byte| u64::from(u16::from_ne_bytes([*byte, 0])));
        Self(lanes.iter().fold(self.0 + tail + odd, add))
    }

    /// Adds a number as it stands in a header.
    pub(super) fn number(self, number: u16) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// Takes a number off that stands in a header.
    pub(super) fn less(self, number: u16) -> Self {
        self.number(!number)
    }

    /// The folded sum as the two bytes of a field, not complemented: what a checksum begins with.
    pub(super) fn partial(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > u64::from(u16::MAX) {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap_or(u16::MAX).to_ne_bytes()
    }

    /// The checksum as the two bytes of a field.
    pub(super) fn checksum(self) -> [u8; 2] {
        let [a, b] = self.partial();
        [!a, !b]
    }

    /// The checksum where zero means that there is none (UDP), and all ones stand for it.
    pub(super) fn nonzero_checksum(self) -> [u8; 2] {
        match self.checksum() {
            [0, 0] => [0xff, 0xff],
            checksum => checksum,
        }
    }

    /// Whether what was summed, its checksum included, is whole.
    pub(super) fn is_whole(self) -> bool {
        self.partial() == [0xff, 0xff]
    }
}

/// The sum of what TCP and UDP cover besides their own bytes.
pub(super) fn pseudo_header(addresses: &[u8], protocol: u8, length: u16) -> Sum {
    Sum::default()
        .bytes(addresses)
        .number(u16::from(protocol))
        .number(length)
}

fn add(sum: u64, lane: &u64) -> u64 {
    let (sum, carried) = sum.overflowing_add(*lane);
    sum + u64::from(carried)
}
