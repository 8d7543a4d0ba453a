//! The addresses at which a cluster's endpoints serve, and how many do at each.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use super::decrement;
use crate::sorted::Sorted;

/// The addresses of one cluster; nearly all are those of one endpoint, so that only the others have a count.
///
/// They are kept as numbers: there are as many as endpoints, and numbers compare in one step.
#[derive(Debug, Default)]
pub(super) struct Served {
    v4: Sorted<u32>,
    v6: Sorted<u128>,
    /// How many endpoints there are beyond the first.
    more: BTreeMap<IpAddr, usize>,
}

impl Served {
    pub(super) fn add(&mut self, address: IpAddr) {
        let is_first = match address {
            IpAddr::V4(address) => insert(&mut self.v4, address.to_bits()),
            IpAddr::V6(address) => insert(&mut self.v6, address.to_bits()),
        };
        if !is_first {
            *self.more.entry(address).or_default() += 1;
        }
    }

    /// Counts one endpoint less, and returns whether none is left at the address.
    pub(super) fn remove(&mut self, address: IpAddr) -> bool {
        if self.more.contains_key(&address) {
            decrement(&mut self.more, &address);
            return false;
        }
        match address {
            IpAddr::V4(address) => remove(&mut self.v4, address.to_bits()),
            IpAddr::V6(address) => remove(&mut self.v6, address.to_bits()),
        }
    }

    /// The first address in a range.
    pub(super) fn first_in(&self, range: &IpNet) -> Option<IpAddr> {
        match range {
            IpNet::V4(range) => {
                let (first, last) = (range.network().to_bits(), range.broadcast().to_bits());
                let first = self.v4.iter_from(|own| own < first).next();
                let first = first.filter(|first| *first <= last);
                first.map(|bits| Ipv4Addr::from_bits(bits).into())
            }
            IpNet::V6(range) => {
                let (first, last) = (range.network().to_bits(), range.broadcast().to_bits());
                let first = self.v6.iter_from(|own| own < first).next();
                let first = first.filter(|first| *first <= last);
                first.map(|bits| Ipv6Addr::from_bits(bits).into())
            }
        }
    }
}

/// Adds a value, and returns whether it is new.
fn insert<T: Copy + Ord>(values: &mut Sorted<T>, value: T) -> bool {
    match values.find(|own| own.cmp(&value)) {
        Ok(_) => false,
        Err(place) => {
            values.insert_at(place, value);
            true
        }
    }
}

/// Removes a value, and returns whether it was there.
fn remove<T: Copy + Ord>(values: &mut Sorted<T>, value: T) -> bool {
    match values.find(|own| own.cmp(&value)) {
        Ok(place) => {
            values.remove_at(place);
            true
        }
        Err(_) => false,
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

    #[test]
    fn an_address_is_in_ranges_of_its_own_family_alone() {
        let mut served = Served::default();
        served.add(ip("10.1.0.7"));
        served.add(ip("fd00::7"));

        for (range, expected) in [
            ("10.1.0.7/32", Some("10.1.0.7")),
            ("0.0.0.0/0", Some("10.1.0.7")),
            ("10.1.0.8/29", None),
            ("::ffff:0:0/96", None),
            ("fd00::7/128", Some("fd00::7")),
            ("::/0", Some("fd00::7")),
        ] {
            let found = served.first_in(&range.parse().unwrap());
            assert_eq!(found, expected.map(ip), "{range}");
        }
    }
}
