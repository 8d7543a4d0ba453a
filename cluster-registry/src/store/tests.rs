//! Tests of the store: random histories against a naive model, and the corners of resuming.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use proptest::prelude::*;

mod reader;

use self::reader::Reader;
use super::*;
use crate::{
    resource::ResourceId,
    testing::{any_change, cluster, endpoint, ip, key, service, shop},
};

#[test]
fn a_change_to_the_same_value_is_no_change() {
    let mut store = Store::new(EPOCH);

    assert_eq!(put_web(&mut store), Some(Revision(1)));
    assert_eq!(put_web(&mut store), None);
    assert_eq!(store.delete(&web(), None), Some(Revision(2)));
    assert_eq!(store.delete(&web(), None), None);
}

#[test]
fn a_slow_reader_gets_only_the_newest_state_of_a_key() {
    let mut store = Store::new(EPOCH);
    put_web(&mut store);
    let cursor = store.cursor();
    for shared in [false, true, false] {
        let value = Resource::from(service(&[], true, shared));
        store.put(web(), value, None);
    }

    let batch = store.changes_after(Some(cursor), 10).unwrap();

    assert_eq!(batch.changes.len(), 1);
    assert_eq!(batch.changes[0].revision, Revision(4));
}

#[test]
fn a_reader_that_was_away_hears_of_a_deletion() {
    let mut store = Store::new(EPOCH);
    put_web(&mut store);
    let cursor = store.cursor();
    store.delete(&web(), None);

    let batch = store.changes_after(Some(cursor), 10).unwrap();

    assert_eq!(batch.changes[0].value, None);
    assert!(batch.is_last);
}

#[test]
fn cursors_that_may_have_missed_something_are_refused() {
    let mut store = Store::new(EPOCH);
    put_web(&mut store);
    let before = store.cursor();
    store.delete(&web(), None);
    let after = store.cursor();
    store.compact(after.revision);

    let resume = |cursor| store.changes_after(Some(cursor), 10).map(|b| b.is_last);
    let other_epoch = Cursor::at(Epoch(8), Revision(1));
    let future = Cursor::at(EPOCH, Revision(3));

    assert_eq!(resume(before), Err(ResumeError::Compacted));
    assert_eq!(resume(other_epoch), Err(ResumeError::OtherEpoch));
    assert_eq!(resume(future), Err(ResumeError::Future));
    assert_eq!(resume(after), Ok(true));
}

#[test]
fn a_snapshot_in_pages_works_below_the_compaction_floor() {
    let mut store = store_of_three();
    store.delete(&web_endpoint(3), None);
    store.compact(store.cursor().revision);

    let first = store.changes_after(None, 1).unwrap();
    let second = store.changes_after(Some(first.cursor), 1).unwrap();

    assert!(!first.is_last);
    assert!(second.is_last);
    assert_eq!(second.cursor, store.cursor());
}

#[test]
fn a_snapshot_in_pages_starts_over_when_tombstones_are_forgotten_amid_it() {
    let mut store = store_of_three();
    let first = store.changes_after(None, 1).unwrap();
    store.delete(&first.changes[0].key, None);
    store.compact(store.cursor().revision);

    let second = store.changes_after(Some(first.cursor), 1);

    assert_eq!(second, Err(ResumeError::Compacted));
}

#[test]
fn compaction_above_a_limit_keeps_the_younger_half() {
    let mut store = Store::new(EPOCH);
    for n in 1..=10 {
        store.put(web_endpoint(n), Resource::from(endpoint(true)), None);
        store.delete(&web_endpoint(n), None);
    }

    store.compact_above(10);
    assert_eq!(store.tombstones(), 10);
    store.compact_above(8);
    assert_eq!(store.tombstones(), 4);
}

#[test]
fn the_resources_of_one_cluster_and_one_service_are_found() {
    let mut store = store_of_three();
    put_web(&mut store);
    let foreign = key("west", ResourceId::Endpoint(shop("web"), ip("10.9.0.9")));
    store.put(foreign, Resource::from(endpoint(true)), None);
    let other = key("east", ResourceId::Endpoint(shop("api"), ip("10.9.0.9")));
    store.put(other, Resource::from(endpoint(true)), None);

    assert_eq!(store.iter_of(&cluster("east")).count(), 5);
    assert_eq!(
        store.endpoints_of(&cluster("east"), &shop("web")).count(),
        3
    );
}

