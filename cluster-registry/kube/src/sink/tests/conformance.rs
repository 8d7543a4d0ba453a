//! The object-level cases of the Multi-Cluster Services API's conformance suite, each under its own name.

use serde_json::json;

use super::{
    objects::{export, hello, namespace, slice},
    world::World,
};

#[tokio::test]
async fn kube_the_import_exists_as_long_as_one_cluster_exports() {
    let world = World::start().await;
    let [c1, c2] = world.two();
    for cluster in [c1, c2] {
        cluster.set(hello(json!({}))).await;
        cluster.set(export()).await;
    }
    for cluster in [c1, c2] {
        cluster
            .until_import("of both", |import| clusters(import) == ["c1", "c2"])
            .await;
    }
    c1.delete(export()).await;
    for cluster in [c1, c2] {
        cluster
            .until_import("of the second", |import| clusters(import) == ["c2"])
            .await;
    }
    c2.delete(export()).await;
    c1.until_no_import().await;
    c2.until_no_import().await;
}

#[tokio::test]
async fn kube_exporting_a_cluster_ip_service_makes_an_import_in_every_cluster() {
    let world = World::start().await;
    let [c1, c2] = world.two();
    c1.set(hello(json!({}))).await;
    c1.set(export()).await;

    c1.until_condition("Valid", "True", "Valid").await;
    c1.until_condition("Ready", "True", "Exported").await;
    c1.until_condition("Conflict", "False", "NoConflicts").await;
    for cluster in [c1, c2] {
        let import = cluster.until_import("ready", is_ready).await;
        assert_eq!(import.spec.r#type, "ClusterSetIP");
        assert_eq!(import.spec.ips.len(), 1);
    }
    c1.delete(export()).await;
    c1.until_no_import().await;
    c2.until_no_import().await;
}

#[tokio::test]
async fn kube_session_affinity_policy_and_distribution_are_copied() {
    let world = World::start().await;
    let [c1, c2] = world.two();
    c1.set(hello(
        json!({"internalTrafficPolicy": "Local", "trafficDistribution": "PreferClose"}),
    ))
    .await;
    c1.set(export()).await;
    for cluster in [c1, c2] {
        let import = cluster.until_import("made", |_| true).await;
        assert_eq!(import.spec.session_affinity.as_deref(), Some("ClientIP"));
        let config = import
            .spec
            .session_affinity_config
            .unwrap()
            .client_ip
            .unwrap();
        assert_eq!(config.timeout_seconds, Some(10));
        assert_eq!(
            import.spec.internal_traffic_policy.as_deref(),
            Some("Local")
        );
        assert_eq!(
            import.spec.traffic_distribution.as_deref(),
            Some("PreferClose")
        );
    }
}

#[tokio::test]
async fn an_import_has_one_ip_per_family_in_the_families_order() {
    let world = World::start().await;
    let [c1, c2] = world.two();
    c1.set(hello(
        json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]}),
    ))
    .await;
    c1.set(export()).await;
    for cluster in [c1, c2] {
        let import = cluster.until_import("made", |_| true).await;
        assert_eq!(import.spec.ip_families, ["IPv6", "IPv4"]);
        assert!(import.spec.ips[0].contains(':') && import.spec.ips[1].contains('.'));
        assert_eq!(import.spec.ips.len(), 2);
    }
}

#[tokio::test]
async fn kube_ports_are_those_that_are_exported() {
    let world = World::start().await;
    let [c1, c2] = world.two();
    c1.set(hello(json!({}))).await;
    c1.set(export()).await;
    for cluster in [c1, c2] {
        let import = cluster.until_import("made", |_| true).await;
        assert_eq!(ports(&import), ["tcp TCP 42", "udp UDP 42"]);
    }
}

#[tokio::test]
async fn kube_different_ports_are_united_and_conflict() {
    let world = World::start().await;
    let [c1, c2] = world.two();
    c1.set(hello(json!({}))).await;
    c1.set(export()).await;
    c1.until_import("made", |_| true).await;
    world.later().await;
    c2.set(hello(
        json!({"ports": [{"name": "tcp", "port": 42}, {"name": "more", "port": 45}]}),
    ))
    .await;
    c2.set(export()).await;
    for cluster in [c1, c2] {
        cluster
            .until_import("with the union", |import| {
                ports(import) == ["tcp TCP 42", "udp UDP 42", "more TCP 45"]
            })
            .await;
        let message = cluster
            .until_condition("Conflict", "True", "PortConflict")
            .await;
        assert!(message.contains("c1"), "{message}");
    }
}

