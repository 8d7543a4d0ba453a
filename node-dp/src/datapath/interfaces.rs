//! The devices of the network namespace and their addresses.

use std::{collections::BTreeSet, io, net::IpAddr};

use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{LinkAddr, SockaddrStorage},
};

/// A device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interface {
    /// Its index.
    pub(super) index: u32,
    /// Whether its packets begin with an Ethernet header, and not with the IP header.
    pub(super) is_ethernet: bool,
}

/// The device of a name, if it is there.
pub(super) fn find(name: &str) -> io::Result<Option<Interface>> {
    let link = getifaddrs()?
        .filter(|entry| entry.interface_name == name)
        .find_map(|entry| entry.address?.as_link_addr().copied());
    let of = |link: LinkAddr| {
        Ok(Interface {
            index: u32::try_from(link.ifindex()).map_err(io::Error::other)?,
            is_ethernet: link.hatype() == libc::ARPHRD_ETHER,
        })
    };
    link.map(of).transpose()
}

/// The names of all devices.
pub(super) fn names() -> io::Result<BTreeSet<String>> {
    Ok(getifaddrs()?.map(|entry| entry.interface_name).collect())
}

/// All addresses, each with the name of its device.
pub(super) fn addresses() -> io::Result<Vec<(String, IpAddr)>> {
    let entries = getifaddrs()?;
    Ok(entries
        .filter_map(|entry| Some((entry.interface_name, ip(&entry.address?)?)))
        .collect())
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}
