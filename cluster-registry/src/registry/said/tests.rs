//! Tests of comparisons of what a peer has with what it said: whatever became of that here.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    digest::StoreDigests,
    import::{Grants, Namespaces},
    link::LinkSpec,
    mcs::Export,
    registry::tests::registry,
    service::Service,
    store::{Epoch, Store},
    testing::{any_id, any_value, cluster, endpoint, ip, key, service, shop},
};

#[test]
fn a_peer_whose_word_was_all_heard_has_nothing_to_say() {
    let mut pair = Pair::new(&link());
    let told = [
        pair.said(ResourceId::Service(shop("web")), exported(7).into()),
        // Not granted.
        pair.said(ResourceId::Service(bank()), exported(3).into()),
        pair.said(endpoint_id("192.0.2.1"), endpoint(true).into()),
        // Refused whatever the link says.
        pair.said(reserved(), service(&[], true, true).into()),
        pair.said(endpoint_id("169.254.0.1"), endpoint(true).into()),
        pair.said(endpoint_id("10.1.0.1"), endpoint(true).into()),
    ];
    assert_eq!(
        told,
        [
            "",
            "namespace_not_granted",
            "range_not_granted",
            "reserved_service",
            "unroutable",
            ""
        ]
    );

    assert_eq!(pair.compare(), []);
}

#[test]
fn a_comparison_that_was_prepared_knows_what_is_said_after_that() {
    let west = cluster("west");
    let mut pair = Pair::new(&link());
    pair.registry.prepare_comparison(&west);
    assert!(pair.registry.peers[&west].said.tree.is_none());

    pair.said(endpoint_id("10.1.0.1"), endpoint(true).into());
    pair.registry.prepare_comparison(&west);
    assert!(pair.registry.peers[&west].said.tree.is_some());
    pair.said(endpoint_id("10.1.0.2"), endpoint(true).into());
    assert_eq!(pair.compare(), []);

    pair.publish(&endpoint_id("10.1.0.1"), None);
    assert!(!pair.compare().is_empty());
}

#[test]
fn a_change_of_what_is_withheld_or_was_refused_is_found() {
    let mut pair = Pair::new(&link());
    for id in [endpoint_id("192.0.2.1"), endpoint_id("169.254.0.1")] {
        pair.said(id.clone(), endpoint(true).into());
        pair.store.put(of_west(&id), endpoint(false).into(), None);
        assert!(!pair.compare().is_empty(), "{id:?}");

        pair.say_ranges(&[KeyRange::default()]);
        assert_eq!(pair.compare(), []);

        pair.store.delete(&of_west(&id), None);
        assert!(!pair.compare().is_empty(), "{id:?} is gone");
        pair.say_ranges(&[KeyRange::default()]);
        assert_eq!(pair.compare(), []);
    }
}

#[test]
fn what_there_was_no_room_for_differs() {
    let mut link = link();
    link.limits.endpoints = 1;
    let mut pair = Pair::new(&link);
    pair.said(endpoint_id("10.1.0.1"), endpoint(true).into());
    let refused = pair.said(endpoint_id("10.1.0.2"), endpoint(true).into());
    assert_eq!(refused, "too_many");

    assert!(!pair.compare().is_empty());
}

