//! The double's watches, and what goes wrong in them on purpose.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use std::time::Duration;

use apiserver_double::{ApiServer, Settings};
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, WatchEvent, WatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use support::{client, within};

#[tokio::test]
async fn a_watch_tells_what_happened_after_its_revision() {
    let world = World::start().await;
    world.set("a", "1");
    let version = world.version().await;
    world.set("a", "2");
    world.set("b", "1");
    world
        .maps
        .delete("a", &DeleteParams::default())
        .await
        .unwrap();

    let events = world
        .maps
        .watch(&WatchParams::default(), &version)
        .await
        .unwrap();
    let told: Vec<String> = within(
        "three events",
        events.take(3).map_ok(|event| text(&event)).try_collect(),
    )
    .await
    .unwrap();

    assert_eq!(told, ["modified a", "added b", "deleted a"]);
}

#[tokio::test]
async fn a_streaming_list_ends_with_a_marked_bookmark() {
    let world = World::start().await;
    world.set("a", "1");
    let params = WatchParams::default().initial_events();
    let events = world.maps.watch(&params, "").await.unwrap();
    let told: Vec<String> = within(
        "both events",
        events.take(2).map_ok(|event| text(&event)).try_collect(),
    )
    .await
    .unwrap();
    assert_eq!(told, ["added a", "bookmark, the end of the list"]);
}

#[tokio::test]
async fn an_old_server_refuses_streaming_lists() {
    let world = World::start().await;
    world.server.refuse_streaming_lists();
    let params = WatchParams::default().initial_events();
    let refused = world.maps.watch(&params, "").await.err().unwrap();
    assert!(
        refused.to_string().contains("sendInitialEvents"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_watch_from_before_the_compaction_is_gone() {
    let world = World::start().await;
    let version = world.version().await;
    world.set("a", "1");
    world.server.compact();
    let events = world.maps.watch(&WatchParams::default(), &version).await;
    let told: Vec<String> = within(
        "the watch's end",
        events.unwrap().map_ok(|event| text(&event)).try_collect(),
    )
    .await
    .unwrap();
    assert_eq!(told, ["error 410"]);
}

#[tokio::test]
async fn a_watch_ends_with_its_time() {
    let world = World::start().await;
    let params = WatchParams::default().timeout(1);
    let events = world.maps.watch(&params, "1").await.unwrap();
    within("its end", events.for_each(|_| std::future::ready(()))).await;
}

#[tokio::test]
async fn an_outage_of_either_kind_ends_with_a_resume() {
    let world = World::start().await;
    world.set("a", "1");
    world.server.refuse_connections().await;
    assert!(world.maps.get("a").await.is_err());
    world.server.hang().await.unwrap();
    let unanswered = tokio::time::timeout(Duration::from_millis(200), world.maps.get("a")).await;
    assert!(unanswered.is_err(), "{unanswered:?}");
    world.server.resume().await.unwrap();
    within("an answer", world.maps.get("a")).await.unwrap();
}

#[tokio::test]
async fn a_watcher_survives_a_restart_with_compaction() {
    let world = World::start().await;
    world.set("a", "1");
    let (seen_tx, mut seen) = tokio::sync::mpsc::channel(8);
    let maps = world.maps.clone();
    tokio::spawn(async move {
        let events = watcher(maps, watcher::Config::default());
        let mut events = events.default_backoff().applied_objects().boxed();
        while let Some(event) = events.next().await {
            if let Ok(object) = event {
                seen_tx.send(object.name_any()).await.unwrap();
            }
        }
    });
    assert_eq!(within("the list", seen.recv()).await.as_deref(), Some("a"));
    world.server.until_watched("configmaps", 1).await.unwrap();

    world.server.restart().await.unwrap();
    world.set("b", "1");

    within("the new object", async {
        while seen.recv().await.unwrap() != "b" {}
    })
    .await;
}

#[tokio::test]
async fn a_forbidden_verb_is_refused_and_the_others_are_not() {
    let world = World::start().await;
    world.server.forbid("", "configmaps", &["list"]);
    let refused = world.maps.list(&ListParams::default()).await.unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 403),
        "{refused}"
    );
    world.set("a", "1");
    assert!(world.maps.get("a").await.is_ok());
    world.server.permit("", "configmaps");
    assert!(world.maps.list(&ListParams::default()).await.is_ok());
}

#[tokio::test]
async fn dependents_go_with_the_last_of_their_owners() {
    let world = World::start().await;
    world.set("owner", "1");
    let uid = world.maps.get("owner").await.unwrap().uid().unwrap();
    let owned = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned",
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]}});
    world.server.apply(&owned).unwrap();
    world
        .maps
        .delete("owner", &DeleteParams::default())
        .await
        .unwrap();
    assert!(world.maps.get_opt("owned").await.unwrap().is_none());

    world.server.apply(&owned).unwrap();
    assert!(
        world.maps.get_opt("owned").await.unwrap().is_none(),
        "its owner never comes back"
    );
}

struct World {
    server: ApiServer,
    maps: Api<ConfigMap>,
}

impl World {
    async fn start() -> Self {
        let server = ApiServer::start(Settings::default()).unwrap();
        let client = client(server.kubeconfig()).await;
        Self {
            server,
            maps: Api::default_namespaced(client),
        }
    }

    fn set(&self, name: &str, value: &str) {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": value}});
        self.server.apply(&object).unwrap();
    }

    async fn version(&self) -> String {
        self.maps
            .list(&ListParams::default())
            .await
            .unwrap()
            .metadata
            .resource_version
            .unwrap()
    }
}

fn text(event: &WatchEvent<ConfigMap>) -> String {
    match event {
        WatchEvent::Added(map) => format!("added {}", map.name_any()),
        WatchEvent::Modified(map) => format!("modified {}", map.name_any()),
        WatchEvent::Deleted(map) => format!("deleted {}", map.name_any()),
        WatchEvent::Bookmark(mark)
            if mark
                .metadata
                .annotations
                .contains_key("k8s.io/initial-events-end") =>
        {
            "bookmark, the end of the list".to_owned()
        }
        WatchEvent::Bookmark(_) => "bookmark".to_owned(),
        WatchEvent::Error(status) => format!("error {}", status.code),
    }
}
