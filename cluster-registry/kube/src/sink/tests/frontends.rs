//! Two Services that ask for one frontend: the older has it, and the other is told so.

use k8s_openapi::{
    api::{core::v1::Service, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};

use super::{
    objects::{NAMESPACE, hello, named, namespace},
    waiting::until,
    world::{Cluster, World},
};
use crate::{sink::frontends::CONDITION, testing::definition};

#[tokio::test]
async fn kube_a_frontend_that_two_services_ask_for_is_the_older_ones() {
    let world = World::start().await;
    let [c1, _] = world.two();
    c1.set(at_one_address("older")).await;
    world.later().await;
    c1.set(at_one_address("younger")).await;

    let condition = until_condition(c1, "younger", true).await.unwrap();

    assert_eq!(condition.status, "True");
    assert_eq!(condition.reason, "HeldByOlderService");
    let named = format!("192.0.2.7:42/TCP belongs to Service {NAMESPACE}/older");
    assert!(condition.message.contains(&named), "{condition:?}");
    assert_eq!(condition_of(&service(c1, "older").await), None);
    let events: Api<Event> = Api::namespaced(c1.client.clone(), NAMESPACE);
    let events = events.list(&ListParams::default()).await.unwrap().items;
    let about = |event: &Event| event.regarding.clone().and_then(|about| about.name);
    assert!(events.iter().any(|event| {
        about(event).as_deref() == Some("younger")
            && event.reason.as_deref() == Some("HeldByOlderService")
    }));

    c1.delete(at_one_address("older")).await;
    until_condition(c1, "younger", false).await;
}

#[tokio::test]
async fn a_held_frontend_is_told_where_the_multi_cluster_services_api_is_missing() {
    let world = World::on_doubles_with(1, |_| {}).await;
    let c1 = &world.clusters[0];
    for kind in ["serviceexports", "serviceimports"] {
        c1.delete(definition(kind)).await;
    }
    c1.set(namespace()).await;
    c1.start_sink("replica-1", world.shutdown());
    c1.set(at_one_address("older")).await;
    world.later().await;
    c1.set(at_one_address("younger")).await;

    until_condition(c1, "younger", true).await;
}

#[tokio::test]
async fn a_condition_that_an_earlier_writer_left_goes_when_it_no_longer_holds() {
    let world = World::on_doubles_with(1, |_| {}).await;
    let c1 = &world.clusters[0];
    c1.set(namespace()).await;
    c1.set(at_one_address("older")).await;
    world.later().await;
    c1.set(at_one_address("younger")).await;
    let earlier = world.shutdown().child_token();
    c1.start_sink("replica-1", &earlier);
    until_condition(c1, "younger", true).await;
    earlier.cancel();
    c1.delete(at_one_address("older")).await;

    c1.start_sink("replica-2", world.shutdown());

    until_condition(c1, "younger", false).await;
}

fn at_one_address(name: &str) -> Value {
    named(hello(json!({"externalIPs": ["192.0.2.7"]})), name)
}

fn services(cluster: &Cluster) -> Api<Service> {
    Api::namespaced(cluster.client.clone(), NAMESPACE)
}

async fn service(cluster: &Cluster, name: &str) -> Service {
    services(cluster).get(name).await.unwrap()
}

fn condition_of(service: &Service) -> Option<Condition> {
    let conditions = service.status.as_ref().and_then(|s| s.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.find(|one| one.type_ == CONDITION).cloned()
}

/// Waits until a Service has the condition, or has it no more.
async fn until_condition(cluster: &Cluster, name: &str, is_there: bool) -> Option<Condition> {
    let is_so = |service: Option<&Service>| {
        service.is_some_and(|service| condition_of(service).is_some() == is_there)
    };
    let service = until(&services(cluster), name, "told", is_so).await;
    service.as_ref().and_then(condition_of)
}
