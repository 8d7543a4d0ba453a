//! The one width of an address: sixteen bytes, IPv4 mapped into IPv6 (`::ffff:a.b.c.d`).

use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The third word of a mapped IPv4 address, as it lies in memory.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

/// An IP address of either family, as maps hold it.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address([u8; 16]);

const _: () = assert!(size_of::<Address>() == 16);

impl Address {
    /// From an IPv4 address in network byte order, as the kernel hands it to programs.
    #[inline(always)]
    pub fn from_v4_word(word: u32) -> Self {
        Self::from_v6_words([0, 0, MAPPED, word])
    }

    /// From the words of an IPv6 address in network byte order, as the kernel hands them to programs.
    #[inline(always)]
    pub fn from_v6_words(words: [u32; 4]) -> Self {
        let [a, b, c, d] = words.map(u32::to_ne_bytes);
        Self([
            a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1],
            d[2], d[3],
        ])
    }

    /// The words in network byte order; the last is the IPv4 address if [`Self::is_v4`].
    #[inline(always)]
    pub fn to_words(self) -> [u32; 4] {
        let b = self.0;
        [
            u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
        ]
    }

    /// Whether it is a mapped IPv4 address.
    #[inline(always)]
    pub fn is_v4(&self) -> bool {
        let [a, b, c, _] = self.to_words();
        a == 0 && b == 0 && c == MAPPED
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self(address.to_ipv6_mapped().octets())
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        Self(address.octets())
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        Ipv6Addr::from(address.0).to_canonical()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_comes_back_as_ipv4() {
        let address: IpAddr = "10.1.2.3".parse().unwrap();

        assert!(Address::from(address).is_v4());
        assert_eq!(IpAddr::from(Address::from(address)), address);
    }

    #[test]
    fn an_ipv6_address_comes_back_unchanged() {
        let address: IpAddr = "fd00::1:2".parse().unwrap();

        assert!(!Address::from(address).is_v4());
        assert_eq!(IpAddr::from(Address::from(address)), address);
    }

    #[test]
    fn the_kernels_words_mean_the_same_address() {
        let v4 = Ipv4Addr::new(10, 1, 2, 3);
        let v6: Ipv6Addr = "fd00::1:2".parse().unwrap();
        let words = Address::from(v6).to_words();

        assert_eq!(
            Address::from_v4_word(u32::from_ne_bytes(v4.octets())),
            v4.into()
        );
        assert_eq!(Address::from_v6_words(words), v6.into());
    }
}
