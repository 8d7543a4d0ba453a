//! Tests of digests: walks between stores that differ, and digests kept against digests made anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeBounds,
};

use proptest::prelude::*;

use super::*;
use crate::{
    resource::{Key, Resource, ResourceId},
    store::{Epoch, Store},
    testing::{any_change, any_id, cluster, endpoint, ip, key, shop},
};

#[test]
fn stores_that_hold_the_same_agree_at_once() {
    let (mut one, mut other) = (side(1, 0..5_000), side(2, 0..5_000));

    let walk = walk(&mut one, &mut other);

    assert_eq!(walk.differing, []);
    assert_eq!((walk.steps, walk.parts), (1, 1));
}

#[test]
fn one_change_among_many_is_found_for_little() {
    let (mut one, mut other) = (side(1, 0..20_000), side(2, 0..20_000));
    let changed = web_endpoint(3_141);
    one.store.put(changed.clone(), endpoint(false).into(), None);

    let walk = walk(&mut one, &mut other);

    let [range] = &walk.differing[..] else {
        panic!("{:?}", walk.differing);
    };
    assert!(range.contains(&changed));
    // About 64, though a range may well be a few times longer.
    assert!(one.store.range(range).count() < 640);
    // At each level about 64 parts, by one side.
    assert!(walk.parts < 1_000, "{} parts", walk.parts);
}

#[test]
fn a_range_of_keys_holds_about_64_on_average() {
    let ranks = (0..50_000).map(|n| rank(encode, &web_endpoint(n)).number());
    let begins = ranks.filter(|rank| *rank > 0).count();

    assert!((600..1_000).contains(&begins), "{begins}");
}

#[test]
fn a_change_only_makes_digests_anew_that_hold_it() {
    let mut side = side(1, 0..20_000);
    let whole = KeyRange::default();
    let before = side.summary(Level(1), &whole);
    side.store
        .put(web_endpoint(7), endpoint(false).into(), None);

    let after = side.summary(Level(1), &whole);

    let changed = before.parts.iter().zip(&after.parts);
    assert_eq!(changed.filter(|(old, new)| old != new).count(), 1);
}

