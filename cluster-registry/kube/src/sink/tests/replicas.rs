//! What is written outlives the writer: another replica takes over, and neither outages nor restarts undo it.

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    objects::{export, hello, named, namespace},
    world::World,
};

#[tokio::test]
async fn kube_another_replica_takes_over_from_one_that_ends() {
    let world = World::without_sinks(1).await;
    let c1 = &world.clusters[0];
    c1.set(namespace()).await;
    let first = CancellationToken::new();
    c1.start_sink("replica-1", &first);
    c1.set(hello(json!({}))).await;
    c1.set(export()).await;
    let import = c1.until_import("made", |_| true).await;
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
async fn an_import_stands_while_a_restarted_gateway_has_not_heard_its_exporter() {
    let world = World::start().await;
    let [c1, c2] = world.two();
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
    c1.set(named(hello(json!({})), "other")).await;
    c1.set(named(export(), "other")).await;
    c1.until_imported("other").await;
    assert_eq!(c1.import().await.unwrap().spec.ips, import.spec.ips);

    link.awaited = false;
    c1.tell_link("c2", link);
    c1.until_no_import().await;
}

#[tokio::test]
async fn an_outage_of_the_api_server_is_outlived() {
    let world = World::on_doubles().await;
    let [c1, _] = world.two();
    c1.set(hello(json!({}))).await;
    c1.set(export()).await;
    c1.until_import("made", |_| true).await;
    let server = c1.double();
    server.refuse_connections().await;
    let mut import = export();
    import["kind"] = json!("ServiceImport");
    server.delete(&import).unwrap();
    server.restart().await.unwrap();
    c1.until_import("again", |_| true).await;
}
