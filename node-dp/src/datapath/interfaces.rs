//! The network namespace: the number it goes by, its devices and their addresses.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    os::fd::AsRawFd,
};

use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};
use node_dp_common::next_hop::EthernetAddress;

/// A device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interface {
    /// Its index.
    pub(super) index: u32,
    /// Whether its packets begin with an Ethernet header, and not with the IP header.
    pub(super) is_ethernet: bool,
    /// Its hardware address, if it is an Ethernet device.
    pub(super) address: EthernetAddress,
}

/// The driver whose devices come in pairs.
pub(super) const VETH: &str = "veth";

/// The command by which ethtool asks for the driver.
const GET_DRIVER: u32 = 3;

/// The answer to that: `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverAnswer {
    command: u32,
    driver: [u8; 32],
    _rest: [u8; 160],
}

const _: () = assert!(size_of::<DriverAnswer>() == 196);

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
    let hardware = unsafe { request.ifr_ifru.ifru_hwaddr };
    let [a, b, c, d, e, f, ..] = hardware.sa_data.map(libc::c_char::cast_unsigned);
    Ok(Some(Interface {
        index: u32::try_from(index).map_err(io::Error::other)?,
        is_ethernet: hardware.sa_family == libc::ARPHRD_ETHER,
        address: [a, b, c, d, e, f],
    }))
}

/// Whether the device of a name has a driver of that name; one that does not say so has none.
pub(super) fn is_driven_by(name: &str, driver: &str) -> io::Result<bool> {
    let mut answer = DriverAnswer {
        command: GET_DRIVER,
        driver: [0; 32],
        _rest: [0; 160],
    };
    let mut request = request_for(name)?;
    request.ifr_ifru.ifru_data = (&raw mut answer).cast();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    match asks(&socket, libc::SIOCETHTOOL, &mut request) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
        Err(error) => Err(error),
        Ok(is_there) => {
            let said = answer.driver.split(|byte| *byte == 0).next();
            Ok(is_there && said == Some(driver.as_bytes()))
        }
    }
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
    // SAFETY: all these questions take such a struct, which lives until the call returns, as does what it points to.
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