#[test]
fn memory_follows_the_keys_and_not_the_changes() {
    let mut store = Store::new(EPOCH);
    let reader = store.cursor();
    for n in 0..100_000u32 {
        let address = ip(&format!("10.9.{}.1", n % 100));
        let key = key("east", ResourceId::Endpoint(shop("web"), address));
        match n % 300 {
            0..100 => drop(store.delete(&key, None)),
            other => drop(store.put(key, endpoint(other < 200).into(), None)),
        }
        assert!(store.log.len() <= 2 * 100 + 4096, "{}", store.log.len());
        assert!(store.graves.iter().count() <= 2 * 100 + 1024);
    }

    // Who never read has all there is, once.
    let batch = store.changes_after(Some(reader), 1000).unwrap();
    assert_eq!(batch.changes.len(), 100);
}

#[test]
fn services_sort_after_what_is_of_none_and_endpoints_after_services() {
    let name = || crate::testing::node_name("z");
    let namespace = shop("z").namespace;
    let singles = [
        ResourceId::Cluster,
        ResourceId::Node(name()),
        ResourceId::Tunnel(name()),
        ResourceId::Namespace(namespace),
        ResourceId::Import(shop("z")),
    ];
    let (first, last) = (
        ResourceId::Service(shop("a")),
        ResourceId::Service(shop("z")),
    );

    assert!(singles.iter().all(|id| *id < first));
    assert!(last < ResourceId::Endpoint(shop("a"), ip("0.0.0.0")));
}

#[test]
fn a_service_of_many_endpoints_keeps_their_order_as_it_grows_and_shrinks() {
    let mut store = Store::new(EPOCH);
    let all: Vec<Key> = (0..=255).rev().map(web_endpoint).collect();
    for key in &all {
        store.put(key.clone(), endpoint(true).into(), None);
    }
    for key in all.iter().filter(|key| **key > web_endpoint(9)) {
        store.delete(key, None);
    }
    store.compact(store.cursor().revision);

    let left: Vec<Key> = store.iter().map(|(key, _)| key).collect();
    assert_eq!(left, (0..=9).map(web_endpoint).collect::<Vec<_>>());
    for key in &left {
        store.delete(key, None);
    }
    store.compact(store.cursor().revision);
    assert_eq!(store.table.iter().count(), 0);
}

#[test]
fn a_reader_resumes_from_any_revision_however_often_the_log_was_swept() {
    let mut store = Store::new(EPOCH);
    let mut newest: BTreeMap<Key, Revision> = BTreeMap::new();
    let mut cursors = vec![store.cursor()];
    for n in 0..20_000usize {
        // Some keys hardly ever change, so that old marks remain between those that are swept out.
        let number = if n % 97 == 0 { n } else { n % 200 };
        let address = ip(&format!("10.{}.{}.1", number / 256 % 256, number % 256));
        let key = key("east", ResourceId::Endpoint(shop("web"), address));
        let is_ready = newest.get(&key).is_some_and(|at| at.0 % 2 == 0);
        if let Some(at) = store.put(key.clone(), endpoint(is_ready).into(), None) {
            newest.insert(key, at);
        }
        if n % 500 == 0 {
            cursors.push(store.cursor());
        }
    }

    for cursor in cursors {
        let mut expected: Vec<(Revision, &Key)> = newest
            .iter()
            .map(|(key, at)| (*at, key))
            .filter(|(at, _)| *at > cursor.revision)
            .collect();
        expected.sort_unstable();
        let batch = store.changes_after(Some(cursor), usize::MAX).unwrap();
        let found: Vec<(Revision, &Key)> =
            batch.changes.iter().map(|c| (c.revision, &c.key)).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn thousands_of_services_that_come_and_go_in_any_order_are_walked_in_order() {
    let mut store = Store::new(EPOCH);
    let mut model = BTreeMap::new();
    let ids = |n: u32| {
        let name = shop(&format!("s{}", n.wrapping_mul(7919) % 2000));
        let v4 = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n));
        let v6 = ip(&format!("fd00::{n:x}"));
        [
            ResourceId::Service(name.clone()),
            ResourceId::Endpoint(name.clone(), v6),
            ResourceId::Endpoint(name, v4),
        ]
    };
    for n in 0..6000 {
        for id in ids(n % 2000) {
            let key = key(if n % 2 == 0 { "east" } else { "west" }, id);
            assert_eq!(store.seek(&key), model.contains_key(&key));
            // The second round takes most away, and the third brings them back.
            if (2000..4000).contains(&n) && n % 9 != 0 {
                store.delete(&key, None);
                model.remove(&key);
                continue;
            }
            let value = if matches!(key.id, ResourceId::Service(_)) {
                Resource::from(service(&[], true, true))
            } else {
                Resource::from(endpoint(true))
            };
            store.put(key.clone(), value.clone(), None);
            model.insert(key, value);
        }
        if n == 3000 || n == 4500 {
            store.compact(store.cursor().revision);
            assert!(store.iter().eq(model.clone()));
        }
    }

    assert!(store.iter().eq(model.clone()));
    for (n, from) in model.keys().enumerate().step_by(457) {
        let range = KeyRange {
            from: Some(from.clone()),
            until: None,
        };
        let rest = model
            .iter()
            .skip(n)
            .map(|(key, value)| (key.clone(), value.clone()));
        assert!(store.range(&range).eq(rest));
        assert_eq!(store.get(from).as_ref(), model.get(from));
    }
}

