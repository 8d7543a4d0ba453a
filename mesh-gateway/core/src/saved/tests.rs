//! Tests of the saved state: it comes back as it was, or not at all.

use cluster_registry::{
    cluster::{Cluster, Control},
    endpoint::Endpoint,
    import::Namespaces,
    name::{Namespace, NodeName, ServiceName},
    node::Node,
    service::Service,
    store::{Epoch, Revision, Store},
};
use proptest::prelude::*;

use super::*;

#[test]
fn a_state_comes_back_as_it_was_without_control_states() {
    let store = store();

    let saved = read(&written(&store, 2), &name("east")).unwrap();

    let control = |key: &Key| key.id == ResourceId::Cluster;
    let wanted: BTreeMap<Key, Resource> = store.iter().filter(|(key, _)| !control(key)).collect();
    assert_eq!(saved.resources, wanted);
    assert_eq!(saved.links, links());
}

#[test]
fn what_is_deleted_between_two_pages_is_gone() {
    let mut store = store();
    let (mut writer, mut bytes) = Writer::begin(name("east"));
    let first = store.changes_after(None, 3).unwrap();
    let deleted = first.changes[1].key.clone();
    bytes.extend(writer.page(&first.changes));
    store.delete(&deleted, None);
    let rest = store.changes_after(Some(first.cursor), 100).unwrap();
    bytes.extend(writer.page(&rest.changes));
    bytes.extend(writer.end(&[]));

    let saved = read(&bytes, &name("east")).unwrap();

    assert!(!saved.resources.contains_key(&deleted));
    assert_eq!(saved.resources.len(), store.iter().count() - 1);
}

#[test]
fn another_clusters_or_versions_state_is_refused_by_name() {
    let bytes = written(&store(), 100);

    let foreign = read(&bytes, &name("west")).unwrap_err();
    assert_eq!(foreign, ReadError::Foreign("east".to_owned()));

    let mut newer = bytes;
    newer[8] = 9;
    assert_eq!(read(&newer, &name("east")), Err(ReadError::Newer(9)));

    let text = b"apiVersion: v1\nkind: Service\n";
    assert_eq!(read(text, &name("east")), Err(ReadError::NotSavedState));
}

#[test]
fn an_update_that_this_version_cannot_read_costs_the_positions() {
    let mut bytes = Vec::new();
    let (mut writer, head) = Writer::begin(name("east"));
    bytes.extend(head);
    let mut strange = Vec::new();
    let unknown = wire::Update::default();
    let updates = vec![unknown];
    let updates = wire::Updates { updates, batch: 0 };
    push(Part::Updates(updates), &mut strange);
    writer.hasher.update(&strange);
    bytes.extend(strange);
    bytes.extend(writer.end(&links()));

    let saved = read(&bytes, &name("east")).unwrap();

    assert!(links().iter().any(|link| link.cursor.is_some()));
    assert!(saved.links.iter().all(|link| link.cursor.is_none()));
}

proptest! {
    #[test]
    fn a_flipped_bit_is_never_taken_for_what_was_written(at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let mut bytes = written(&store(), 3);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;

        prop_assert!(read(&bytes, &name("east")).is_err());
    }

    #[test]
    fn a_cut_or_stretched_state_is_refused(at in any::<prop::sample::Index>(), more in prop::collection::vec(any::<u8>(), 1..40)) {
        let bytes = written(&store(), 3);
        let cut = bytes.split_at(at.index(bytes.len())).0;
        prop_assert!(read(cut, &name("east")).is_err());

        let stretched = [&bytes[..], &more].concat();
        prop_assert!(read(&stretched, &name("east")).is_err());
    }

    #[test]
    fn nothing_that_looks_like_a_state_panics(sections in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(sections);
        let checksum = Sha256::digest(&bytes);
        bytes.extend(checksum);

        prop_assert!(read(&bytes, &name("east")).is_err());
    }
}

fn written(store: &Store, page: usize) -> Vec<u8> {
    let (mut writer, mut bytes) = Writer::begin(name("east"));
    let mut cursor = None;
    loop {
        let batch = store.changes_after(cursor, page).unwrap();
        bytes.extend(writer.page(&batch.changes));
        cursor = Some(batch.cursor);
        if batch.is_last {
            break;
        }
    }
    bytes.extend(writer.end(&links()));
    bytes
}

fn links() -> Vec<SavedLink> {
    let shop = Namespace::parse("shop").unwrap();
    let mut west = LinkSpec::new(name("west"));
    west.addresses = vec!["gw.west.example:4700".parse().unwrap()];
    west.grants.namespaces = Namespaces::Only([shop].into());
    west.grants.cidrs = vec!["10.2.0.0/16".parse().unwrap()];
    west.export_to = Namespaces::Only([].into());
    west.limits.endpoints = 7;
    west.trust_timestamps = true;
    vec![
        SavedLink {
            spec: LinkSpec::new(name("north")),
            is_object: false,
            cursor: None,
        },
        SavedLink {
            spec: west,
            is_object: true,
            cursor: Some(Cursor::at(Epoch(3), Revision(4))),
        },
    ]
}

fn store() -> Store {
    let mut store = Store::new(Epoch(1));
    let mut put = |cluster: &str, id, value| {
        let cluster = name(cluster);
        store.put(Key { cluster, id }, value, None);
    };
    let lost = Cluster {
        control: Control::Lost,
    };
    put("west", ResourceId::Cluster, Resource::Cluster(lost));
    let web = || ServiceName::parse("shop", "web").unwrap();
    for cluster in ["east", "west"] {
        let service = Resource::from(Service::default());
        put(cluster, ResourceId::Service(web()), service);
        for last in 1..4 {
            let address = [10, 2, 0, last].into();
            let endpoint = Resource::from(Endpoint::ready([]));
            put(cluster, ResourceId::Endpoint(web(), address), endpoint);
        }
        let node = NodeName::parse("n1").unwrap();
        put(
            cluster,
            ResourceId::Node(node),
            Resource::from(Node::default()),
        );
    }
    store
}

fn name(text: &str) -> ClusterName {
    ClusterName::parse(text).unwrap()
}
