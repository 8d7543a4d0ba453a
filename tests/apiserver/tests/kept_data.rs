//! A server with a folder comes back with the objects of its last life.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use apiserver_double::{ApiServer, Settings};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, ResourceExt,
    api::{ListParams, ObjectList, WatchEvent, WatchParams},
};
use serde_json::{Value, json};
use support::{client, within};

#[tokio::test]
async fn a_server_that_ended_comes_back_with_its_kinds_objects_and_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        ApiServer::start(Settings {
            data: Some(folder.path().join("not/there/yet")),
            ..Settings::default()
        })
    };
    let server = start().unwrap();
    let widget = json!({"apiVersion": "test.isthmus.io/v1", "kind": "Widget",
        "metadata": {"namespace": "default", "name": "w"}, "spec": {"size": 1}, "status": {"ready": true}});
    for object in [&support::widgets(), &widget, &service("first")] {
        server.apply(object).unwrap();
    }
    let before = [&widget, &service("first")].map(|object| server.get(object).unwrap());
    drop(server);

    let server = start().unwrap();

    let after = [&widget, &service("first")].map(|object| server.get(object).unwrap());
    assert_eq!(after, before);
    server.apply(&service("second")).unwrap();
    let second = server.get(&service("second")).unwrap();
    assert_ne!(second["spec"]["clusterIP"], before[1]["spec"]["clusterIP"]);
    assert_ne!(second["metadata"]["uid"], before[1]["metadata"]["uid"]);
}

#[tokio::test]
async fn a_watch_from_before_a_servers_end_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let start = async || {
        let server = ApiServer::start(Settings {
            data: Some(folder.path().to_owned()),
            ..Settings::default()
        });
        let server = server.unwrap();
        let services: Api<Service> = Api::all(client(server.kubeconfig()).await);
        (server, services)
    };
    let version = |list: ObjectList<Service>| list.metadata.resource_version.unwrap();
    let (server, services) = start().await;
    let before = version(services.list(&ListParams::default()).await.unwrap());
    server.apply(&service("first")).unwrap();
    let last = version(services.list(&ListParams::default()).await.unwrap());
    drop(server);

    let (server, services) = start().await;

    let params = WatchParams::default();
    let watch = services.watch(&params, &before);
    let told = within("the refusal", watch.await.unwrap().boxed().next()).await;
    let told = told.unwrap().unwrap();
    assert!(
        matches!(&told, WatchEvent::Error(status) if status.code == 410),
        "{told:?}"
    );
    let watch = services.watch(&params, &last);
    let mut news = watch.await.unwrap().boxed();
    server.apply(&service("second")).unwrap();
    let told = within("the change", news.next()).await.unwrap().unwrap();
    assert!(
        matches!(&told, WatchEvent::Added(service) if service.name_any() == "second"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_damaged_folder_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("objects.json"), "{\"revision\":").unwrap();

    let started = ApiServer::start(Settings {
        data: Some(folder.path().to_owned()),
        ..Settings::default()
    });

    let error = format!("{:#}", started.unwrap_err());
    assert!(error.contains("objects.json"), "{error}");
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": name},
        "spec": {"ports": [{"port": 80}]}})
}
