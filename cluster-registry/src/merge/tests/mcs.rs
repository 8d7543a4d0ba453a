//! Tests of what ServiceExports add to the merge: where imports exist, and whose endpoints are behind them.

use super::*;
use crate::{
    mcs::{Export, NamespaceSharing},
    service::{Protocol, ServiceKind},
    testing::port,
};

#[test]
fn a_cluster_that_has_the_service_but_does_not_export_it_gives_no_endpoints() {
    let mut merge = Merge::new(cluster("east"));
    put(&mut merge, "east", not_exported());
    put(&mut merge, "west", exported(1));

    let view = merge.view();
    let web = &view.services[&shop("web")];

    assert_eq!(clusters(&web.import_endpoints), ["west"]);
    assert_eq!(clusters(&web.endpoints), ["east"]);
}

#[test]
fn an_exported_service_leaves_the_clusters_own_service_local() {
    let mut merge = Merge::new(cluster("east"));
    put(&mut merge, "east", exported(1));
    put(&mut merge, "west", exported(2));

    let view = merge.view();
    let web = &view.services[&shop("web")];

    assert_eq!(clusters(&web.endpoints), ["east"]);
    assert_eq!(clusters(&web.import_endpoints), ["east", "west"]);
}

#[test]
fn a_service_shared_by_annotation_and_exported_has_both_sets_of_endpoints() {
    let mut merge = Merge::new(cluster("east"));
    let shared = Service {
        sharing: service(&[], true, true).sharing,
        ..not_exported()
    };
    put(&mut merge, "east", shared.clone());
    put(&mut merge, "north", shared);
    put(&mut merge, "west", exported(1));

    let view = merge.view();
    let web = &view.services[&shop("web")];

    assert_eq!(clusters(&web.endpoints), ["east", "north"]);
    assert_eq!(clusters(&web.import_endpoints), ["west"]);
}

#[test]
fn an_import_exists_only_where_its_namespace_does_and_follows_it() {
    let mut merge = Merge::new(cluster("east"));
    put(&mut merge, "west", exported(1));
    assert_eq!(import_kind(&mut merge), None);

    say_namespace(&mut merge, Some(NamespaceSharing::Allowed));
    assert_eq!(import_kind(&mut merge), Some(ImportKind::ClusterSetIp));
    let touched = merge.take_touched();
    assert!(touched.services.contains(&shop("web")));

    say_namespace(&mut merge, Some(NamespaceSharing::Excluded));
    assert_eq!(import_kind(&mut merge), None);

    say_namespace(&mut merge, None);
    assert_eq!(import_kind(&mut merge), None);
}

#[test]
fn a_service_of_this_cluster_implies_its_namespace() {
    let mut merge = Merge::new(cluster("east"));
    put(&mut merge, "west", exported(1));
    let api = key("east", ResourceId::Service(shop("api")));

    merge.apply(&api, Some(&not_exported().into()));
    assert_eq!(import_kind(&mut merge), Some(ImportKind::ClusterSetIp));

    merge.apply(&api, None);
    assert_eq!(import_kind(&mut merge), None);
}

#[test]
fn another_clusters_namespaces_and_addresses_say_nothing_here() {
    let mut merge = Merge::new(cluster("east"));
    put(&mut merge, "west", exported(1));
    let sharing = Resource::Namespace(NamespaceSharing::Allowed);
    merge.apply(&shop_namespace("west"), Some(&sharing));
    assert_eq!(import_kind(&mut merge), None);

    say_namespace(&mut merge, Some(NamespaceSharing::Allowed));
    merge.apply(&web_import("west"), Some(&addresses("10.97.0.1")));

    let view = merge.view();
    assert_eq!(
        view.services[&shop("web")].clusterset_ips,
        [] as [IpAddr; 0]
    );
}

#[test]
fn an_import_has_its_addresses_and_a_headless_one_has_none() {
    let mut merge = Merge::new(cluster("east"));
    merge.apply(&web_import("east"), Some(&addresses("10.97.0.1")));
    put(&mut merge, "east", exported(2));
    let view = merge.view();
    assert_eq!(
        view.services[&shop("web")].clusterset_ips,
        [ip("10.97.0.1")]
    );

    let headless = Service {
        kind: ServiceKind::Headless,
        ..exported(1)
    };
    put(&mut merge, "west", headless);

    let view = merge.view();
    assert_eq!(import_kind(&mut merge), Some(ImportKind::Headless));
    assert_eq!(
        view.services[&shop("web")].clusterset_ips,
        [] as [IpAddr; 0]
    );
}

#[test]
fn a_port_that_clashes_is_served_only_by_clusters_that_expose_it() {
    let mut merge = Merge::new(cluster("east"));
    let with_port = |created, number| Service {
        ports: vec![port("http", Protocol::Tcp, number)],
        ..exported(created)
    };
    put(&mut merge, "east", with_port(1, 42));
    put(&mut merge, "west", with_port(2, 43));

    let view = merge.view();
    let web = &view.services[&shop("web")];
    let import = web.import.as_ref().unwrap();

    assert_eq!(import.ports, [port("http", Protocol::Tcp, 42)]);
    let serving: Vec<_> = web.import_endpoints_of(&import.ports[0]).collect();
    assert_eq!(serving.len(), 1);
    assert_eq!(serving[0].0, &cluster("east"));
}

#[test]
fn the_endpoints_of_a_service_that_became_an_external_name_do_not_count() {
    let mut merge = Merge::new(cluster("east"));
    put(&mut merge, "east", exported(1));
    let renamed = Service {
        kind: ServiceKind::ExternalName,
        sharing: service(&[], true, true).sharing,
        ..exported(1)
    };
    put(&mut merge, "west", renamed);

    let view = merge.view();
    let web = &view.services[&shop("web")];

    assert!(web.remote.is_empty());
    assert_eq!(clusters(&web.import_endpoints), ["east"]);
}

fn put(merge: &mut Merge, cluster: &str, definition: Service) {
    merge.apply(&web(cluster), Some(&definition.into()));
    merge.apply(&web_endpoint(cluster), Some(&*READY));
}

fn exported(created: u64) -> Service {
    Service {
        export: Some(Box::new(Export {
            created: crate::service::Timestamp(created),
            ..Export::default()
        })),
        ..not_exported()
    }
}

fn not_exported() -> Service {
    service(&["10.96.0.1"], false, false)
}

fn say_namespace(merge: &mut Merge, sharing: Option<NamespaceSharing>) {
    let value = sharing.map(Resource::Namespace);
    merge.apply(&shop_namespace("east"), value.as_ref());
}

fn web_import(cluster: &str) -> Key {
    key(cluster, ResourceId::Import(shop("web")))
}

fn addresses(address: &str) -> Resource {
    Resource::from(ImportAddresses {
        ips: vec![ip(address)],
    })
}

fn import_kind(merge: &mut Merge) -> Option<ImportKind> {
    let view = merge.view();
    let web = view.services.get(&shop("web"))?;
    Some(web.import.as_ref()?.kind)
}

fn clusters(endpoints: &EndpointsByCluster) -> Vec<&str> {
    endpoints.keys().map(ClusterName::as_str).collect()
}
