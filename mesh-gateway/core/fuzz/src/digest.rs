//! Two stores that compare digests: they find all that differs; and with one that lies, whatever it says.

use cluster_registry::{
    digest::{Digest, KeyRange, Level, Part, Step, StoreDigests, Summary},
    name::{ClusterName, ServiceName},
    resource::{Key, Resource, ResourceId},
    service::Service,
    store::{Epoch, Store},
};
use mesh_gateway_core::convert::{decode_summary, encode_for_digest, encode_summary};

use super::tape::Tape;

/// More answers than a comparison has levels would be one that does not end.
const MOST_STEPS: usize = 5;

/// Bytes as two stores and what a liar says of a third.
pub fn digest(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    let (mut one, mut other) = (Side::new(1), Side::new(2));
    let liar = summary(&mut tape);
    while let Some(step) = tape.step() {
        let number = u16::from(tape.byte()) | (u16::from(step % 16) << 8);
        match step >> 6 {
            0 => {
                one.put(number, false);
                other.put(number, false);
            }
            1 => one.put(number, step & 32 != 0),
            2 => other.put(number, step & 32 != 0),
            // Digests are made now, and kept up from then on.
            _ => drop(one.compare(&[])),
        }
    }
    other.hear_lies(&liar);
    let ranges = walk(&mut one, &mut other);
    for (key, value) in one.store.iter() {
        let is_same = other.store.get(&key) == Some(value);
        assert!(is_same || covers(&ranges, &key), "{key:?} is missed");
    }
    for (key, _) in other.store.iter() {
        let is_there = one.store.get(&key).is_some();
        assert!(is_there || covers(&ranges, &key), "{key:?} is missed");
    }
}

struct Side {
    store: Store,
    digests: StoreDigests,
}

impl Side {
    fn new(epoch: u64) -> Self {
        Self {
            store: Store::new(Epoch(epoch)),
            digests: StoreDigests::new(encode_for_digest, None),
        }
    }

    fn put(&mut self, number: u16, global: bool) {
        let mut service = Service::default();
        service.sharing.global = global;
        self.store.put(key(number), Resource::from(service), None);
    }

    fn compare(&mut self, theirs: &[Summary]) -> Step {
        self.digests.compare(&self.store, theirs)
    }

    /// Whatever is said, as the wire carries it, the answer is finer or the end.
    fn hear_lies(&mut self, lie: &Summary) {
        let east = cluster();
        let read = decode_summary(lie.level, encode_summary(lie, &east), &east);
        let Ok(read) = read else {
            return;
        };
        let level = read.level;
        if let Step::Finer(summaries) = self.compare(&[read]) {
            assert!(summaries.iter().all(|summary| summary.level < level));
        }
    }
}

fn walk(one: &mut Side, other: &mut Side) -> Vec<KeyRange> {
    let mut said = Vec::new();
    let (mut speaker, mut listener) = (one, other);
    for _ in 0..MOST_STEPS {
        match speaker.compare(&said) {
            Step::Same => return Vec::new(),
            Step::Differ(ranges) => return ranges,
            Step::Finer(summaries) => said = summaries,
        }
        std::mem::swap(&mut speaker, &mut listener);
    }
    panic!("the comparison does not end");
}

fn covers(ranges: &[KeyRange], key: &Key) -> bool {
    ranges.iter().any(|range| range.contains(key))
}

fn summary(tape: &mut Tape<'_>) -> Summary {
    let mut bound = || Some(tape.short()).filter(|n| *n > 0).map(key);
    let range = KeyRange {
        from: bound(),
        until: bound(),
    };
    let mut parts = vec![Part {
        from: range.from.clone(),
        digest: Digest([tape.byte(); 16]),
    }];
    for _ in 0..tape.byte() % 8 {
        parts.push(Part {
            from: Some(key(tape.short())),
            digest: Digest([tape.byte(); 16]),
        });
    }
    Summary {
        level: Level::from_number(tape.byte() % 5).unwrap_or(Level::ROOT),
        range,
        parts,
    }
}

fn key(number: u16) -> Key {
    let name = ServiceName::parse("shop", &format!("s{number}")).expect("a good name");
    Key {
        cluster: cluster(),
        id: ResourceId::Service(name),
    }
}

fn cluster() -> ClusterName {
    ClusterName::parse("east").expect("a good name")
}
