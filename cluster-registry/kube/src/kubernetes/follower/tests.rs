//! Tests of following lists and watches, without any API server.

use cluster_registry::resource::{Resource, ResourceId};
use k8s_openapi::api::core::v1::{Node, Service};
use serde_json::json;

use super::*;

#[test]
fn nothing_is_told_before_every_kind_is_listed() {
    let mut follower = Follower::default();
    for kind in Kind::ALL.into_iter().skip(1) {
        list(&mut follower, kind, []);
        assert!(follower.index().is_none());
    }

    list(&mut follower, Kind::ALL[0], []);

    assert!(follower.index().is_some());
}

#[test]
fn a_kind_that_is_not_installed_holds_nothing_up() {
    let mut follower = Follower::default();
    for kind in Kind::ALL
        .into_iter()
        .filter(|kind| kind.feature().is_none())
    {
        list(&mut follower, kind, []);
    }
    for kind in [Kind::ServiceExport, Kind::ServiceImport, Kind::ClusterLink] {
        assert!(follower.index().is_none());
        follower.handle(fact(kind, News::Failed(Failure::NotInstalled)));
    }

    assert!(follower.index().is_some());
    let problems = follower.problems();
    assert_eq!(problems.len(), 3);
    assert!(
        problems[0]
            .reason
            .contains("the Multi-Cluster Services API is off"),
        "{problems:?}"
    );
}

#[test]
fn a_kind_that_is_forbidden_is_waited_for_a_little() {
    let mut follower = Follower::default();
    for kind in Kind::ALL
        .into_iter()
        .filter(|kind| *kind != Kind::ClusterLink)
    {
        list(&mut follower, kind, []);
    }
    let refused = || Failure::Forbidden("clusterlinks is forbidden".to_owned());
    for _ in 0..REFUSALS {
        assert!(follower.index().is_none());
        follower.handle(fact(Kind::ClusterLink, News::Failed(refused())));
    }

    assert!(follower.index().is_some());
    let text = follower.problems()[0].to_string();
    assert!(
        text.contains("linking by objects is off until this is allowed"),
        "{text}"
    );
}

#[test]
fn a_kind_without_which_nothing_can_be_said_is_waited_for_however_often_it_is_forbidden() {
    let mut follower = Follower::default();
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Node) {
        list(&mut follower, kind, []);
    }
    for _ in 0..100 {
        let refused = Failure::Forbidden("nodes is forbidden".to_owned());
        follower.handle(fact(Kind::Node, News::Failed(refused)));
    }
    assert!(follower.index().is_none());
}

#[test]
fn what_a_second_list_does_not_name_is_gone_once_it_ends() {
    let mut follower = synced([service("web"), service("api")]);

    follower.handle(fact(Kind::Service, News::Begin));
    follower.handle(fact(Kind::Service, News::Present(service("web"))));
    assert_eq!(changes(&mut follower), []);

    follower.handle(fact(Kind::Service, News::End));
    assert_eq!(changes(&mut follower), [("default/api".to_owned(), false)]);
}

#[test]
fn a_list_that_breaks_off_and_begins_again_removes_nothing_early() {
    let mut follower = synced([service("web"), service("api")]);

    follower.handle(fact(Kind::Service, News::Begin));
    follower.handle(fact(
        Kind::Service,
        News::Failed(Failure::Other("broken".to_owned())),
    ));
    follower.handle(fact(Kind::Service, News::Begin));
    follower.handle(fact(Kind::Service, News::Present(service("web"))));
    follower.handle(fact(Kind::Service, News::Present(service("api"))));
    follower.handle(fact(Kind::Service, News::End));

    assert_eq!(changes(&mut follower), []);
}

#[test]
fn a_service_that_goes_to_another_proxy_is_gone() {
    let mut follower = synced([service("web")]);

    let labels = json!({"service.kubernetes.io/service-proxy-name": "other"});
    let given = json!({"metadata": {"name": "web", "labels": labels}});
    follower.handle(fact(Kind::Service, News::Present(seen::<Service>(given))));

    assert_eq!(changes(&mut follower), [("default/web".to_owned(), false)]);
}

#[test]
fn a_failure_is_told_until_the_watch_works_again() {
    let mut follower = synced([]);
    let told = |follower: &Follower| -> Vec<String> {
        follower.problems().iter().map(Problem::to_string).collect()
    };

    follower.handle(fact(
        Kind::Node,
        News::Failed(Failure::Other("connection refused".to_owned())),
    ));
    assert_eq!(
        told(&follower),
        [
            "watch of nodes: connection refused; what was known of them stands until this works again"
        ]
    );

    follower.handle(fact(Kind::Service, News::Present(service("web"))));
    assert_eq!(told(&follower).len(), 1);
    follower.handle(fact(Kind::Node, News::Begin));
    assert_eq!(told(&follower).len(), 1);
    follower.handle(fact(Kind::Node, News::End));
    assert_eq!(told(&follower), [] as [String; 0]);

    follower.handle(fact(
        Kind::Node,
        News::Failed(Failure::Other("connection refused".to_owned())),
    ));
    follower.handle(fact(Kind::Node, News::Recovered));
    assert_eq!(told(&follower), [] as [String; 0]);
}

#[test]
fn a_flaw_is_told_until_its_object_is_mended_or_gone() {
    let mut follower = synced([]);
    let bare = || seen::<Node>(json!({"metadata": {"name": "n1"}}));
    let whole = seen::<Node>(json!({"metadata": {"name": "n1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.18.0.2"}]}}));

    follower.handle(fact(Kind::Node, News::Present(bare())));
    assert_eq!(
        follower.problems()[0].to_string(),
        "Node n1: it has no address of type InternalIP, so no tunnel can reach it"
    );
    follower.handle(fact(Kind::Node, News::Present(whole)));
    assert_eq!(follower.problems(), []);

    follower.handle(fact(Kind::Node, News::Present(bare())));
    let key = bare().key;
    follower.handle(fact(Kind::Node, News::Gone(key)));
    assert_eq!(follower.problems(), []);
}

fn fact(kind: Kind, news: News) -> Fact {
    Fact { kind, news }
}

fn seen<T: Convert + serde::de::DeserializeOwned>(given: serde_json::Value) -> Seen {
    Seen::new(&serde_json::from_value::<T>(given).unwrap())
}

fn service(name: &str) -> Seen {
    seen::<Service>(json!({"metadata": {"name": name}, "spec": {"clusterIP": "10.96.0.1"}}))
}

fn list<const N: usize>(follower: &mut Follower, kind: Kind, objects: [Seen; N]) {
    follower.handle(fact(kind, News::Begin));
    for object in objects {
        follower.handle(fact(kind, News::Present(object)));
    }
    follower.handle(fact(kind, News::End));
}

/// A follower that has listed these services and told them.
fn synced<const N: usize>(services: [Seen; N]) -> Follower {
    let mut follower = Follower::default();
    list(&mut follower, Kind::Service, services);
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Service) {
        list(&mut follower, kind, []);
    }
    let told = follower.index().unwrap().take_snapshot();
    assert!(
        told.iter()
            .all(|(_, value)| matches!(value, Resource::Service(_)))
    );
    follower
}

/// The services that changed, and whether they are still there.
fn changes(follower: &mut Follower) -> Vec<(String, bool)> {
    let changes = follower.index().unwrap().take_changes();
    let service = |(id, value): (ResourceId, Option<Resource>)| {
        let ResourceId::Service(name) = id else {
            panic!("{id:?} is no service's");
        };
        (name.to_string(), value.is_some())
    };
    changes.into_iter().map(service).collect()
}
