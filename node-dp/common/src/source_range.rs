//! Who may use a service, the key of `SOURCE_RANGES`: a trie of the services' ids and their clients' prefixes.

use core::net::IpAddr;

use crate::address::Address;

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
    pub fn prefix_bits(address: IpAddr, length: u8) -> u32 {
        let mapped = if address.is_ipv4() { 96 } else { 0 };
        32 + mapped + u32::from(length)
    }
}
