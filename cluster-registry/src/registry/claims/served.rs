//! The addresses at which a cluster's endpoints serve, and how many do at each.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::decrement;

/// The addresses of one cluster; nearly all are those of one endpoint, so that only the others have a count.
#[derive(Debug, Default)]
pub(super) struct Served {
    addresses: BTreeSet<IpAddr>,
    /// How many endpoints there are beyond the first.
    more: BTreeMap<IpAddr, usize>,
}

impl Served {
    pub(super) fn add(&mut self, address: IpAddr) {
        if !self.addresses.insert(address) {
            *self.more.entry(address).or_default() += 1;
        }
    }

    /// Counts one endpoint less, and returns whether none is left at the address.
    pub(super) fn remove(&mut self, address: IpAddr) -> bool {
        if self.more.contains_key(&address) {
            decrement(&mut self.more, &address);
            return false;
        }
        self.addresses.remove(&address)
    }

    /// The first address in a range.
    pub(super) fn first_in(&self, range: &IpNet) -> Option<IpAddr> {
        let mut inside = self.addresses.range(range.network()..=range.broadcast());
        inside.next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ip;

    #[test]
    fn an_address_is_served_until_its_last_endpoint_is_gone() {
        let mut served = Served::default();
        let range = "10.1.0.0/24".parse().unwrap();
        for _ in 0..3 {
            served.add(ip("10.1.0.7"));
        }

        assert!(!served.remove(ip("10.1.0.7")));
        assert!(!served.remove(ip("10.1.0.7")));
        assert_eq!(served.first_in(&range), Some(ip("10.1.0.7")));

        assert!(served.remove(ip("10.1.0.7")));
        assert!(!served.remove(ip("10.1.0.7")));
        assert_eq!(served.first_in(&range), None);
    }
}
