//! Tests of addresses for imports where no API server gives them.

use std::net::IpAddr;

use crate::{
    mcs::{Export, ImportAddresses, addresses::Allocator},
    registry::{
        Registry,
        tests::{import, linked, registry, web_id},
    },
    resource::{Resource, ResourceId},
    service::{Service, ServiceKind},
    testing::{cluster, ip, key, service, shop},
    traffic::{IpFamilies, IpFamily, IpFamilyPolicy},
};

#[test]
fn an_import_gets_an_address_and_keeps_it_until_the_last_export_goes() {
    let mut east = with_pools(&["10.97.0.0/24"]);
    east.apply_local(&web_id(), Some(exported()), None);
    east.settle_imports();
    let first = ips(&mut east, "web");
    assert_eq!(first.len(), 1);

    import(&mut east, web_id(), Some(exported())).unwrap();
    east.apply_local(&web_id(), Some(not_exported()), None);
    east.settle_imports();
    assert_eq!(ips(&mut east, "web"), first);

    import(&mut east, web_id(), None).unwrap();
    east.settle_imports();
    assert_eq!(ips(&mut east, "web"), [] as [IpAddr; 0]);
    assert!(east.feed().get(&import_key("web")).is_none());
}

#[test]
fn nodes_are_told_the_addresses_and_peers_are_not() {
    let mut east = with_pools(&["10.97.0.0/24"]);
    east.apply_local(&web_id(), Some(exported()), None);
    east.settle_imports();

    assert!(east.feed().get(&import_key("web")).is_some());
    assert!(east.exports().get(&import_key("web")).is_none());
}

#[test]
fn a_headless_import_gets_none_and_gives_back_what_it_had() {
    let mut east = with_pools(&["10.97.0.0/30"]);
    east.apply_local(&web_id(), Some(exported()), None);
    east.settle_imports();

    let headless = Service {
        kind: ServiceKind::Headless,
        ..exported_service()
    };
    east.apply_local(&web_id(), Some(headless.into()), None);
    east.settle_imports();

    assert!(east.feed().get(&import_key("web")).is_none());
}

#[test]
fn who_waited_for_an_address_gets_it_when_another_lets_go() {
    let mut east = with_pools(&["10.97.0.0/30"]);
    for name in ["a", "b", "c"] {
        let id = ResourceId::Service(shop(name));
        east.apply_local(&id, Some(exported()), None);
        east.settle_imports();
        east.take_touched();
    }
    assert_eq!(ips(&mut east, "c"), [] as [IpAddr; 0]);
    assert_eq!(east.import_problems()[&shop("c")].label(), "pool_exhausted");

    east.apply_local(&ResourceId::Service(shop("a")), None, None);
    east.settle_imports();

    assert_eq!(ips(&mut east, "c").len(), 1);
    assert!(east.import_problems().is_empty());
}

#[test]
fn addresses_of_an_earlier_life_are_taken_and_foreign_ones_are_not() {
    let mut east = with_pools(&["10.97.0.0/24"]);
    let old = |address: &str| {
        Some(Resource::from(ImportAddresses {
            ips: vec![ip(address)],
        }))
    };
    east.apply_local(&ResourceId::Import(shop("web")), old("10.97.0.77"), None);
    east.apply_local(&ResourceId::Import(shop("api")), old("10.99.0.1"), None);
    for name in ["web", "api"] {
        east.apply_local(&ResourceId::Service(shop(name)), Some(exported()), None);
    }
    east.settle_imports();

    assert_eq!(ips(&mut east, "web"), [ip("10.97.0.77")]);
    assert!(ips(&mut east, "api")[0] != ip("10.99.0.1"));
}

#[test]
fn a_snapshot_of_the_source_takes_no_allocated_address_away() {
    let mut east = with_pools(&["10.97.0.0/24"]);
    east.apply_local(&web_id(), Some(exported()), None);
    east.settle_imports();
    let first = ips(&mut east, "web");

    east.apply_local_snapshot(vec![(web_id(), exported())]);
    east.settle_imports();

    assert_eq!(ips(&mut east, "web"), first);
}

#[test]
fn without_pools_the_source_says_which_addresses_an_import_has() {
    let mut east = registry();
    let import = Resource::from(ImportAddresses {
        ips: vec![ip("10.99.0.1")],
    });
    let id = ResourceId::Import(shop("web"));
    east.apply_local(&web_id(), Some(exported()), None);
    east.apply_local(&id, Some(import), None);
    east.settle_imports();
    assert_eq!(ips(&mut east, "web"), [ip("10.99.0.1")]);

    east.apply_local_snapshot(vec![(web_id(), exported())]);

    assert_eq!(ips(&mut east, "web"), [] as [IpAddr; 0]);
}

#[test]
fn a_peer_cannot_give_this_clusters_import_an_address() {
    let mut east = linked();
    let value = Resource::from(ImportAddresses {
        ips: vec![ip("10.97.0.1")],
    });

    let refused = import(&mut east, ResourceId::Import(shop("web")), Some(value));

    assert_eq!(refused.unwrap_err().label(), "wrong_kind");
    assert_eq!(east.feed().iter_of(&cluster("west")).count(), 1);
}

#[test]
fn a_dual_stack_import_has_an_address_of_each_family_in_order() {
    let mut east = with_pools(&["10.97.0.0/24", "fd97::/112"]);
    let families = [IpFamily::V6, IpFamily::V4];
    let dual = Service {
        ip_families: IpFamilies::new(families, IpFamilyPolicy::RequireDualStack),
        ..exported_service()
    };

    east.apply_local(&web_id(), Some(dual.into()), None);
    east.settle_imports();

    let got = ips(&mut east, "web").into_iter().map(IpFamily::of);
    assert_eq!(got.collect::<Vec<_>>(), families);
}

fn with_pools(pools: &[&str]) -> Registry {
    let mut registry = linked();
    let pools = pools.iter().map(|text| text.parse().unwrap());
    registry.allocate_from(Allocator::try_new(pools).unwrap());
    registry
}

fn exported() -> Resource {
    exported_service().into()
}

fn exported_service() -> Service {
    Service {
        export: Some(Box::new(Export::default())),
        ip_families: IpFamilies::new([IpFamily::V4], IpFamilyPolicy::default()),
        ..service(&["10.96.0.1"], false, false)
    }
}

fn not_exported() -> Resource {
    service(&["10.96.0.1"], false, false).into()
}

fn import_key(name: &str) -> crate::resource::Key {
    key("east", ResourceId::Import(shop(name)))
}

fn ips(registry: &mut Registry, name: &str) -> Vec<IpAddr> {
    let view = registry.view();
    let service = view.services.get(&shop(name));
    service
        .map(|service| service.clusterset_ips.clone())
        .unwrap_or_default()
}