#[test]
fn an_export_counts_as_the_peer_made_it_once_its_word_is_believed() {
    let mut link = link();
    let mut pair = Pair::new(&link);
    pair.said(ResourceId::Service(shop("web")), exported(7).into());
    assert_eq!(pair.created(), Timestamp(u64::MAX));

    link.trust_timestamps = true;
    pair.registry.change_peer(&link);
    assert_eq!(pair.created(), Timestamp(7));
    assert_eq!(pair.compare(), []);

    link.trust_timestamps = false;
    pair.registry.change_peer(&link);
    assert_eq!(pair.created(), Timestamp(u64::MAX));
    assert_eq!(pair.compare(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// What is missed is found, and once it was said the registry is as if it had missed nothing.
    #[test]
    fn after_a_comparison_and_what_it_finds_all_is_known(
        changes in prop::collection::vec(any_saying(), 0..60),
        compares_every in 1usize..8,
    ) {
        let mut pair = Pair::new(&link());
        let mut complete = Pair::new(&link());
        for (n, (id, value, is_missed)) in changes.into_iter().enumerate() {
            complete.say(&id, value.clone());
            if is_missed {
                pair.publish(&id, value);
            } else {
                pair.say(&id, value);
            }
            if n % compares_every == 0 {
                let ranges = pair.compare();
                pair.say_ranges(&ranges);
                prop_assert_eq!(pair.compare(), []);
            }
        }
        let ranges = pair.compare();
        pair.say_ranges(&ranges);

        prop_assert_eq!(pair.compare(), []);
        prop_assert_eq!(complete.compare(), []);
        prop_assert_eq!(pair.shown(), complete.shown());
    }
}

/// A peer's store, and a registry that hears some of what changes in it.
struct Pair {
    store: Store,
    digests: StoreDigests,
    registry: Registry,
}

impl Pair {
    fn new(link: &LinkSpec) -> Self {
        let mut registry = registry();
        registry.digest_with(encode);
        registry.add_peer(link);
        Self {
            store: Store::new(Epoch(9)),
            digests: StoreDigests::new(encode, None),
            registry,
        }
    }

    /// The peer has something and says it; returns why it is refused.
    fn said(&mut self, id: ResourceId, value: Resource) -> &'static str {
        self.say(&id, Some(value))
    }

    fn say(&mut self, id: &ResourceId, value: Option<Resource>) -> &'static str {
        self.publish(id, value.clone());
        self.hear(of_west(id), value)
    }

    fn publish(&mut self, id: &ResourceId, value: Option<Resource>) {
        let key = of_west(id);
        match value {
            Some(value) => drop(self.store.put(key, value, None)),
            None => drop(self.store.delete(&key, None)),
        }
    }

    fn hear(&mut self, key: Key, value: Option<Resource>) -> &'static str {
        let taken = self
            .registry
            .handle_import(&cluster("west"), key, value, None);
        taken.err().map_or("", |refusal| refusal.label())
    }

    /// The peer says all that it has in some ranges.
    fn say_ranges(&mut self, ranges: &[KeyRange]) {
        let west = cluster("west");
        self.registry.handle_import_begin(&west, ranges);
        for change in self.store.page(ranges, usize::MAX).changes {
            self.hear(change.key, change.value);
        }
        self.registry.handle_import_end(&west);
    }

    /// What differs, as both find out together.
    fn compare(&mut self) -> Vec<KeyRange> {
        let mut said = Vec::new();
        for speaker in 0.. {
            let step = match speaker % 2 {
                0 => self.digests.compare(&self.store, &said),
                _ => self
                    .registry
                    .compare_imports(&cluster("west"), &said)
                    .unwrap(),
            };
            match step {
                Step::Same => return Vec::new(),
                Step::Differ(ranges) => return ranges,
                Step::Finer(summaries) => said = summaries,
            }
        }
        Vec::new()
    }

    /// What is shown of it that nobody else can lay claim to: of two that claim the same, the first one keeps it.
    fn shown(&self) -> Vec<(Key, Resource)> {
        let west = cluster("west");
        let shown = self.registry.feed().iter_of(&west);
        let is_undisputed =
            |key: &Key| matches!(key.id, ResourceId::Service(_) | ResourceId::Endpoint(..));
        shown.filter(|(key, _)| is_undisputed(key)).collect()
    }

    fn created(&self) -> Timestamp {
        let key = of_west(&ResourceId::Service(shop("web")));
        match self.registry.feed().get(&key) {
            Some(Resource::Service(service)) => service.export.as_ref().unwrap().created,
            other => panic!("{other:?}"),
        }
    }
}

/// A link that grants one namespace and one range, and does not believe timestamps.
fn link() -> LinkSpec {
    let mut link = LinkSpec::new(cluster("west"));
    link.grants = Grants {
        namespaces: Namespaces::Only(BTreeSet::from([shop("web").namespace])),
        cidrs: vec!["10.0.0.0/8".parse().unwrap()],
    };
    link.trust_timestamps = false;
    link
}

fn any_saying() -> impl Strategy<Value = (ResourceId, Option<Resource>, bool)> {
    let reserved = Just(reserved()).boxed();
    let id = prop_oneof![8 => any_id().boxed(), 1 => reserved];
    let id = id.prop_filter("a peer does not announce it", |id| {
        *id != ResourceId::Cluster
    });
    let saying = id.prop_flat_map(|id| {
        let value = prop::option::weighted(0.7, any_value(&id));
        (Just(id), value, any::<bool>())
    });
    saying.boxed()
}

fn encode(key: &Key, value: Option<&Resource>, out: &mut Vec<u8>) {
    out.extend(format!("{key:?} {value:?}").into_bytes());
}

fn of_west(id: &ResourceId) -> Key {
    key("west", id.clone())
}

fn endpoint_id(address: &str) -> ResourceId {
    ResourceId::Endpoint(shop("web"), ip(address))
}

fn bank() -> ServiceName {
    ServiceName::parse("bank", "web").unwrap()
}

fn reserved() -> ResourceId {
    ResourceId::Service(ServiceName::parse("default", "kubernetes").unwrap())
}

fn exported(created: u64) -> Service {
    Service {
        export: Some(Box::new(Export {
            created: Timestamp(created),
            ..Export::default()
        })),
        ..service(&[], false, true)
    }
}
