//! Tests of what follows from objects, and of the index against a naive one.

use std::sync::{Arc, LazyLock};

use cluster_registry::{
    endpoint::{Conditions, EndpointPort},
    service::{Protocol, Sharing},
};
use proptest::prelude::*;

use super::*;

#[test]
fn an_object_that_says_the_same_again_changes_nothing() {
    let mut index = Index::default();
    index.set(service_key("web"), Some(global_service()));
    index.set(slice_key("a"), Some(slice("web", &[(1, READY, 80)])));
    assert_eq!(index.take_changes().len(), 2);

    index.set(service_key("web"), Some(global_service()));
    index.set(slice_key("a"), Some(slice("web", &[(1, READY, 80)])));

    assert_eq!(index.take_changes(), []);
}

#[test]
fn of_a_slice_only_the_endpoints_that_differ_change() {
    let mut index = Index::default();
    index.set(
        slice_key("a"),
        Some(slice("web", &[(1, READY, 80), (2, READY, 80)])),
    );
    index.take_changes();

    index.set(
        slice_key("a"),
        Some(slice("web", &[(1, READY, 80), (3, READY, 80)])),
    );

    let changed: Vec<_> = index.take_changes();
    assert_eq!(
        changed
            .iter()
            .map(|(id, value)| (id.clone(), value.is_some()))
            .collect::<Vec<_>>(),
        [
            (endpoint_id("web", 2), false),
            (endpoint_id("web", 3), true)
        ]
    );
}

#[test]
fn an_endpoint_in_two_slices_has_the_ports_of_both() {
    let mut index = Index::default();
    index.set(slice_key("a"), Some(slice("web", &[(1, READY, 80)])));
    index.set(slice_key("b"), Some(slice("web", &[(1, READY, 443)])));

    let ports = &endpoint(&mut index).unwrap().ports;
    assert_eq!(ports.iter().map(|p| p.port).collect::<Vec<_>>(), [80, 443]);

    index.set(slice_key("a"), None);
    let ports = &endpoint(&mut index).unwrap().ports;
    assert_eq!(ports.iter().map(|p| p.port).collect::<Vec<_>>(), [443]);
}

#[test]
fn of_an_endpoint_in_two_slices_the_better_conditions_count() {
    let mut index = Index::default();
    let not_ready = Conditions {
        ready: false,
        ..READY
    };
    index.set(slice_key("a"), Some(slice("web", &[(1, not_ready, 80)])));
    index.set(slice_key("b"), Some(slice("web", &[(1, READY, 443)])));

    let endpoint = endpoint(&mut index).unwrap();

    assert_eq!(endpoint.conditions, READY);
    assert_eq!(endpoint.ports.len(), 1);
}

#[test]
fn a_slice_that_changes_its_service_takes_its_endpoints_along() {
    let mut index = Index::default();
    index.set(slice_key("a"), Some(slice("web", &[(1, READY, 80)])));
    index.take_changes();

    index.set(slice_key("a"), Some(slice("api", &[(1, READY, 80)])));

    let changes = index.take_changes();
    assert_eq!(changes.len(), 2);
    assert!(changes[0].0 == endpoint_id("api", 1) && changes[0].1.is_some());
    assert!(changes[1].0 == endpoint_id("web", 1) && changes[1].1.is_none());
}

#[test]
fn a_namespace_that_opts_out_takes_its_services_from_the_clusterset() {
    let mut index = Index::default();
    index.set(service_key("web"), Some(global_service()));
    index.take_changes();

    let namespace = ObjectKey::Namespace(Namespace::parse("shop").unwrap());
    index.set(
        namespace.clone(),
        Some(Object::Namespace(NamespaceSharing::Excluded)),
    );
    assert!(!is_global(&mut index));

    index.set(namespace, None);
    assert!(is_global(&mut index));
}

#[test]
fn an_endpoint_comes_before_its_service_without_harm() {
    let mut index = Index::default();
    index.set(slice_key("a"), Some(slice("web", &[(1, READY, 80)])));

    assert_eq!(index.take_changes().len(), 1);
    assert_eq!(index.take_snapshot().len(), 1);
}

