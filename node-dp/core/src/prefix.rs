//! Who holds which prefix: no two holders' prefixes overlap, and the first holder keeps its own.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::tunnel::NodeKey;

/// The prefixes that are held; those of different holders never overlap.
#[derive(Debug, Default)]
pub(crate) struct PrefixHolders(BTreeMap<IpNet, NodeKey>);

impl PrefixHolders {
    /// Takes a prefix for a node, or says who holds one that overlaps.
    pub(crate) fn claim(&mut self, prefix: IpNet, node: &NodeKey) -> Result<(), NodeKey> {
        if let Some(holder) = self.overlapping_other(prefix, Some(node)) {
            return Err(holder.clone());
        }
        self.0.insert(prefix, node.clone());
        Ok(())
    }

    /// Somebody who holds a prefix that overlaps.
    pub(crate) fn overlapping(&self, prefix: IpNet) -> Option<&NodeKey> {
        self.overlapping_other(prefix, None)
    }

    /// Keeps the prefixes for which `keep` says so.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&IpNet, &NodeKey) -> bool) {
        self.0.retain(|prefix, node| keep(prefix, node));
    }

    fn overlapping_other(&self, prefix: IpNet, except: Option<&NodeKey>) -> Option<&NodeKey> {
        let around =
            (0..prefix.prefix_len()).filter_map(|length| self.0.get(&shortened(prefix, length)?));
        // Sorted by address, then length: all that lie within follow the prefix up to its last address.
        let first = shortest_at(prefix);
        let last = longest_at_end(prefix);
        let within = self
            .0
            .range(first..=last)
            .filter(|(held, _)| prefix.contains(*held))
            .map(|(_, holder)| holder);
        around
            .chain(within)
            .find(|holder| except.is_none_or(|node| *holder != node))
    }
}

fn shortened(prefix: IpNet, length: u8) -> Option<IpNet> {
    IpNet::new(prefix.network(), length)
        .ok()
        .map(|net| net.trunc())
}

fn shortest_at(prefix: IpNet) -> IpNet {
    match prefix {
        IpNet::V4(net) => IpNet::V4(Ipv4Net::new_assert(net.network(), 0)),
        IpNet::V6(net) => IpNet::V6(Ipv6Net::new_assert(net.network(), 0)),
    }
}

fn longest_at_end(prefix: IpNet) -> IpNet {
    match prefix {
        IpNet::V4(net) => IpNet::V4(Ipv4Net::from(net.broadcast())),
        IpNet::V6(net) => IpNet::V6(Ipv6Net::from(net.broadcast())),
    }
}

#[cfg(test)]
mod tests {
    use cluster_registry::name::{ClusterName, NodeName};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_holder_keeps_a_prefix_and_what_overlaps_with_it() {
        let mut holders = PrefixHolders::default();
        holders.claim(net("10.1.0.0/16"), &node("a")).unwrap();

        for claimed in [
            "10.1.0.0/16",
            "10.1.2.0/24",
            "10.0.0.0/8",
            "10.1.255.255/32",
        ] {
            let refused = holders.claim(net(claimed), &node("b"));
            assert_eq!(refused, Err(node("a")), "{claimed}");
        }
        assert_eq!(holders.claim(net("10.2.0.0/16"), &node("b")), Ok(()));
        assert_eq!(holders.claim(net("10.1.3.0/24"), &node("a")), Ok(()));
    }

    #[test]
    fn families_do_not_overlap() {
        let mut holders = PrefixHolders::default();
        holders.claim(net("0.0.0.0/0"), &node("a")).unwrap();

        assert_eq!(holders.claim(net("::/0"), &node("b")), Ok(()));
    }

    proptest! {
        #[test]
        fn an_overlap_is_found_wherever_a_look_at_every_pair_finds_one(
            held in prop::collection::vec(small_net(), 0..12),
            asked in small_net(),
        ) {
            let mut holders = PrefixHolders::default();
            let mut taken = Vec::new();
            for (index, prefix) in held.into_iter().enumerate() {
                if holders.claim(prefix, &node(&format!("n{index}"))).is_ok() {
                    taken.push(prefix);
                }
            }
            let naive = taken
                .iter()
                .any(|prefix| prefix.contains(&asked) || asked.contains(prefix));

            prop_assert_eq!(holders.overlapping(asked).is_some(), naive);
        }
    }

    /// Few addresses and lengths, so that overlaps really happen.
    fn small_net() -> impl Strategy<Value = IpNet> {
        let v4 = (0..8u32, 24..=32u8).prop_map(|(host, length)| {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + host * 40);
            IpNet::V4(Ipv4Net::new_assert(address, length)).trunc()
        });
        let v6 = (0..8u128, 120..=128u8).prop_map(|(host, length)| {
            let address = std::net::Ipv6Addr::from((0xfd_u128 << 120) + host * 40);
            IpNet::V6(Ipv6Net::new_assert(address, length)).trunc()
        });
        prop_oneof![v4, v6]
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn node(name: &str) -> NodeKey {
        let cluster = ClusterName::parse("west").unwrap();
        (cluster, NodeName::parse(name).unwrap())
    }
}