#[tokio::test]
async fn kube_a_clashing_port_is_the_oldest_exports() {
    let world = World::start().await;
    let [c1, c2] = world.two();
    // The second cluster is the older one, so that its name does not decide.
    c2.set(hello(json!({"ports": [{"name": "tcp", "port": 42}]})))
        .await;
    c2.set(export()).await;
    c2.until_import("made", |_| true).await;
    world.later().await;
    c1.set(hello(json!({"ports": [{"name": "tcp", "port": 43}]})))
        .await;
    c1.set(export()).await;
    for cluster in [c1, c2] {
        cluster
            .until_condition("Conflict", "True", "PortConflict")
            .await;
        cluster
            .until_import("of the older", |import| ports(import) == ["tcp TCP 42"])
            .await;
    }
}

#[tokio::test]
async fn kube_a_headless_service_makes_a_headless_import_without_ips() {
    let world = World::start().await;
    let [c1, c2] = world.two();
    c1.set(hello(json!({"clusterIP": "None"}))).await;
    c1.set(export()).await;
    for cluster in [c1, c2] {
        let import = cluster.until_import("ready", is_ready).await;
        assert_eq!(import.spec.r#type, "Headless");
        assert_eq!(import.spec.ips, [] as [String; 0]);
    }
    c1.delete(export()).await;
    c1.until_no_import().await;
    c2.until_no_import().await;
}

#[tokio::test]
async fn kube_an_external_name_cannot_be_exported() {
    let world = World::start().await;
    let [c1, c2] = world.two();
    let service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "hello", "namespace": super::objects::NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": "example.org"}});
    c1.set(service).await;
    c1.set(export()).await;
    c1.until_condition("Valid", "False", "InvalidServiceType")
        .await;
    assert!(c1.import().await.is_none() && c2.import().await.is_none());
}

#[tokio::test]
async fn kube_an_export_without_its_service_is_not_valid_until_there_is_one() {
    let world = World::start().await;
    let [c1, _] = world.two();
    c1.set(export()).await;
    c1.until_condition("Valid", "False", "NoService").await;
    c1.set(hello(json!({}))).await;
    c1.until_condition("Valid", "True", "Valid").await;
    c1.until_condition("Ready", "True", "Exported").await;
}

#[tokio::test]
async fn kube_a_clash_of_headless_and_not_is_the_oldest_exports_and_conflicts() {
    let world = World::start().await;
    let [c1, c2] = world.two();
    c2.set(hello(json!({}))).await;
    c2.set(export()).await;
    c2.until_import("made", |_| true).await;
    world.later().await;
    c1.set(hello(json!({"clusterIP": "None"}))).await;
    c1.set(export()).await;
    for cluster in [c1, c2] {
        cluster
            .until_condition("Conflict", "True", "TypeConflict")
            .await;
        cluster
            .until_import("of the older", |import| {
                import.spec.r#type == "ClusterSetIP"
            })
            .await;
    }
}

#[tokio::test]
async fn kube_only_exported_labels_and_annotations_are_copied_and_conflict_as_wholes() {
    let world = World::start().await;
    let [c1, c2] = world.two();
    let exported = |label: &str| {
        let mut export = export();
        export["metadata"]["labels"] = json!({"own": "label"});
        export["spec"] =
            json!({"exportedLabels": {"exported": label}, "exportedAnnotations": {"note": "x"}});
        export
    };
    c1.set(hello(json!({}))).await;
    c1.set(exported("first")).await;
    let import = c2.until_import("made", |_| true).await;
    assert_eq!(
        import.metadata.labels,
        Some([("exported".to_owned(), "first".to_owned())].into())
    );
    assert_eq!(
        import.metadata.annotations,
        Some([("note".to_owned(), "x".to_owned())].into())
    );

    world.later().await;
    c2.set(hello(json!({}))).await;
    c2.set(exported("second")).await;
    for cluster in [c1, c2] {
        cluster
            .until_condition("Conflict", "True", "LabelsConflict")
            .await;
        let import = cluster
            .until_import("of both", |i| clusters(i) == ["c1", "c2"])
            .await;
        assert_eq!(import.metadata.labels.unwrap()["exported"], "first");
    }
}

#[tokio::test]
async fn kube_slices_of_a_headless_import_have_the_fixed_labels_and_follow_the_endpoints() {
    let world = World::start().await;
    let [c1, c2] = world.two();
    for (cluster, address) in [(c1, "10.1.0.2"), (c2, "10.2.0.2")] {
        cluster.set(hello(json!({"clusterIP": "None"}))).await;
        cluster.set(slice(&[address])).await;
        cluster.set(export()).await;
    }
    for cluster in [c1, c2] {
        let slices = cluster
            .until_slices(&[("c1", &["10.1.0.2"]), ("c2", &["10.2.0.2"])])
            .await;
        for slice in slices {
            let labels = slice.metadata.labels.clone().unwrap();
            assert_eq!(
                labels["endpointslice.kubernetes.io/managed-by"],
                "gateway.isthmus.io"
            );
            assert!(!labels.contains_key("kubernetes.io/service-name"));
            let owner = &slice.metadata.owner_references.as_ref().unwrap()[0];
            assert_eq!(
                (owner.kind.as_str(), owner.name.as_str()),
                ("ServiceImport", "hello")
            );
        }
    }
    c1.set(slice(&["10.1.0.3", "10.1.0.4"])).await;
    c2.until_slices(&[("c1", &["10.1.0.3", "10.1.0.4"]), ("c2", &["10.2.0.2"])])
        .await;
    c1.delete(export()).await;
    c2.until_slices(&[("c2", &["10.2.0.2"])]).await;
    c2.delete(export()).await;
    c2.until_slices(&[]).await;
}

#[tokio::test]
async fn kube_a_cluster_that_does_not_export_contributes_no_endpoints() {
    let world = World::start().await;
    let [c1, c2] = world.two();
    for (cluster, address) in [(c1, "10.1.0.2"), (c2, "10.2.0.2")] {
        cluster.set(hello(json!({"clusterIP": "None"}))).await;
        cluster.set(slice(&[address])).await;
    }
    c1.set(export()).await;
    for cluster in [c1, c2] {
        cluster.until_slices(&[("c1", &["10.1.0.2"])]).await;
    }
}

#[tokio::test]
async fn kube_slices_of_an_import_with_an_ip_are_made_on_request_and_belong_to_the_service() {
    let world = World::start().await;
    let [c1, c2] = world.two();
    c1.set(hello(json!({}))).await;
    c1.set(slice(&["10.1.0.2"])).await;
    c1.set(export()).await;
    c2.set(hello(json!({}))).await;
    c2.until_import("ready", is_ready).await;
    c2.until_slices(&[]).await;

    let mut mirrored = export();
    mirrored["metadata"]["annotations"] = json!({"isthmus.io/mirror-endpoints": "true"});
    c2.set(mirrored).await;
    let slices = c2.until_slices(&[("c1", &["10.1.0.2"])]).await;
    let labels = slices[0].metadata.labels.clone().unwrap();
    assert_eq!(labels["kubernetes.io/service-name"], "hello");
    assert!(
        slices[0].data["endpoints"][0].get("nodeName").is_none(),
        "no node of ours"
    );
}

#[tokio::test]
async fn kube_a_namespace_that_is_made_later_gets_its_import() {
    let world = World::without_sinks(2).await;
    let [c1, c2] = world.two();
    for cluster in [c1, c2] {
        cluster.start_sink("replica-1", world.shutdown());
    }
    c1.set(namespace()).await;
    c1.set(hello(json!({}))).await;
    c1.set(export()).await;
    c1.until_import("ready", is_ready).await;

    c2.set(namespace()).await;
    c2.until_import("ready", is_ready).await;
}

fn is_ready(import: &crate::api::ServiceImport) -> bool {
    let conditions = import.status.iter().flat_map(|status| &status.conditions);
    conditions
        .into_iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

fn clusters(import: &crate::api::ServiceImport) -> Vec<&str> {
    let clusters = import.status.iter().flat_map(|status| &status.clusters);
    clusters.map(|one| one.cluster.as_str()).collect()
}

fn ports(import: &crate::api::ServiceImport) -> Vec<String> {
    let ports = import.spec.ports.iter().map(|port| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        format!(
            "{} {} {}",
            text(&port.name),
            text(&port.protocol),
            port.port
        )
    });
    ports.collect()
}
