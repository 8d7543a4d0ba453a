//! Tests of digests: walks between stores that differ, and digests kept against digests made anew.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    resource::ResourceId,
    store::{Epoch, Store},
    testing::{any_change, endpoint, ip, key, shop},
};

#[test]
fn stores_that_hold_the_same_agree_at_once() {
    let (mut one, mut other) = (store(1, 0..5_000), store(2, 0..5_000));

    let walk = walk(&mut one, &mut other);

    assert_eq!(walk.differing, []);
    assert_eq!(walk.parts, 2);
}

#[test]
fn one_change_among_many_is_found_for_little() {
    let (mut one, mut other) = (store(1, 0..20_000), store(2, 0..20_000));
    let changed = web_endpoint(3_141);
    one.put(changed.clone(), endpoint(false).into(), None);

    let walk = walk(&mut one, &mut other);

    assert_eq!(walk.differing, [changed]);
    // At three levels about 64 parts from each side, though a range may well be a few times longer.
    assert!(walk.parts < 3_000, "{} parts", walk.parts);
}

#[test]
fn a_range_of_keys_holds_about_64_on_average() {
    let ranks = (0..50_000).map(|n| rank(&web_endpoint(n)).number());
    let begins = ranks.filter(|rank| *rank > 0).count();

    assert!((600..1_000).contains(&begins), "{begins}");
}

#[test]
fn a_change_only_makes_digests_anew_that_hold_it() {
    let mut store = store(1, 0..20_000);
    let whole = KeyRange::default();
    let before = store.summary(Level(1), &whole);
    store.put(web_endpoint(7), endpoint(false).into(), None);

    let after = store.summary(Level(1), &whole);

    let changed = before.parts.iter().zip(&after.parts);
    assert_eq!(changed.filter(|(old, new)| old != new).count(), 1);
}

#[test]
fn a_summary_that_does_not_fit_makes_the_whole_range_differ() {
    let mut store = store(1, 0..2_000);
    let whole = KeyRange::default();
    let own = store.summary(Level(1), &whole);
    let spoil = |change: &dyn Fn(&mut Summary)| {
        let mut theirs = own.clone();
        change(&mut theirs);
        differing_ranges(&own, &theirs)
    };

    assert_eq!(spoil(&|_| {}), []);
    for change in [
        &(|theirs: &mut Summary| theirs.parts.reverse()) as &dyn Fn(&mut Summary),
        &|theirs| theirs.parts.clear(),
        &|theirs| theirs.parts.truncate(0),
        &|theirs| drop(theirs.parts.remove(0)),
        &|theirs| theirs.level = Level(2),
        &|theirs| theirs.range.until = Some(web_endpoint(1)),
    ] {
        assert_eq!(spoil(change), std::slice::from_ref(&whole));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_walk_finds_exactly_the_keys_that_differ(
        common in 0..3_000u32,
        changed in prop::collection::btree_set(0..3_000u32, 0..20),
        removed in prop::collection::btree_set(0..3_000u32, 0..20),
        added in prop::collection::btree_set(3_000..6_000u32, 0..20),
    ) {
        let (mut one, mut other) = (store(1, 0..common), store(2, 0..common));
        // Digests are kept by one side through the changes, and made afterwards by the other.
        one.summary(Level::ROOT, &KeyRange::default());
        let mut wanted = BTreeSet::new();
        for n in changed.iter().chain(&added) {
            one.put(web_endpoint(*n), endpoint(false).into(), None);
            wanted.insert(web_endpoint(*n));
        }
        for n in &removed {
            one.delete(&web_endpoint(*n), None);
            let was_known = other.get(&web_endpoint(*n)).is_some();
            if was_known {
                wanted.insert(web_endpoint(*n));
            } else {
                wanted.remove(&web_endpoint(*n));
            }
        }

        let walk = walk(&mut one, &mut other);

        let wanted: Vec<Key> = wanted.into_iter().collect();
        prop_assert_eq!(&walk.differing, &wanted);
    }

    #[test]
    fn kept_digests_are_those_made_anew(
        changes in prop::collection::vec(any_change(), 0..80),
        asks_every in 1usize..6,
    ) {
        let mut store = Store::new(Epoch(1));
        let mut model = BTreeMap::new();
        for (n, (key, value)) in changes.into_iter().enumerate() {
            match value {
                Some(value) => {
                    store.put(key.clone(), value.clone(), None);
                    model.insert(key, value);
                }
                None => {
                    store.delete(&key, None);
                    model.remove(&key);
                }
            }
            if n % asks_every == 0 {
                let mut anew = Store::new(Epoch(2));
                for (key, value) in &model {
                    anew.put(key.clone(), value.clone(), None);
                }
                for level in 0..=Level::ROOT.0 {
                    let whole = KeyRange::default();
                    let kept = store.summary(Level(level), &whole);
                    prop_assert_eq!(kept, anew.summary(Level(level), &whole));
                }
            }
        }
    }

    /// A part of a range has the same digest whether the store's own ranges begin and end there or not.
    #[test]
    fn a_digest_depends_on_what_the_range_holds_alone(
        from in 0..2_000u32,
        length in 0..2_000u32,
        elsewhere in 2_500..3_000u32,
    ) {
        let range = KeyRange {
            from: Some(web_endpoint(from)),
            until: Some(web_endpoint(from + length)),
        };
        let mut large = store(1, 0..elsewhere);
        let mut small = store(2, from..(from + length).min(elsewhere));
        for level in 1..=Level::ROOT.0 {
            let one = large.summary(Level(level), &range);
            prop_assert_eq!(differing_ranges(&one, &small.summary(Level(level), &range)), []);
        }
    }
}

/// What a walk found, and how many parts both sides said.
struct Walk {
    differing: Vec<Key>,
    parts: usize,
}

fn walk(one: &mut Store, other: &mut Store) -> Walk {
    let mut level = Level::ROOT;
    let mut ranges = vec![KeyRange::default()];
    let mut parts = 0;
    loop {
        let mut summaries = Vec::new();
        for range in &ranges {
            let pair = (one.summary(level, range), other.summary(level, range));
            parts += pair.0.parts.len() + pair.1.parts.len();
            summaries.push(pair);
        }
        let Some(finer) = level.finer() else {
            let keys = summaries
                .iter()
                .flat_map(|(a, b)| differing_keys(a, b).unwrap());
            return Walk {
                differing: keys.collect(),
                parts,
            };
        };
        let differing = summaries.iter().flat_map(|(a, b)| differing_ranges(a, b));
        ranges = differing.collect();
        level = finer;
    }
}

fn store(epoch: u64, numbers: std::ops::Range<u32>) -> Store {
    let mut store = Store::new(Epoch(epoch));
    for n in numbers {
        store.put(web_endpoint(n), endpoint(true).into(), None);
    }
    store
}

/// Keys in the order of their numbers.
fn web_endpoint(n: u32) -> Key {
    let [_, a, b, c] = n.to_be_bytes();
    let address = ip(&format!("10.{a}.{b}.{c}"));
    key("east", ResourceId::Endpoint(shop("web"), address))
}
