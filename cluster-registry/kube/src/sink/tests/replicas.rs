//! One replica writes, another takes over, and nobody writes what is there already.

use apiserver_double::AnyServer;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::world::{World, export, hello, namespace};

#[tokio::test]
async fn kube_another_replica_takes_over_from_one_that_ends() {
    let world = World::without_sinks(1).await;
    let c1 = &world.clusters[0];
    c1.set(namespace()).await;
    let first = CancellationToken::new();
    c1.start_sink("replica-1", &first);
    c1.set(hello(json!({}))).await;
    c1.set(export()).await;
    let import = c1.until_import("", |_| true).await;
    c1.start_sink("replica-2", world.shutdown());

    first.cancel();
    let mut exported = export();
    exported["spec"] = json!({"exportedLabels": {"a": "b"}});
    c1.set(exported).await;

    let after = c1
        .until_import("with the label", |import| import.metadata.labels.is_some())
        .await;
    assert_eq!(after.spec.ips, import.spec.ips, "the address stays");
}

#[tokio::test]
async fn what_is_there_already_is_not_written_again() {
    let world = World::start().await;
    let [c1, _] = &world.clusters[..] else {
        unreachable!()
    };
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
    let AnyServer::Double(server) = &c1.server else {
        return;
    };
    let writes = || {
        let of = |plural| {
            server
                .requests("patch", "multicluster.x-k8s.io", plural)
                .count
        };
        (of("serviceexports"), of("serviceimports"))
    };
    let before = writes();
    for n in 0..20 {
        let mut other = hello(json!({}));
        other["metadata"]["name"] = json!(format!("other-{n}"));
        c1.set(other).await;
    }
    let mut second = export();
    second["metadata"]["name"] = json!("other-19");
    c1.set(second).await;
    server
        .until_requests(
            "patch",
            "multicluster.x-k8s.io",
            "serviceimports",
            before.1 + 2,
        )
        .await
        .unwrap();
    // The test's own write, the import and its status: nothing about the first service.
    assert_eq!(writes().1, before.1 + 2);
}

#[tokio::test]
async fn a_definition_that_drops_fields_is_not_written_to_for_ever() {
    // As they were before the newer fields and conditions.
    let world = World::with_definitions(1, |definition| {
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
    let AnyServer::Double(server) = &c1.server else {
        return;
    };
    c1.set(namespace()).await;
    c1.start_sink("replica-1", world.shutdown());
    c1.set(hello(json!({}))).await;
    c1.set(export()).await;
    let import = c1.until_import("", |_| true).await;
    assert_eq!(import.spec.session_affinity, None, "the field is dropped");

    // Each other service is one more occasion to write what does not stay.
    for n in 0..20 {
        let mut other = hello(json!({}));
        other["metadata"]["name"] = json!(format!("other-{n}"));
        c1.set(other).await;
        let mut exported = export();
        exported["metadata"]["name"] = json!(format!("other-{n}"));
        c1.set(exported).await;
        c1.until_imported(&format!("other-{n}")).await;
    }
    let writes = |plural| {
        server
            .requests("patch", "multicluster.x-k8s.io", plural)
            .count
    };
    // Of each import and export a few: made, its status, and once more for each new version of the object.
    assert!(
        writes("serviceimports") < 21 * 8,
        "{}",
        writes("serviceimports")
    );
    assert!(
        writes("serviceexports") < 21 * 8,
        "{}",
        writes("serviceexports")
    );
}

#[tokio::test]
async fn an_import_stands_while_a_restarted_gateway_has_not_heard_its_exporter() {
    let world = World::start().await;
    let [c1, c2] = &world.clusters[..] else {
        unreachable!()
    };
    c2.set(hello(json!({}))).await;
    c2.set(export()).await;
    let has_exporter = |import: &crate::api::ServiceImport| {
        let status = import.status.as_ref();
        status.is_some_and(|status| !status.clusters.is_empty())
    };
    let import = c1.until_import("of c2", has_exporter).await;
    let mut link = super::links::link(false, &[], std::time::Duration::from_secs(86_400));
    link.awaited = true;
    c1.tell_link("c2", link.clone());

    // To c1, this is as if it had started anew: what c2 exports is not in its view.
    c2.delete(export()).await;
    c2.until_no_import().await;
    let mut other = export();
    other["metadata"]["name"] = json!("other");
    let mut service = hello(json!({}));
    service["metadata"]["name"] = json!("other");
    c1.set(service).await;
    c1.set(other).await;
    c1.until_imported("other").await;
    assert_eq!(c1.import().await.unwrap().spec.ips, import.spec.ips);

    link.awaited = false;
    c1.tell_link("c2", link);
    c1.until_no_import().await;
}

#[tokio::test]
async fn an_outage_of_the_api_server_is_outlived() {
    let world = World::start().await;
    let [c1, _] = &world.clusters[..] else {
        unreachable!()
    };
    c1.set(hello(json!({}))).await;
    c1.set(export()).await;
    c1.until_import("", |_| true).await;
    let AnyServer::Double(server) = &c1.server else {
        return;
    };
    server.refuse_connections().await;
    let mut import = export();
    import["kind"] = json!("ServiceImport");
    server.delete(&import).unwrap();
    server.restart().await.unwrap();
    c1.until_import("again", |_| true).await;
}

#[tokio::test]
async fn kube_a_conflict_is_told_as_an_event() {
    let world = World::start().await;
    let [c1, c2] = &world.clusters[..] else {
        unreachable!()
    };
    c1.set(hello(json!({}))).await;
    c1.set(export()).await;
    c1.until_import("", |_| true).await;
    world.later().await;
    c2.set(hello(json!({"ports": [{"name": "tcp", "port": 43}]})))
        .await;
    c2.set(export()).await;
    c2.until_condition("Conflict", "True", "PortConflict").await;
    let api: kube::Api<k8s_openapi::api::events::v1::Event> =
        kube::Api::namespaced(c2.client.clone(), super::world::NAMESPACE);
    let events = api.list(&kube::api::ListParams::default()).await.unwrap();
    assert_eq!(events.items.len(), 1, "{events:?}");
    assert_eq!(events.items[0].reason.as_deref(), Some("PortConflict"));
}

#[tokio::test]
async fn forbidden_events_do_not_hold_the_conflict_condition_up() {
    let world = World::start().await;
    let [c1, c2] = &world.clusters[..] else {
        unreachable!()
    };
    let AnyServer::Double(server) = &c2.server else {
        return;
    };
    server.forbid("events.k8s.io", "events", &["create", "patch"]);
    c1.set(hello(json!({}))).await;
    c1.set(export()).await;
    c1.until_import("", |_| true).await;
    world.later().await;
    c2.set(hello(json!({"ports": [{"name": "tcp", "port": 43}]})))
        .await;
    c2.set(export()).await;
    c2.until_condition("Conflict", "True", "PortConflict").await;
}

#[tokio::test]
async fn exports_and_imports_of_different_versions_are_both_written() {
    let world = World::with_definitions(1, |definition| {
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
    c1.until_import("", |_| true).await;
    let is_ready = |object: &kube::api::DynamicObject| {
        let conditions = object.data["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    c1.until_object(&exported, is_ready).await;
}
