//! Tests of the shared map: random histories against the standard library's map, with clones kept on the way.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{node::MAX_ENTRIES, *};

proptest! {
    #[test]
    fn a_map_holds_what_a_plain_one_holds_and_clones_do_not_change(
        steps in prop::collection::vec((0..300u16, prop::option::weighted(0.6, any::<u8>())), 0..900),
        from in 0..300u16,
    ) {
        let mut map = SharedMap::new();
        let mut plain = BTreeMap::new();
        let mut kept = Vec::new();
        for (at, (key, value)) in steps.into_iter().enumerate() {
            if at % 100 == 0 {
                kept.push((map.clone(), plain.clone()));
            }
            match value {
                Some(value) if value % 4 == 0 => {
                    *map.get_or_default(&key) = value;
                    plain.insert(key, value);
                }
                Some(value) if value % 4 == 1 => {
                    map.update(&key, |held| *held = held.wrapping_add(value));
                    let held = plain.entry(key).or_default();
                    *held = held.wrapping_add(value);
                }
                Some(value) => prop_assert_eq!(map.insert(key, value), plain.insert(key, value)),
                None => prop_assert_eq!(map.remove(&key), plain.remove(&key)),
            }
        }
        kept.push((map, plain));

        for (map, plain) in &kept {
            prop_assert_eq!(map.len(), plain.len());
            prop_assert!(map.iter().eq(plain));
            prop_assert!(map.iter_from(&from).eq(plain.range(from..)));
            for key in 0..300 {
                prop_assert_eq!(map.get(&key), plain.get(&key));
            }
            prop_assert_eq!(map, &plain.iter().map(|(k, v)| (*k, *v)).collect());
            if let Root::Many(root) = &map.root {
                prop_assert!(map.len() > 1);
                check_shape(root, true)?;
            }
        }
    }

    #[test]
    fn differences_are_those_of_plain_maps(
        first in prop::collection::btree_map(0..600u16, 0..3u8, 0..400),
        steps in prop::collection::vec((0..600u16, prop::option::of(0..3u8)), 0..400),
    ) {
        let old: SharedMap<u16, u8> = first.into_iter().collect();
        let mut new = old.clone();
        for (key, value) in steps {
            match value {
                Some(value) => drop(new.insert(key, value)),
                None => drop(new.remove(&key)),
            }
        }
        let expected: Vec<u16> = (0..600).filter(|key| old.get(key) != new.get(key)).collect();
        for (one, other) in [(&new, &old), (&old, &new)] {
            let found: Vec<u16> = one.differences(other, PartialEq::eq).copied().collect();
            prop_assert_eq!(&found, &expected);
        }
    }
}

#[test]
fn a_difference_is_found_without_looking_at_what_is_shared() {
    let old: SharedMap<u32, u32> = (0..100_000).map(|n| (2 * n, 0)).collect();
    let mut new = old.clone();
    let expected = [7, 20_000, 20_001, 199_998];
    new.insert(7, 0);
    new.insert(20_000, 1);
    new.insert(20_001, 0);
    new.remove(&199_998);
    let compared = std::cell::Cell::new(0);
    let found = new.differences(&old, |one, other| {
        compared.set(compared.get() + 1);
        one == other
    });

    assert!(found.eq(&expected));
    assert!(compared.get() < 200, "{} of 100,000", compared.get());
}

#[test]
fn a_map_that_is_emptied_in_any_order_ends_flat() {
    let full: SharedMap<u32, u32> = (0..40_000).map(|n| (n, n)).collect();
    for step in [1, 7_919] {
        let mut map = full.clone();
        for n in 0..40_000u32 {
            assert!(map.remove(&(n * step % 40_000)).is_some());
        }
        assert_eq!(map, SharedMap::new());
        assert!(map.is_empty());
    }
    assert_eq!(full.len(), 40_000);
}

#[test]
fn keys_in_order_fill_their_nodes() {
    let map: SharedMap<u32, ()> = (0..256).map(|n| (n, ())).collect();

    let Root::Many(Node::Branch(branch)) = &map.root else {
        panic!("256 entries are more than a leaf");
    };

    assert_eq!(branch.children.len(), 16);
}

/// No node is empty or too long, keys are in order and above their branch's, and all leaves are equally deep.
fn check_shape(node: &Node<u16, u8>, is_root: bool) -> Result<usize, TestCaseError> {
    prop_assert!(node.count() <= MAX_ENTRIES);
    prop_assert!(is_root || node.count() > 0);
    match node {
        Node::Leaf(entries) => {
            prop_assert!(entries.is_sorted_by(|(a, _), (b, _)| a < b));
            Ok(0)
        }
        Node::Branch(branch) => {
            let children = &branch.children;
            prop_assert!(children.is_sorted_by(|(a, _), (b, _)| a < b));
            let below: usize = children.iter().map(|(_, child)| child.len()).sum();
            prop_assert_eq!(node.len(), below);
            let mut depths = Vec::new();
            for (_, child) in children.iter() {
                depths.push(check_shape(child, false)?);
            }
            prop_assert!(depths.iter().all(|depth| *depth == depths[0]));
            Ok(depths[0] + 1)
        }
    }
}
