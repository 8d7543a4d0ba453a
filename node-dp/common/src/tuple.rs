//! Who talks to whom: the addresses and ports of a packet, and the number that spreads flows.

use core::fmt;

use crate::address::{Address, Port};

/// Addresses and ports of a packet, in the direction in which it travels.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tuple {
    /// Where it comes from.
    pub source: Address,
    /// Where it goes.
    pub destination: Address,
    /// The port it comes from.
    pub source_port: Port,
    /// The port it goes to.
    pub destination_port: Port,
}

const _: () = assert!(size_of::<Tuple>() == 36);

impl Tuple {
    /// The tuple of the replies.
    #[inline(always)]
    #[must_use]
    pub fn reverse(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }

    /// A number that spreads tuples evenly, the same on every node.
    ///
    /// Each step multiplies by an odd number and folds the high half into the low one, so every bit of the tuple reaches
    /// every bit of the number.
    #[inline(always)]
    pub fn hash(&self, protocol: u8) -> u64 {
        let mut hash = 0x9e37_79b9_7f4a_7c15 ^ u64::from(protocol);
        for word in self.source.to_words() {
            hash = mix(hash, word);
        }
        for word in self.destination.to_words() {
            hash = mix(hash, word);
        }
        let ports = u32::from(self.source_port.to_network()) << 16
            | u32::from(self.destination_port.to_network());
        mix(hash, ports)
    }
}

#[inline(always)]
fn mix(hash: u64, word: u32) -> u64 {
    let product = (hash ^ u64::from(word)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    product ^ (product >> 31)
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}|{:?} > {}|{:?}",
            self.source, self.source_port, self.destination, self.destination_port
        )
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    #[test]
    fn reversing_twice_changes_nothing() {
        let tuple = tuple(1);

        assert_ne!(tuple.reverse(), tuple);
        assert_eq!(tuple.reverse().reverse(), tuple);
    }

    #[test]
    fn neighbouring_tuples_spread_evenly() {
        let mut counts = [0u32; 64];
        for number in 0..64_000 {
            counts[(tuple(number).hash(6) >> 58) as usize] += 1;
        }

        for count in counts {
            assert!((850..1150).contains(&count), "{count}");
        }
    }

    fn tuple(number: u32) -> Tuple {
        Tuple {
            source: Ipv4Addr::from(0x0a00_0000 + number / 60_000).into(),
            destination: Ipv4Addr::new(192, 0, 2, 1).into(),
            source_port: ((number % 60_000) as u16).into(),
            destination_port: 80.into(),
        }
    }
}
