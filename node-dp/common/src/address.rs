//! The one width of an address: sixteen bytes, IPv4 mapped into IPv6 (`::ffff:a.b.c.d`); and a port beside it.

use core::{
    cmp::Ordering,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The third word of a mapped IPv4 address.
const MAPPED: u32 = 0xffff_u32.to_be();

/// An IP address of either family, as maps hold it: four words in network byte order.
///
/// Words rather than bytes, or the BPF compiler copies it byte by byte.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Address([u32; 4]);

const _: () = assert!(size_of::<Address>() == 16);

impl Address {
    /// From an IPv4 address in network byte order, as the kernel hands it to programs.
    #[inline(always)]
    pub fn from_v4_word(word: u32) -> Self {
        Self([0, 0, MAPPED, word])
    }

    /// From the words of an IPv6 address in network byte order, as the kernel hands them to programs.
    #[inline(always)]
    pub fn from_v6_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// The words in network byte order; the last is the IPv4 address if [`Self::is_v4`].
    #[inline(always)]
    pub fn to_words(self) -> [u32; 4] {
        self.0
    }

    /// The address that stands for all of its family.
    #[inline(always)]
    #[must_use]
    pub fn unspecified(&self) -> Self {
        Self([0, 0, if self.is_v4() { MAPPED } else { 0 }, 0])
    }

    /// Whether only the own network namespace can mean it: a loopback address, or the unspecified one, which dials that.
    #[inline(always)]
    pub fn is_of_own_namespace(&self) -> bool {
        let [first, second, third, last] = self.0;
        if self.is_v4() {
            // 127.0.0.0/8
            return last == 0 || u32::from_be(last) >> 24 == 127;
        }
        first == 0 && second == 0 && third == 0 && u32::from_be(last) <= 1
    }

    /// Whether it is a mapped IPv4 address.
    #[inline(always)]
    pub fn is_v4(&self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == MAPPED
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order of the addresses as numbers, whatever the machine's byte order.
impl Ord for Address {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.map(u32::from_be).cmp(&other.0.map(u32::from_be))
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
        address.to_ipv6_mapped().into()
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        let bits = address.to_bits();
        Self([96, 64, 32, 0].map(|shift| ((bits >> shift) as u32).to_be()))
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        let bits = address
            .0
            .into_iter()
            .fold(0, |bits, word| bits << 32 | u128::from(u32::from_be(word)));
        Ipv6Addr::from_bits(bits).to_canonical()
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

/// A port, as maps hold it: in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Port(u16);

impl Port {
    /// From a number in network byte order, as the kernel hands it to programs.
    #[inline(always)]
    pub fn from_network(port: u16) -> Self {
        Self(port)
    }

    /// The number in network byte order.
    #[inline(always)]
    pub fn to_network(self) -> u16 {
        self.0
    }

    /// The number.
    pub fn number(self) -> u16 {
        u16::from_be(self.0)
    }
}

impl From<u16> for Port {
    fn from(number: u16) -> Self {
        Self(number.to_be())
    }
}

impl PartialOrd for Port {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Port {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number())
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
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
    fn loopback_and_unspecified_addresses_are_the_own_namespaces() {
        for ip in ["127.0.0.1", "127.255.0.9", "0.0.0.0", "::1", "::"] {
            let address: IpAddr = ip.parse().unwrap();
            assert!(Address::from(address).is_of_own_namespace(), "{ip}");
        }
        for ip in [
            "128.0.0.1",
            "0.0.0.1",
            "::2",
            "1::",
            "::1:0:1",
            "10.0.0.127",
        ] {
            let address: IpAddr = ip.parse().unwrap();
            assert!(!Address::from(address).is_of_own_namespace(), "{ip}");
        }
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
