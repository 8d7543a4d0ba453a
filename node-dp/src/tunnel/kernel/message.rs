//! The messages to and from the kernel's WireGuard (`linux/wireguard.h`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use cluster_registry::node::PublicKey;
use ipnet::IpNet;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute,
    WireguardCmd, WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
    WireguardTimeSpec,
};

use super::super::{
    KEEPALIVE_SECONDS, PeerStats, PrivateKey,
    peers::{Change, PeerConfig},
};

/// Prefixes per part of a peer: at 40 bytes each, 5 KiB.
const MAX_PREFIXES: usize = 128;

/// Parts of peers per message: with 116 bytes of their own, a message stays below the 64 KiB that an attribute can say.
const MAX_PARTS: usize = 8;

/// A peer as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct FoundPeer {
    pub(super) allowed_ips: BTreeSet<IpNet>,
    /// Seconds between keepalives; zero for none.
    pub(super) keepalive: u16,
    pub(super) stats: PeerStats,
}

/// Asks for the device with all its peers.
pub(super) fn get_device(device: &str) -> WireguardMessage {
    WireguardMessage {
        cmd: WireguardCmd::GetDevice,
        attributes: vec![WireguardAttribute::IfName(device.to_owned())],
    }
}

/// Tells the device its key and port; the same ones again leave its sessions alone.
pub(super) fn set_device(device: &str, key: &PrivateKey, port: u16) -> WireguardMessage {
    WireguardMessage {
        cmd: WireguardCmd::SetDevice,
        attributes: vec![
            WireguardAttribute::IfName(device.to_owned()),
            WireguardAttribute::PrivateKey(key.to_bytes()),
            WireguardAttribute::ListenPort(port),
        ],
    }
}

/// Tells the device what changed among its peers, in as many messages as it takes.
pub(super) fn set_peers(device: &str, changes: &[Change]) -> Vec<WireguardMessage> {
    let parts: Vec<WireguardPeer> = changes.iter().flat_map(peer_parts).collect();
    parts
        .chunks(MAX_PARTS)
        .map(|parts| WireguardMessage {
            cmd: WireguardCmd::SetDevice,
            attributes: vec![
                WireguardAttribute::IfName(device.to_owned()),
                WireguardAttribute::Peers(parts.to_vec()),
            ],
        })
        .collect()
}

/// The peers in the kernel's answer; one that did not fit into a message goes on in the next under the same key.
pub(super) fn found_peers(
    messages: impl IntoIterator<Item = WireguardMessage>,
) -> BTreeMap<PublicKey, FoundPeer> {
    let mut found: BTreeMap<PublicKey, FoundPeer> = BTreeMap::new();
    for attribute in messages.into_iter().flat_map(|m| m.attributes) {
        let WireguardAttribute::Peers(peers) = attribute else {
            continue;
        };
        for peer in peers {
            let Some(key) = public_key(&peer) else {
                continue;
            };
            let entry = found.entry(key).or_default();
            for attribute in peer.0 {
                entry.take(attribute);
            }
        }
    }
    found
}

impl FoundPeer {
    fn take(&mut self, attribute: WireguardPeerAttribute) {
        if let WireguardPeerAttribute::Endpoint(endpoint) = attribute {
            self.stats.endpoint = Some(endpoint);
        } else if let WireguardPeerAttribute::LastHandshake(time) = attribute {
            self.stats.last_handshake = system_time(time);
        } else if let WireguardPeerAttribute::PersistentKeepalive(seconds) = attribute {
            self.keepalive = seconds;
        } else if let WireguardPeerAttribute::RxBytes(bytes) = attribute {
            self.stats.rx_bytes = bytes;
        } else if let WireguardPeerAttribute::TxBytes(bytes) = attribute {
            self.stats.tx_bytes = bytes;
        } else if let WireguardPeerAttribute::AllowedIps(prefixes) = attribute {
            self.allowed_ips.extend(prefixes.iter().filter_map(prefix));
        }
    }
}