#[test]
fn a_summary_that_does_not_fit_makes_the_whole_range_differ() {
    let mut side = side(1, 0..2_000);
    let whole = KeyRange::default();
    let own = side.summary(Level(1), &whole);
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
    fn a_walk_finds_all_that_differs_and_little_else(
        common in 0..3_000u32,
        changed in prop::collection::btree_set(0..3_000u32, 0..20),
        removed in prop::collection::btree_set(0..3_000u32, 0..20),
        added in prop::collection::btree_set(3_000..6_000u32, 0..20),
    ) {
        let (mut one, mut other) = (side(1, 0..common), side(2, 0..common));
        // Digests are kept by one side through the changes, and made afterwards by the other.
        one.summary(Level::ROOT, &KeyRange::default());
        for n in changed.iter().chain(&added) {
            one.store.put(web_endpoint(*n), endpoint(false).into(), None);
        }
        for n in &removed {
            one.store.delete(&web_endpoint(*n), None);
        }

        let walk = walk(&mut one, &mut other);

        let held = |side: &Side| -> BTreeMap<Key, Resource> {
            side.store.iter().collect()
        };
        let (of_one, of_other) = (held(&one), held(&other));
        let keys: BTreeSet<&Key> = of_one.keys().chain(of_other.keys()).collect();
        let differing = keys.into_iter().filter(|key| of_one.get(*key) != of_other.get(*key));
        let mut untouched: BTreeSet<&KeyRange> = walk.differing.iter().collect();
        for key in differing {
            let range = walk.differing.iter().find(|range| range.contains(key));
            prop_assert!(range.is_some(), "{key:?} is missed");
            if let Some(range) = range {
                untouched.remove(range);
            }
        }
        prop_assert_eq!(untouched, BTreeSet::new());
    }

    #[test]
    fn kept_digests_are_those_made_anew(
        changes in prop::collection::vec(any_change(), 0..80),
        asks_every in 1usize..6,
    ) {
        let mut kept = side(1, 0..0);
        let mut model = BTreeMap::new();
        for (n, (key, value)) in changes.into_iter().enumerate() {
            match value {
                Some(value) => {
                    kept.store.put(key.clone(), value.clone(), None);
                    model.insert(key, value);
                }
                None => {
                    kept.store.delete(&key, None);
                    model.remove(&key);
                }
            }
            if n % asks_every == 0 {
                let mut anew = side(2, 0..0);
                for (key, value) in &model {
                    anew.store.put(key.clone(), value.clone(), None);
                }
                for level in 0..=Level::ROOT.0 {
                    let whole = KeyRange::default();
                    let known = kept.summary(Level(level), &whole);
                    prop_assert_eq!(known, anew.summary(Level(level), &whole));
                }
            }
        }
    }

    /// The ids of a cluster in a range are those whose keys the range contains.
    #[test]
    fn the_ids_of_a_cluster_in_a_range_are_those_whose_keys_are(
        from in proptest::option::of((0..3_usize, any_id())),
        until in proptest::option::of((0..3_usize, any_id())),
        id in any_id(),
    ) {
        let key = |(at, id): (usize, ResourceId)| Key {
            cluster: cluster(["east", "north", "west"][at]),
            id,
        };
        let range = KeyRange { from: from.map(key), until: until.map(key) };
        for at in 0..3 {
            let key = key((at, id.clone()));
            let ids = range.ids_of(&key.cluster);
            prop_assert_eq!(ids.is_some_and(|ids| ids.contains(&id)), range.contains(&key));
        }
    }

    /// A part of a range has the same digest whether the store's own ranges begin and end there or not.
    #[test]
    fn a_digest_depends_on_what_the_range_holds_alone(
        from in 0..2_000u32,
        // Sessions refuse empty ranges.
        length in 1..2_000u32,
        elsewhere in 2_500..3_000u32,
    ) {
        let range = KeyRange {
            from: Some(web_endpoint(from)),
            until: Some(web_endpoint(from + length)),
        };
        let mut large = side(1, 0..elsewhere);
        let mut small = side(2, from..(from + length).min(elsewhere));
        for level in 1..=Level::ROOT.0 {
            let one = large.summary(Level(level), &range);
            prop_assert_eq!(differing_ranges(&one, &small.summary(Level(level), &range)), []);
        }
    }
}

/// What a walk found, in how many messages, and of how many parts.
struct Walk {
    differing: Vec<KeyRange>,
    steps: usize,
    parts: usize,
}

/// A store and its digests.
struct Side {
    store: Store,
    digests: StoreDigests,
}

impl Side {
    fn summary(&mut self, level: Level, range: &KeyRange) -> Summary {
        self.digests.summary(&self.store, level, range)
    }
}

/// The sides answer each other until one knows what differs.
fn walk(one: &mut Side, other: &mut Side) -> Walk {
    let mut said = Vec::new();
    let mut walk = Walk {
        differing: Vec::new(),
        steps: 0,
        parts: 0,
    };
    let (mut speaker, mut listener) = (one, other);
    loop {
        match speaker.digests.compare(&speaker.store, &said) {
            Step::Same => return walk,
            Step::Differ(ranges) => {
                walk.differing = ranges;
                return walk;
            }
            Step::Finer(summaries) => {
                walk.steps += 1;
                walk.parts += summaries.iter().map(|s| s.parts.len()).sum::<usize>();
                said = summaries;
            }
        }
        assert!(walk.steps <= 4, "a comparison that does not end");
        std::mem::swap(&mut speaker, &mut listener);
    }
}

fn side(epoch: u64, numbers: std::ops::Range<u32>) -> Side {
    let mut store = Store::new(Epoch(epoch));
    for n in numbers {
        store.put(web_endpoint(n), endpoint(true).into(), None);
    }
    Side {
        store,
        digests: StoreDigests::new(encode, None),
    }
}

fn encode(key: &Key, value: Option<&Resource>, out: &mut Vec<u8>) {
    out.extend(format!("{key:?} {value:?}").into_bytes());
}

/// Keys in the order of their numbers.
fn web_endpoint(n: u32) -> Key {
    let [_, a, b, c] = n.to_be_bytes();
    let address = ip(&format!("10.{a}.{b}.{c}"));
    key("east", ResourceId::Endpoint(shop("web"), address))
}