proptest! {
    #[test]
    fn the_changes_add_up_to_the_snapshot_of_an_index_that_was_told_only_the_last_words(
        words in prop::collection::vec((0..6_usize, 0..5_usize, any::<bool>()), 0..60)
    ) {
        let mut index = Index::default();
        let mut followed = BTreeMap::new();
        let mut last_words = BTreeMap::new();
        for (key, value, takes) in words {
            let (key, object) = word(key, value);
            last_words.insert(key.clone(), object.clone());
            index.set(key, object);
            if takes {
                follow(&mut followed, index.take_changes());
            }
        }
        follow(&mut followed, index.take_changes());

        let mut fresh = Index::default();
        for (key, object) in last_words.into_iter().rev() {
            fresh.set(key, object);
        }
        let expected: BTreeMap<_, _> = fresh.take_snapshot().into_iter().collect();
        prop_assert_eq!(&followed, &expected);
        let snapshot: BTreeMap<_, _> = index.take_snapshot().into_iter().collect();
        prop_assert_eq!(followed, snapshot);
    }
}

const READY: Conditions = Conditions::READY;

fn follow(
    state: &mut BTreeMap<ResourceId, Resource>,
    changes: Vec<(ResourceId, Option<Resource>)>,
) {
    for (id, value) in changes {
        match value {
            Some(value) => state.insert(id, value),
            None => state.remove(&id),
        };
    }
}

fn word(key: usize, value: usize) -> (ObjectKey, Option<Object>) {
    let not_ready = Conditions {
        ready: false,
        ..READY
    };
    let slices = [
        None,
        Some(slice("web", &[(1, READY, 80), (2, not_ready, 80)])),
        Some(slice("web", &[(1, not_ready, 81)])),
        Some(slice("api", &[(1, READY, 80), (3, READY, 80)])),
        Some(slice("api", &[])),
    ];
    match key {
        0 => {
            let sharing = [NamespaceSharing::Allowed, NamespaceSharing::Excluded];
            let key = ObjectKey::Namespace(Namespace::parse("shop").unwrap());
            (key, sharing.get(value).copied().map(Object::Namespace))
        }
        1 => (service_key("web"), (value > 1).then(global_service)),
        2 => {
            let node = Node {
                zone: Some(format!("zone-{value}")),
                ..Node::default()
            };
            let key = ObjectKey::Node(NodeName::parse("n1").unwrap());
            (key, (value > 0).then_some(Object::Node(node)))
        }
        other => (slice_key(["a", "b", "c"][other - 3]), slices[value].clone()),
    }
}

fn service_key(name: &str) -> ObjectKey {
    ObjectKey::Service(ServiceName::parse("shop", name).unwrap())
}

fn slice_key(name: &str) -> ObjectKey {
    ObjectKey::Slice(SliceName {
        namespace: Namespace::parse("shop").unwrap(),
        name: name.to_owned(),
    })
}

fn endpoint_id(service: &str, host: u8) -> ResourceId {
    let service = ServiceName::parse("shop", service).unwrap();
    ResourceId::Endpoint(service, IpAddr::from([10, 1, 0, host]))
}

fn global_service() -> Object {
    Object::Service(Service {
        sharing: Sharing {
            global: true,
            shared: true,
            ..Sharing::default()
        },
        ..Service::default()
    })
}

fn slice(service: &str, endpoints: &[(u8, Conditions, u16)]) -> Object {
    let endpoint = |(host, conditions, port): &(u8, Conditions, u16)| {
        let endpoint = Endpoint {
            conditions: *conditions,
            ..Endpoint::ready([EndpointPort {
                name: None,
                protocol: Protocol::Tcp,
                port: *port,
            }])
        };
        (IpAddr::from([10, 1, 0, *host]), Arc::new(endpoint))
    };
    Object::Slice(Slice {
        service: ServiceName::parse("shop", service).unwrap(),
        endpoint_by_address: endpoints.iter().map(endpoint).collect(),
    })
}

static WEB: LazyLock<ServiceName> = LazyLock::new(|| ServiceName::parse("shop", "web").unwrap());

fn endpoint(index: &mut Index) -> Option<Arc<Endpoint>> {
    let Resource::Endpoint(endpoint) = index.resource(&endpoint_id("web", 1))? else {
        panic!("an endpoint's id has an endpoint");
    };
    Some(endpoint)
}

fn is_global(index: &mut Index) -> bool {
    let mut changes = index.take_changes();
    changes.retain(|(id, _)| !matches!(id, ResourceId::Namespace(_)));
    match &changes[..] {
        [(ResourceId::Service(name), Some(Resource::Service(service)))] if *name == *WEB => {
            service.sharing.global
        }
        other => panic!("{other:?}"),
    }
}
