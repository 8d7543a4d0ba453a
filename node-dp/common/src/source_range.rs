//! Who may use a service, the key of `SOURCE_RANGES`: a trie of the services' ids and their clients' prefixes.

use core::net::IpAddr;

use crate::address::Address;

/// The id, of no service, under which the trie has the clients that are in the clusters themselves: nodes and pods.
pub const IN_CLUSTERS: u32 = 0;

/// A service, and clients of it: all, or those whose leading bits are the same.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey {
    service_id: u32,
    address: Address,
}

const _: () = assert!(size_of::<SourceKey>() == 20);

impl SourceKey {
    /// The bits that one client of one service has.
    pub const BITS: u32 = 32 + 128;

    /// A client of a service.
    #[inline(always)]
    pub fn new(service_id: u32, address: Address) -> Self {
        Self {
            service_id,
            address,
        }
    }

    /// How many leading bits the clients of a prefix of `length` bits have in common.
    pub fn bits_of(address: IpAddr, length: u8) -> u32 {
        ALL_BUT_PREFIX + mapped_bits(address) + u32::from(length)
    }

    /// The service, and the address and length of the prefix that so many leading bits make up.
    pub fn prefix(&self, bits: u32) -> (u32, IpAddr, u8) {
        let address = IpAddr::from(self.address);
        let length = bits.saturating_sub(ALL_BUT_PREFIX + mapped_bits(address));
        (
            self.service_id,
            address,
            u8::try_from(length).unwrap_or(u8::MAX),
        )
    }
}

/// The bits of the service's id, which come before those of the address.
const ALL_BUT_PREFIX: u32 = 32;

/// The bits that all mapped IPv4 addresses have in common.
fn mapped_bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 96 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_comes_back_from_its_key() {
        for (ip, length) in [
            ("10.1.0.0", 16),
            ("0.0.0.0", 0),
            ("fd00::", 8),
            ("fd00::1", 128),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            let key = SourceKey::new(7, ip.into());

            assert_eq!(key.prefix(SourceKey::bits_of(ip, length)), (7, ip, length));
        }
    }
}
