//! The tunnel device as the kernel's routing sees it: found, up, with its MTU and the probe address, or removed.

use std::{fs, io, net::Ipv6Addr};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle, LinkUnspec,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressFlags, AddressMessage},
        link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
    },
};

use super::TunnelDrops;

/// Why the device is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The kernel does not know it.
    #[error("there is no device '{0}'")]
    Missing(String),
    /// The kernel refused a request about it.
    #[error("cannot {what} device '{device}'")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// The device.
        device: String,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
}

/// Opens a route netlink socket in the network namespace of the calling thread.
pub(super) fn connect() -> io::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Gives the device its MTU and address and brings it up; answers its index.
pub(super) async fn set_up(
    netlink: &Handle,
    device: &str,
    mtu: u16,
    address: Ipv6Addr,
) -> Result<u32, LinkError> {
    let refused = |what| move |source| refusal(what, device, source);
    let found = find(netlink, device).await?;
    let index = found
        .ok_or_else(|| LinkError::Missing(device.to_owned()))?
        .header
        .index;
    allow_ipv6(device);
    let message = LinkUnspec::new_with_index(index)
        .mtu(u32::from(mtu))
        .up()
        .build();
    netlink
        .link()
        .set(message)
        .execute()
        .await
        .map_err(refused("bring up"))?;
    add_address(netlink, device, index, address).await?;
    Ok(index)
}

/// Gives the device an address that only it has.
pub(super) async fn add_address(
    netlink: &Handle,
    device: &str,
    index: u32,
    address: Ipv6Addr,
) -> Result<(), LinkError> {
    let mut request = netlink.address().add(index, address.into(), 128).replace();
    // Nobody else has this address; while the kernel made sure of that, nothing could be bound to it.
    let flags = AddressAttribute::Flags(AddressFlags::Nodad);
    request.message_mut().attributes.push(flags);
    let added = request.execute().await;
    added.map_err(|source| refusal("give an address to", device, source))
}

/// Takes such an address from the device.
pub(super) async fn remove_address(
    netlink: &Handle,
    device: &str,
    index: u32,
    address: Ipv6Addr,
) -> Result<(), LinkError> {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.prefix_len = 128;
    message.header.index = index;
    message
        .attributes
        .push(AddressAttribute::Address(address.into()));
    let removed = netlink.address().del(message).execute().await;
    removed.map_err(|source| refusal("take an address from", device, source))
}

/// Gives the device another MTU.
pub(super) async fn set_mtu(
    netlink: &Handle,
    device: &str,
    index: u32,
    mtu: u16,
) -> Result<(), LinkError> {
    let message = LinkUnspec::new_with_index(index)
        .mtu(u32::from(mtu))
        .build();
    let set = netlink.link().set(message).execute().await;
    set.map_err(|source| refusal("set the MTU of", device, source))
}

/// Removes the device if it is the kernel's WireGuard, which a former run may have left.
pub(super) async fn delete_if_wireguard(netlink: &Handle, device: &str) -> Result<(), LinkError> {
    delete_if(netlink, device, |kind| *kind == InfoKind::Wireguard).await
}

/// Removes the device if it is a tunnel of either implementation.
pub(super) async fn delete_if_tunnel(netlink: &Handle, device: &str) -> Result<(), LinkError> {
    delete_if(netlink, device, |kind| {
        matches!(kind, InfoKind::Wireguard | InfoKind::Tun)
    })
    .await
}

/// The device, if the kernel knows one of this name.
pub(super) async fn find(netlink: &Handle, device: &str) -> Result<Option<LinkMessage>, LinkError> {
    let request = netlink.link().get().match_name(device.to_owned());
    match request.execute().try_next().await {
        Ok(found) => Ok(found),
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => Ok(None),
        Err(source) => Err(refusal("look up", device, source)),
    }
}

/// What the kernel's WireGuard has counted on its device as not carried.
pub(super) async fn drops(netlink: &Handle, device: &str) -> Result<TunnelDrops, LinkError> {
    let found = find(netlink, device).await?;
    let found = found.ok_or_else(|| LinkError::Missing(device.to_owned()))?;
    let counted = found.attributes.iter().find_map(|attribute| {
        let LinkAttribute::Stats64(stats) = attribute else {
            return None;
        };
        // As its transmit and receive functions do: no peer is an error, a full queue a drop, a foreign source a framing error.
        Some(TunnelDrops {
            no_peer: stats.tx_errors,
            no_session: stats.tx_dropped,
            foreign_source: stats.rx_frame_errors,
        })
    });
    Ok(counted.unwrap_or_default())
}

/// Of what kind a device is.
pub(super) fn kind(message: &LinkMessage) -> Option<&InfoKind> {
    message.attributes.iter().find_map(|attribute| {
        let LinkAttribute::LinkInfo(infos) = attribute else {
            return None;
        };
        infos.iter().find_map(|info| {
            if let LinkInfo::Kind(kind) = info {
                Some(kind)
            } else {
                None
            }
        })
    })
}

pub(super) fn refusal(what: &'static str, device: &str, source: rtnetlink::Error) -> LinkError {
    LinkError::Refused {
        what,
        device: device.to_owned(),
        source,
    }
}

async fn delete_if(
    netlink: &Handle,
    device: &str,
    is_ours: impl Fn(&InfoKind) -> bool,
) -> Result<(), LinkError> {
    let Some(found) = find(netlink, device).await? else {
        return Ok(());
    };
    if !kind(&found).is_some_and(is_ours) {
        return Ok(());
    }
    netlink
        .link()
        .del(found.header.index)
        .execute()
        .await
        .map_err(|source| refusal("remove", device, source))
}

/// Turns IPv6 on for the device where the host's default is off; where that fails, setting the address says why.
fn allow_ipv6(device: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6");
    if let Err(error) = fs::write(&path, "0") {
        tracing::debug!(path, %error, "cannot turn IPv6 on for the tunnel device");
    }
}
