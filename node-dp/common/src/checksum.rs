//! The Internet checksum (RFC 1071), and its change when some words of what it covers change (RFC 1624).
//!
//! The sum of words in network byte order, added as the machine reads them, is the same sum with its bytes as the machine
//! reads them; so nothing here swaps bytes.

use crate::{address::Address, tuple::Tuple};

/// A one's complement sum, not yet folded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// Adds four bytes.
    #[inline(always)]
    #[must_use]
    pub fn plus_word(self, word: u32) -> Self {
        Self(self.0 + u64::from(word))
    }

    /// Adds two bytes.
    #[inline(always)]
    #[must_use]
    pub fn plus_half(self, half: u16) -> Self {
        Self(self.0 + u64::from(half))
    }

    /// Adds an address as a header holds it: the marks of a mapped IPv4 address are not in it.
    #[inline(always)]
    #[must_use]
    pub fn plus_address(self, address: Address) -> Self {
        let words = address.to_words();
        if address.is_v4() {
            return self.plus_word(words[3]);
        }
        self.plus_word(words[0])
            .plus_word(words[1])
            .plus_word(words[2])
            .plus_word(words[3])
    }

    /// Adds another sum.
    #[inline(always)]
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Takes another sum away: adds its complement.
    #[inline(always)]
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.plus_word(!other.fold_to_word())
    }

    /// What an IPv4 header's sum changes by when a packet has one hop less to go.
    #[inline(always)]
    #[must_use]
    pub fn of_hop() -> Self {
        Self::ZERO.plus_half(!0x0100_u16.to_be())
    }

    /// Folded to four bytes, as the kernel's helpers take a difference.
    #[inline(always)]
    pub fn fold_to_word(self) -> u32 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        ((sum & 0xffff_ffff) + (sum >> 32)) as u32
    }

    /// Folded to two bytes.
    #[inline(always)]
    pub fn fold(self) -> u16 {
        let sum = self.fold_to_word();
        let sum = (sum & 0xffff) + (sum >> 16);
        ((sum & 0xffff) + (sum >> 16)) as u16
    }

    /// A checksum over something that has changed by this sum (RFC 1624, equation 3).
    #[inline(always)]
    pub fn applied_to(self, checksum: u16) -> u16 {
        Self::ZERO.plus_half(!checksum).plus(self).checksum()
    }

    /// The checksum over what was added: its complement.
    #[inline(always)]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// How a rewrite changes sums that cover a packet's header.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// By the addresses: the IPv4 header's sum, and TCP's and UDP's through the pseudo header.
    pub addresses: Sum,
    /// By the ports.
    pub ports: Sum,
}

impl Change {
    /// What becomes of the sums when a packet of one tuple becomes one of another.
    #[inline(always)]
    pub fn between(old: &Tuple, new: &Tuple) -> Self {
        Self {
            addresses: addresses(new).minus(addresses(old)),
            ports: ports(new).minus(ports(old)),
        }
    }
}

/// What a pseudo header adds: addresses, length of the segment in bytes, protocol.
#[inline(always)]
pub fn pseudo_header(tuple: &Tuple, length: u16, protocol: u8) -> Sum {
    addresses(tuple)
        .plus_half(length.to_be())
        .plus_half(u16::from(protocol).to_be())
}

#[inline(always)]
fn addresses(tuple: &Tuple) -> Sum {
    Sum::ZERO
        .plus_address(tuple.source)
        .plus_address(tuple.destination)
}

#[inline(always)]
fn ports(tuple: &Tuple) -> Sum {
    Sum::ZERO
        .plus_half(tuple.source_port.to_network())
        .plus_half(tuple.destination_port.to_network())
}

#[cfg(test)]
mod tests;
