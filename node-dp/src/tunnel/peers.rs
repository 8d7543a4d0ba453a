//! What must change on a device so that its peers are the wanted ones; the same for both implementations.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use cluster_registry::node::PublicKey;
use ipnet::IpNet;
use node_dp_core::tunnel::succession::Entry;

/// What a device is told of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PeerConfig {
    pub(super) endpoint: SocketAddr,
    pub(super) allowed_ips: BTreeSet<IpNet>,
    /// Whether it is sent keepalives.
    pub(super) is_used: bool,
}

/// What a device was told, by peer.
pub(super) type Peers = BTreeMap<PublicKey, PeerConfig>;

/// One change to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Forget a peer and its sessions.
    Remove(PublicKey),
    /// Tell what of an existing peer is another; its sessions stay.
    Update {
        public_key: PublicKey,
        endpoint: Option<SocketAddr>,
        allowed_ips: Option<BTreeSet<IpNet>>,
        is_used: Option<bool>,
    },
    /// Add a peer.
    Add(PublicKey, PeerConfig),
}

/// The configuration that the wanted peers stand for; the node's own key among them is left out.
pub(super) fn wanted_peers(wanted: &BTreeMap<PublicKey, Entry>, own: PublicKey) -> Peers {
    wanted
        .iter()
        .filter(|(key, _)| **key != own)
        .map(|(key, peer)| {
            let config = PeerConfig {
                endpoint: peer.endpoint,
                allowed_ips: peer.allowed_ips.clone(),
                is_used: peer.is_used,
            };
            (*key, config)
        })
        .collect()
}

/// The changes that lead from one set of peers to another: removals last.
///
/// An address has one holder, and goes over from one to the next in one step when the next is given it. Were it taken away
/// before, packets in between would find nobody.
///
/// Endpoints are compared with what was last told and not with what the device has, which follows the peer's packets.
pub(super) fn changes(current: &Peers, wanted: &Peers) -> Vec<Change> {
    let removed = current
        .keys()
        .filter(|key| !wanted.contains_key(key))
        .map(|key| Change::Remove(*key));
    let updated = wanted.iter().filter_map(|(key, peer)| {
        let before = current.get(key)?;
        let update = Change::Update {
            public_key: *key,
            endpoint: (before.endpoint != peer.endpoint).then_some(peer.endpoint),
            allowed_ips: (before.allowed_ips != peer.allowed_ips).then(|| peer.allowed_ips.clone()),
            is_used: (before.is_used != peer.is_used).then_some(peer.is_used),
        };
        (before != peer).then_some(update)
    });
    let added = wanted
        .iter()
        .filter(|(key, _)| !current.contains_key(key))
        .map(|(key, peer)| Change::Add(*key, peer.clone()));
    updated.chain(added).chain(removed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_changes_when_the_peers_are_the_wanted_ones() {
        let peers = Peers::from([peer(1, 51872, "10.1.0.0/16")]);

        assert_eq!(changes(&peers, &peers), []);
    }

    #[test]
    fn a_moved_prefix_has_a_holder_at_any_moment() {
        let before = Peers::from([peer(1, 51872, "10.1.0.0/16"), peer(2, 51872, "10.2.0.0/16")]);
        let after = Peers::from([peer(2, 51872, "10.2.0.0/16"), peer(3, 51872, "10.1.0.0/16")]);

        let (key, added) = peer(3, 51872, "10.1.0.0/16");
        assert_eq!(
            changes(&before, &after),
            [Change::Add(key, added), Change::Remove(PublicKey([1; 32]))]
        );
    }

    #[test]
    fn only_what_differs_is_told_anew() {
        let before = Peers::from([peer(1, 51872, "10.1.0.0/16")]);
        let after = Peers::from([peer(1, 51873, "10.1.0.0/16")]);

        assert_eq!(
            changes(&before, &after),
            [Change::Update {
                public_key: PublicKey([1; 32]),
                endpoint: Some(SocketAddr::from(([192, 0, 2, 1], 51873))),
                allowed_ips: None,
                is_used: None,
            }]
        );
    }

    fn peer(number: u8, port: u16, prefix: &str) -> (PublicKey, PeerConfig) {
        let config = PeerConfig {
            endpoint: SocketAddr::from(([192, 0, 2, 1], port)),
            allowed_ips: BTreeSet::from([prefix.parse().unwrap()]),
            is_used: true,
        };
        (PublicKey([number; 32]), config)
    }
}
