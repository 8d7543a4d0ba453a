//! The network namespace: the number it goes by, its devices and their addresses.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    os::fd::AsRawFd,
};

use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};

/// A device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interface {
    /// Its index.
    pub(super) index: u32,
    /// Whether its packets begin with an Ethernet header, and not with the IP header.
    pub(super) is_ethernet: bool,
}

/// The number by which programs know the network namespace; `None` where the kernel does not tell it (5.14).
pub(super) fn namespace_cookie() -> Option<u64> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    let mut cookie: u64 = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&cookie)).ok()?;
    // SAFETY: the kernel writes at most `length` bytes, as many as the number has, and how many it wrote.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            std::ptr::from_mut(&mut length),
        )
    };
    (result == 0).then_some(cookie)
}

/// The device of a name, if it is there.
///
/// `getifaddrs` would not do: of a device without a hardware address, as a tunnel is, it tells neither index nor type.
pub(super) fn find(name: &str) -> io::Result<Option<Interface>> {
    let mut request = request_for(name)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    if !asks(&socket, libc::SIOCGIFINDEX, &mut request)? {
        return Ok(None);
    }
    // SAFETY: the kernel has written this field of the union.
    let index = unsafe { request.ifr_ifru.ifru_ifindex };
    if !asks(&socket, libc::SIOCGIFHWADDR, &mut request)? {
        return Ok(None);
    }
    // SAFETY: as above.
    let kind = unsafe { request.ifr_ifru.ifru_hwaddr.sa_family };
    Ok(Some(Interface {
        index: u32::try_from(index).map_err(io::Error::other)?,
        is_ethernet: kind == libc::ARPHRD_ETHER,
    }))
}

/// A question about the device of a name.
fn request_for(name: &str) -> io::Result<libc::ifreq> {
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_ifindex: 0 },
    };
    // The last byte stays zero and ends the name.
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    Ok(request)
}

/// Has the kernel answer a question about a device; false if the device is not there.
fn asks(socket: &UdpSocket, question: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<bool> {
    // SAFETY: both questions take such a struct, which lives until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), question, std::ptr::from_mut(request)) };
    if result == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => Ok(false),
        _ => Err(error),
    }
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
