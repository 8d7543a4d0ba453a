//! How large a packet inside the tunnels may be, from what the paths to the peers carry.

use std::net::IpAddr;

/// The least MTU of a device with IPv6 (RFC 8200, section 5): below it the kernel takes the addresses away.
pub const MIN_MTU: u16 = 1280;

/// The largest MTU that a tunnel can have: what a UDP datagram over IPv6 holds, less WireGuard's own bytes.
pub const MAX_MTU: u16 = 65_535 - IPV6_OVERHEAD;

/// WireGuard's 32 bytes behind 8 of UDP and 20 of IPv4.
const IPV4_OVERHEAD: u16 = 60;
/// The same behind 40 of IPv6.
const IPV6_OVERHEAD: u16 = 80;

/// The MTU of the device: what fits the narrowest of the paths, but no more than asked for.
///
/// Each path is where it leads and its own MTU, in bytes. Paths that are too narrow for [`MIN_MTU`] get it all the same,
/// and what is too large for them travels in fragments.
pub fn device_mtu(paths: impl IntoIterator<Item = (IpAddr, u32)>, most: u16) -> u16 {
    let fitting = paths.into_iter().map(|(address, mtu)| {
        let overhead = match address.to_canonical() {
            IpAddr::V4(_) => IPV4_OVERHEAD,
            IpAddr::V6(_) => IPV6_OVERHEAD,
        };
        u16::try_from(mtu.saturating_sub(u32::from(overhead))).unwrap_or(u16::MAX)
    });
    fitting.fold(most.min(MAX_MTU), u16::min).max(MIN_MTU)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_path_decides() {
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();

        assert_eq!(device_mtu([(v4, 1500)], MAX_MTU), 1440);
        assert_eq!(device_mtu([(mapped, 1500)], MAX_MTU), 1440);
        assert_eq!(device_mtu([(v6, 1500)], MAX_MTU), 1420);
        assert_eq!(device_mtu([(v4, 9000), (v6, 9000)], MAX_MTU), 8920);
        assert_eq!(device_mtu([(v4, 9000), (v6, 1400)], MAX_MTU), 1320);
    }

    #[test]
    fn it_is_no_more_than_asked_for_and_no_less_than_ipv6_needs() {
        let v4: IpAddr = "192.0.2.1".parse().unwrap();

        assert_eq!(device_mtu([(v4, 9000)], 1420), 1420);
        assert_eq!(device_mtu([(v4, 576)], MAX_MTU), MIN_MTU);
        assert_eq!(device_mtu([(v4, 0)], MAX_MTU), MIN_MTU);
        assert_eq!(device_mtu([(v4, u32::MAX)], u16::MAX), MAX_MTU);
        assert_eq!(device_mtu([], 1420), 1420);
    }
}
