//! Which texts are addresses and ranges that services, endpoints and nodes may have.
//!
//! The API server checks the same (its `ValidateNonSpecialIP`); a manifest directory has nobody else to check.

use std::net::IpAddr;

use ipnet::IpNet;

use super::AddressFault;

/// Reads an address that traffic can be sent to from another machine.
pub(super) fn address(text: &str) -> Result<IpAddr, AddressFault> {
    let Ok(address) = text.parse::<IpAddr>() else {
        return Err(AddressFault::NotAnAddress);
    };
    match fault(address) {
        Some(fault) => Err(fault),
        None => Ok(address),
    }
}

/// Reads a range of addresses and cuts the host's part off.
pub(super) fn range(text: &str) -> Result<IpNet, AddressFault> {
    let Ok(range) = text.parse::<IpNet>() else {
        return Err(AddressFault::NotARange);
    };
    let range = range.trunc();
    if range.prefix_len() == 0 {
        return Err(AddressFault::DefaultRoute);
    }
    match fault(range.network()) {
        Some(fault) => Err(fault),
        None => Ok(range),
    }
}

fn fault(address: IpAddr) -> Option<AddressFault> {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => return Some(AddressFault::Mapped),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if address.is_unspecified() {
        Some(AddressFault::Unspecified)
    } else if address.is_loopback() {
        Some(AddressFault::Loopback)
    } else if link_local {
        Some(AddressFault::LinkLocal)
    } else if address.is_multicast() {
        Some(AddressFault::Multicast)
    } else {
        None
    }
}