/// A change as one peer attribute, or as several when its prefixes are many.
fn peer_parts(change: &Change) -> Vec<WireguardPeer> {
    match change {
        Change::Remove(key) => vec![WireguardPeer(vec![
            WireguardPeerAttribute::PublicKey(key.0),
            WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe),
        ])],
        Change::Update {
            public_key,
            endpoint,
            allowed_ips,
            is_used,
        } => parts(
            *public_key,
            WireguardPeerFlags::UpdateOnly,
            endpoint
                .map(WireguardPeerAttribute::Endpoint)
                .into_iter()
                .chain(is_used.map(keepalive)),
            allowed_ips.as_ref(),
        ),
        Change::Add(
            key,
            PeerConfig {
                endpoint,
                allowed_ips,
                is_used,
            },
        ) => parts(
            *key,
            WireguardPeerFlags::empty(),
            [
                WireguardPeerAttribute::Endpoint(*endpoint),
                keepalive(*is_used),
            ],
            Some(allowed_ips),
        ),
    }
}

/// The kernel begins to shake hands with a peer as soon as it is told to keep it alive.
fn keepalive(is_used: bool) -> WireguardPeerAttribute {
    WireguardPeerAttribute::PersistentKeepalive(if is_used { KEEPALIVE_SECONDS } else { 0 })
}

fn parts(
    key: PublicKey,
    flags: WireguardPeerFlags,
    rest: impl IntoIterator<Item = WireguardPeerAttribute>,
    allowed_ips: Option<&BTreeSet<IpNet>>,
) -> Vec<WireguardPeer> {
    let prefixes: Vec<WireguardAllowedIp> =
        allowed_ips.into_iter().flatten().map(allowed_ip).collect();
    let (head, tail) = prefixes.split_at(prefixes.len().min(MAX_PREFIXES));
    let replaces = allowed_ips.map_or(WireguardPeerFlags::empty(), |_| {
        WireguardPeerFlags::ReplaceAllowedIps
    });
    let mut first = vec![
        WireguardPeerAttribute::PublicKey(key.0),
        WireguardPeerAttribute::Flags(flags | replaces),
    ];
    first.extend(rest);
    first.extend(allowed_ips.map(|_| WireguardPeerAttribute::AllowedIps(head.to_vec())));
    let more = tail.chunks(MAX_PREFIXES).map(|prefixes| {
        WireguardPeer(vec![
            WireguardPeerAttribute::PublicKey(key.0),
            WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly),
            WireguardPeerAttribute::AllowedIps(prefixes.to_vec()),
        ])
    });
    [WireguardPeer(first)].into_iter().chain(more).collect()
}

fn allowed_ip(prefix: &IpNet) -> WireguardAllowedIp {
    let prefix = prefix.trunc();
    let family = match prefix {
        IpNet::V4(_) => WireguardAddressFamily::Ipv4,
        IpNet::V6(_) => WireguardAddressFamily::Ipv6,
    };
    WireguardAllowedIp(vec![
        WireguardAllowedIpAttr::Family(family),
        WireguardAllowedIpAttr::IpAddr(prefix.addr()),
        WireguardAllowedIpAttr::Cidr(prefix.prefix_len()),
    ])
}

fn prefix(allowed_ip: &WireguardAllowedIp) -> Option<IpNet> {
    let mut address = None;
    let mut length = None;
    for attribute in &allowed_ip.0 {
        if let WireguardAllowedIpAttr::IpAddr(found) = attribute {
            address = Some(*found);
        } else if let WireguardAllowedIpAttr::Cidr(found) = attribute {
            length = Some(*found);
        }
    }
    IpNet::new(address?, length?).ok()
}

fn public_key(peer: &WireguardPeer) -> Option<PublicKey> {
    peer.0.iter().find_map(|attribute| {
        if let WireguardPeerAttribute::PublicKey(key) = attribute {
            Some(PublicKey(*key))
        } else {
            None
        }
    })
}

/// The kernel says zero for never.
fn system_time(time: WireguardTimeSpec) -> Option<SystemTime> {
    let seconds = u64::try_from(time.seconds).ok()?;
    let nanos = u32::try_from(time.nano_seconds).ok()?;
    let since_epoch = Duration::from_secs(seconds) + Duration::from_nanos(u64::from(nanos));
    (!since_epoch.is_zero()).then(|| SystemTime::UNIX_EPOCH + since_epoch)
}

#[cfg(test)]
mod tests;
