//! What is written, and how often: only what differs, whatever the API server keeps, forbids or has installed.

use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};
use serde_json::json;
use tokio::sync::watch;

use super::{
    objects::{NAMESPACE, export, hello, named, namespace},
    waiting::DEADLINE,
    world::{Cluster, World},
};
use crate::source::Problem;

const GROUP: &str = "multicluster.x-k8s.io";

#[tokio::test]
async fn what_is_there_already_is_not_written_again() {
    let world = World::on_doubles().await;
    let [c1, _] = world.two();
    c1.set(hello(json!({}))).await;
    c1.set(export()).await;
    c1.until_condition("Ready", "True", "Exported").await;
    c1.until_import("of this cluster", |import| {
        import
            .status
            .as_ref()
            .is_some_and(|status| !status.clusters.is_empty())
    })
    .await;
    let before = patches(c1, "serviceimports");
    for n in 0..20 {
        c1.set(named(hello(json!({})), &format!("other-{n}"))).await;
    }
    c1.set(named(export(), "other-19")).await;
    c1.double()
        .until_requests("patch", GROUP, "serviceimports", before + 2)
        .await
        .unwrap();
    // The import and its status: nothing about the first service.
    assert_eq!(patches(c1, "serviceimports"), before + 2);
}

#[tokio::test]
async fn a_definition_that_drops_fields_is_not_written_to_for_ever() {
    // As they were before the newer fields and conditions.
    let world = World::on_doubles_with(1, |definition| {
        let kind = definition["spec"]["names"]["kind"].clone();
        let dropped = match kind.as_str().unwrap() {
            "ServiceImport" => &[("spec", "sessionAffinity"), ("status", "conditions")][..],
            "ServiceExport" => &[("status", "conditions")],
            _ => &[],
        };
        for version in definition["spec"]["versions"].as_array_mut().unwrap() {
            let properties = &mut version["schema"]["openAPIV3Schema"]["properties"];
            for (part, field) in dropped {
                let fields = properties[part]["properties"].as_object_mut().unwrap();
                fields.remove(*field).unwrap();
            }
        }
    })
    .await;
    let c1 = &world.clusters[0];
    c1.set(namespace()).await;
    c1.start_sink("replica-1", world.shutdown());
    c1.set(hello(json!({}))).await;
    c1.set(export()).await;
    let import = c1.until_import("made", |_| true).await;
    assert_eq!(import.spec.session_affinity, None, "the field is dropped");

    // Each other service is one more occasion to write what does not stay.
    for n in 0..20 {
        let name = format!("other-{n}");
        c1.set(named(hello(json!({})), &name)).await;
        c1.set(named(export(), &name)).await;
        c1.until_imported(&name).await;
    }
    // Each is made, has its status written, and perhaps again as its Service, import and slices become known.
    for plural in ["serviceimports", "serviceexports"] {
        let count = patches(c1, plural);
        assert!(count <= 21 * 3, "{count} {plural}");
    }
}

#[tokio::test]
async fn kube_a_conflict_is_told_as_an_event() {
    let world = World::start().await;
    let [_, c2] = make_a_conflict(&world).await;
    let api: Api<Event> = Api::namespaced(c2.client.clone(), NAMESPACE);
    let events = api.list(&ListParams::default()).await.unwrap();
    assert_eq!(events.items.len(), 1, "{events:?}");
    assert_eq!(events.items[0].reason.as_deref(), Some("PortConflict"));
}

#[tokio::test]
async fn forbidden_events_do_not_hold_the_conflict_condition_up() {
    let world = World::on_doubles().await;
    for cluster in &world.clusters {
        let events = ["create", "patch"];
        cluster.double().forbid("events.k8s.io", "events", &events);
    }
    make_a_conflict(&world).await;
}

#[tokio::test]
async fn a_write_that_is_refused_is_told_until_it_is_taken() {
    let world = World::on_doubles().await;
    let [c1, _] = world.two();
    let mut problems = c1.problems.subscribe();
    c1.double().forbid(GROUP, "serviceimports", &["patch"]);
    c1.set(hello(json!({}))).await;
    c1.set(export()).await;
    // Nothing of one that goes meanwhile stays.
    c1.set(named(hello(json!({})), "other")).await;
    c1.set(named(export(), "other")).await;
    let told = until_problems(&mut problems, |told| told.len() == 2).await;
    assert_eq!(told[0].file, format!("ServiceImport {NAMESPACE}/hello"));
    assert!(told[0].reason.contains("is forbidden"), "{told:?}");
    c1.delete(named(export(), "other")).await;
    until_problems(&mut problems, |told| told.len() == 1).await;

    c1.double().permit(GROUP, "serviceimports");

    c1.until_import("made", |_| true).await;
    until_problems(&mut problems, <[Problem]>::is_empty).await;
}

#[tokio::test]
async fn exports_and_imports_of_different_versions_are_both_written() {
    let world = World::on_doubles_with(1, |definition| {
        if definition["spec"]["names"]["kind"] == "ServiceExport" {
            let versions = definition["spec"]["versions"].as_array_mut().unwrap();
            versions.retain(|version| version["name"] == "v1alpha1");
            versions[0]["served"] = json!(true);
            versions[0]["storage"] = json!(true);
        }
    })
    .await;
    let c1 = &world.clusters[0];
    c1.set(namespace()).await;
    c1.start_sink("replica-1", world.shutdown());
    c1.set(hello(json!({}))).await;
    let mut exported = export();
    exported["apiVersion"] = json!("multicluster.x-k8s.io/v1alpha1");
    c1.set(exported.clone()).await;
    c1.until_import("made", |_| true).await;
    c1.until_true(&exported, "Ready").await;
}

/// Has the second cluster export another port than the first, and waits until its export says that they conflict.
async fn make_a_conflict(world: &World) -> [&Cluster; 2] {
    let [c1, c2] = world.two();
    c1.set(hello(json!({}))).await;
    c1.set(export()).await;
    c1.until_import("made", |_| true).await;
    world.later().await;
    c2.set(hello(json!({"ports": [{"name": "tcp", "port": 43}]})))
        .await;
    c2.set(export()).await;
    c2.until_condition("Conflict", "True", "PortConflict").await;
    [c1, c2]
}

/// Waits until what could not be written is so.
async fn until_problems(
    problems: &mut watch::Receiver<Vec<Problem>>,
    is_so: impl Fn(&[Problem]) -> bool,
) -> Vec<Problem> {
    let reached = problems.wait_for(|problems| is_so(problems));
    let reached = tokio::time::timeout(DEADLINE, reached).await;
    let reached = reached.map(|told| told.unwrap().clone());
    reached.unwrap_or_else(|_| panic!("never so: {:?}", problems.borrow()))
}

/// How many patches of a kind there were.
fn patches(cluster: &Cluster, plural: &str) -> usize {
    cluster.double().requests("patch", GROUP, plural).count
}
