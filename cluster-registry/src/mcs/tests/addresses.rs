//! The allocator: stable addresses, restarts, several pools, and what happens when they are used up.

use std::{collections::BTreeSet, net::IpAddr};

use proptest::prelude::*;

use crate::{
    mcs::addresses::{AllocationError, Allocator, PoolError},
    testing::{ip, shop},
    traffic::{
        IpFamilies,
        IpFamily::{self, V4, V6},
        IpFamilyPolicy,
    },
};

#[test]
fn an_import_has_one_address_of_each_family_in_its_order() {
    let mut allocator = allocator(&["10.97.0.0/16", "fd97::/112"]);

    let ips = allocator.assign(&shop("web"), families(&[V6, V4])).unwrap();

    assert!(ips[0].is_ipv6() && ips[1].is_ipv4());
    assert_eq!(ips.len(), 2);
}

#[test]
fn an_address_is_the_same_in_another_life_and_in_another_order() {
    let mut one = allocator(&["10.97.0.0/16"]);
    let mut other = allocator(&["10.97.0.0/16"]);
    let web = one.assign(&shop("web"), families(&[V4])).unwrap();
    one.assign(&shop("api"), families(&[V4])).unwrap();
    other.assign(&shop("api"), families(&[V4])).unwrap();

    assert_eq!(other.assign(&shop("web"), families(&[V4])), Ok(web));
}

#[test]
fn an_address_stays_when_the_families_change() {
    let mut allocator = allocator(&["10.97.0.0/16", "fd97::/112"]);
    let first = allocator.assign(&shop("web"), families(&[V4])).unwrap();

    let both = allocator.assign(&shop("web"), families(&[V6, V4])).unwrap();
    let again = allocator.assign(&shop("web"), families(&[V4])).unwrap();

    assert_eq!(both[1], first[0]);
    assert_eq!(again, first);
}

#[test]
fn an_adopted_address_wins_over_the_hash_and_foreign_ones_are_left_out() {
    let mut allocator = allocator(&["10.97.0.0/24"]);
    let api = [ip("10.97.0.9")];
    assert_eq!(allocator.adopt(&shop("api"), &api), api);

    let adopted = allocator.adopt(
        &shop("web"),
        &[
            ip("10.97.0.9"),
            ip("10.98.0.1"),
            ip("10.97.0.0"),
            ip("10.97.0.7"),
            ip("10.97.0.8"),
        ],
    );

    assert_eq!(adopted, [ip("10.97.0.7")]);
    let assigned = allocator.assign(&shop("web"), families(&[V4]));
    assert_eq!(assigned, Ok(adopted));
}

#[test]
fn a_used_up_pool_is_an_error_until_somebody_lets_go() {
    let mut allocator = allocator(&["10.97.0.0/30"]);
    for name in ["a", "b"] {
        allocator.assign(&shop(name), families(&[V4])).unwrap();
    }

    let error = allocator.assign(&shop("c"), families(&[V4])).unwrap_err();
    assert_eq!(error, AllocationError::Exhausted(V4));
    assert_eq!(
        error.to_string(),
        "all IPv4 addresses of the pools are taken: add a pool"
    );
    assert!(!allocator.is_holder(&shop("c")));

    allocator.release(&shop("a"));
    assert!(allocator.assign(&shop("c"), families(&[V4])).is_ok());
}

#[test]
fn a_second_pool_is_used_when_the_first_is_full() {
    let mut allocator = allocator(&["10.97.0.0/30", "10.98.0.0/30"]);
    let ips: BTreeSet<IpAddr> = ["a", "b", "c", "d"]
        .iter()
        .flat_map(|name| allocator.assign(&shop(name), families(&[V4])).unwrap())
        .collect();

    let expected = ["10.97.0.1", "10.97.0.2", "10.98.0.1", "10.98.0.2"];
    assert_eq!(ips, expected.iter().map(|text| ip(text)).collect());
}

#[test]
fn a_family_without_a_pool_is_left_out_and_none_is_an_error() {
    let mut allocator = allocator(&["10.97.0.0/24"]);

    let both = allocator.assign(&shop("web"), families(&[V6, V4])).unwrap();
    let error = allocator.assign(&shop("api"), families(&[V6])).unwrap_err();

    assert_eq!(both.len(), 1);
    assert_eq!(
        error.to_string(),
        "no pool has addresses of the families IPv6: configure one"
    );
}

#[test]
fn ranges_that_cannot_be_pools_are_refused() {
    let refused = |ranges: &[&str]| {
        let ranges = ranges.iter().map(|text| text.parse().unwrap());
        Allocator::try_new(ranges).unwrap_err()
    };

    assert!(matches!(refused(&["10.0.0.1/32"]), PoolError::TooSmall(_)));
    assert!(matches!(refused(&["10.0.0.0/31"]), PoolError::TooSmall(_)));
    assert_eq!(
        refused(&["10.0.0.0/8", "10.97.0.0/16"]).to_string(),
        "10.0.0.0/8 and 10.97.0.0/16 overlap: give each address once"
    );
}

proptest! {
    #[test]
    fn no_two_imports_ever_share_an_address(
        steps in prop::collection::vec((0..40u8, prop::option::weighted(0.7, 0..4usize)), 0..200),
    ) {
        let mut allocator = allocator(&["10.97.0.0/28", "fd97::/124", "10.98.0.0/29"]);
        for (name, step) in steps {
            let name = shop(&format!("s{name}"));
            let asked = [&[V4][..], &[V6], &[V4, V6], &[V6, V4]];
            match step {
                None => allocator.release(&name),
                Some(at) => {
                    let before: Vec<_> = allocator.holders().map(|(n, i)| (n.clone(), i.to_vec())).collect();
                    match allocator.assign(&name, families(asked[at])) {
                        Ok(ips) => {
                            let got: Vec<IpFamily> = ips.iter().map(|ip| IpFamily::of(*ip)).collect();
                            prop_assert_eq!(&got, asked[at]);
                        }
                        Err(_) => {
                            let after: Vec<_> = allocator.holders().map(|(n, i)| (n.clone(), i.to_vec())).collect();
                            prop_assert_eq!(before, after);
                        }
                    }
                }
            }
            let all: Vec<IpAddr> = allocator.holders().flat_map(|(_, ips)| ips.to_vec()).collect();
            let distinct: BTreeSet<IpAddr> = all.iter().copied().collect();
            prop_assert_eq!(all.len(), distinct.len());
        }
    }
}

fn allocator(pools: &[&str]) -> Allocator {
    Allocator::try_new(pools.iter().map(|text| text.parse().unwrap())).unwrap()
}

fn families(families: &[IpFamily]) -> IpFamilies {
    IpFamilies::new(families.iter().copied(), IpFamilyPolicy::default())
}
