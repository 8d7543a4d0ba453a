//! Which of a peer's keys has its addresses while one key takes the other's place.
//!
//! A device knows one holder of an address. The key that is announced as the next one is let in without any but its own
//! probe address; once it has shaken hands, which only the node that uses it can, it has all and the former has none.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use cluster_registry::node::PublicKey;
use ipnet::IpNet;

use super::{WantedPeer, probe_prefix};

/// What a device is told of the holder of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where its tunnel listens.
    pub endpoint: SocketAddr,
    /// The inner addresses that it may send from and is sent to.
    pub allowed_ips: BTreeSet<IpNet>,
    /// Whether it is kept in touch with; a key that is not used yet would not answer.
    pub is_used: bool,
}

/// The entries of all wanted peers; `heard` has the next keys that have shaken hands.
pub fn entries(
    peers: &BTreeMap<PublicKey, WantedPeer>,
    heard: &BTreeSet<PublicKey>,
) -> BTreeMap<PublicKey, Entry> {
    let mut entries = BTreeMap::new();
    for peer in peers.values() {
        let entry = |allowed_ips: &BTreeSet<IpNet>, is_used| Entry {
            endpoint: peer.endpoint,
            allowed_ips: allowed_ips.clone(),
            is_used,
        };
        let Some(next) = peer.next_public_key else {
            entries.insert(peer.public_key, entry(&peer.allowed_ips, true));
            continue;
        };
        let mut of_next = BTreeSet::from([probe_prefix(&next)]);
        if heard.contains(&next) {
            of_next.extend(&peer.allowed_ips);
            entries.insert(next, entry(&of_next, true));
        } else {
            entries.insert(peer.public_key, entry(&peer.allowed_ips, true));
            entries.insert(next, entry(&of_next, false));
        }
    }
    entries
}

/// The next keys of peers that have not been heard.
pub fn awaited(
    peers: &BTreeMap<PublicKey, WantedPeer>,
    heard: &BTreeSet<PublicKey>,
) -> BTreeSet<PublicKey> {
    let next = peers.values().filter_map(|peer| peer.next_public_key);
    next.filter(|key| !heard.contains(key)).collect()
}

#[cfg(test)]
mod tests {
    use cluster_registry::name::{ClusterName, NodeName};

    use super::*;

    const OLD: PublicKey = PublicKey([1; 32]);
    const NEXT: PublicKey = PublicKey([2; 32]);

    #[test]
    fn a_next_key_has_only_its_probe_address_until_it_is_heard() {
        let peers = peers(Some(NEXT));

        let entries = entries(&peers, &BTreeSet::new());

        assert_eq!(entries[&OLD].allowed_ips, peers[&OLD].allowed_ips);
        assert!(entries[&OLD].is_used && !entries[&NEXT].is_used);
        assert_eq!(
            entries[&NEXT].allowed_ips,
            BTreeSet::from([probe_prefix(&NEXT)])
        );
        assert_eq!(awaited(&peers, &BTreeSet::new()), BTreeSet::from([NEXT]));
    }

    #[test]
    fn a_heard_key_has_all_addresses_and_the_former_is_gone() {
        let peers = peers(Some(NEXT));
        let heard = BTreeSet::from([NEXT]);

        let entries = entries(&peers, &heard);

        assert!(!entries.contains_key(&OLD));
        assert!(entries[&NEXT].is_used);
        assert!(
            entries[&NEXT]
                .allowed_ips
                .is_superset(&peers[&OLD].allowed_ips)
        );
        assert!(awaited(&peers, &heard).is_empty());
    }

    #[test]
    fn no_address_is_ever_held_twice() {
        for heard in [BTreeSet::new(), BTreeSet::from([NEXT])] {
            let entries = entries(&peers(Some(NEXT)), &heard);

            let all: Vec<_> = entries.values().flat_map(|e| &e.allowed_ips).collect();
            let distinct: BTreeSet<_> = all.iter().collect();
            assert_eq!(all.len(), distinct.len());
        }
    }

    #[test]
    fn a_peer_without_a_next_key_is_as_it_is_wanted() {
        let entries = entries(&peers(None), &BTreeSet::new());

        assert_eq!(entries.len(), 1);
        assert!(entries[&OLD].is_used);
    }

    fn peers(next: Option<PublicKey>) -> BTreeMap<PublicKey, WantedPeer> {
        let peer = WantedPeer {
            cluster: ClusterName::parse("west").unwrap(),
            node: NodeName::parse("n1").unwrap(),
            public_key: OLD,
            next_public_key: next,
            endpoint: SocketAddr::from(([192, 0, 2, 1], 51872)),
            allowed_ips: BTreeSet::from([probe_prefix(&OLD), "10.2.0.0/16".parse().unwrap()]),
        };
        BTreeMap::from([(OLD, peer)])
    }
}