proptest! {
    #[test]
    fn readers_with_any_page_size_end_equal_to_the_store(
        steps in prop::collection::vec(any_step(), 1..120),
        limits in prop::collection::vec(1usize..7, 3),
    ) {
        let mut store = Store::new(EPOCH);
        let mut model = BTreeMap::new();
        let mut readers: Vec<Reader> = limits.into_iter().map(Reader::new).collect();
        for step in steps {
            match step {
                Step::Change(key, value) => {
                    let is_change = model.get(&key) != value.as_ref();
                    let revision = match value.clone() {
                        Some(value) => store.put(key.clone(), value, None),
                        None => store.delete(&key, None),
                    };
                    prop_assert_eq!(revision.is_some(), is_change);
                    match value {
                        Some(value) => model.insert(key, value),
                        None => model.remove(&key),
                    };
                }
                Step::Read(reader) => readers[reader].read(&store),
                Step::Compact(share) => {
                    let newest = store.cursor().revision.0;
                    store.compact(Revision(newest * u64::from(share) / 4));
                }
                Step::CompactAbove(limit) => {
                    store.compact_above(limit);
                    prop_assert!(store.tombstones() <= limit);
                }
            }
            let held: Vec<(Key, Resource)> = store.iter().collect();
            prop_assert!(held.iter().map(|(key, value)| (key, value)).eq(model.iter()));
            prop_assert_eq!(store.tombstones(), store.keys - held.len());
        }
        for reader in &mut readers {
            reader.read_to_the_end(&store);
            prop_assert_eq!(&reader.known, &model);
        }
    }
}

const EPOCH: Epoch = Epoch(7);

#[derive(Debug, Clone)]
enum Step {
    Change(Key, Option<Resource>),
    Read(usize),
    Compact(u8),
    CompactAbove(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any_change().prop_map(|(key, value)| Step::Change(key, value)),
        6 => (0..3usize).prop_map(Step::Read),
        1 => (0..=4u8).prop_map(Step::Compact),
        1 => (0..4usize).prop_map(Step::CompactAbove),
    ]
}

fn web() -> Key {
    key("east", ResourceId::Service(shop("web")))
}

fn web_endpoint(n: u8) -> Key {
    let address = IpAddr::V4(Ipv4Addr::new(10, 9, 0, n));
    key("east", ResourceId::Endpoint(shop("web"), address))
}

fn put_web(store: &mut Store) -> Option<Revision> {
    store.put(web(), Resource::from(service(&[], true, true)), None)
}

fn store_of_three() -> Store {
    let mut store = Store::new(EPOCH);
    for n in 1..=3 {
        store.put(web_endpoint(n), Resource::from(endpoint(true)), None);
    }
    store
}
