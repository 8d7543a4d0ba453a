//! Tests that the types and the definitions in the chart agree, both ways.

use std::collections::BTreeSet;

use apiserver_double::{ApiServer, Settings};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::*;
use crate::testing::definition;

#[tokio::test]
async fn service_exports_agree_with_their_definition() {
    let object = ServiceExport {
        metadata: meta(),
        spec: Some(ServiceExportSpec {
            exported_labels: Some([("a".to_owned(), "b".to_owned())].into()),
            exported_annotations: Some([("a".to_owned(), "b".to_owned())].into()),
        }),
        status: Some(ServiceExportStatus {
            conditions: vec![condition("Valid")],
        }),
    };
    agree("serviceexports", &object);
}

#[tokio::test]
async fn service_imports_agree_with_their_definition() {
    let object = ServiceImport {
        metadata: meta(),
        spec: ServiceImportSpec {
            ports: vec![ImportPort {
                name: Some("http".to_owned()),
                protocol: Some("TCP".to_owned()),
                app_protocol: Some("http".to_owned()),
                port: 80,
            }],
            ips: vec!["10.97.0.1".to_owned()],
            ip_families: vec!["IPv4".to_owned()],
            r#type: "ClusterSetIP".to_owned(),
            session_affinity: Some("ClientIP".to_owned()),
            session_affinity_config: Some(AffinityConfig {
                client_ip: Some(ClientIpConfig {
                    timeout_seconds: Some(10),
                }),
            }),
            internal_traffic_policy: Some("Cluster".to_owned()),
            traffic_distribution: Some("PreferClose".to_owned()),
        },
        status: Some(ServiceImportStatus {
            clusters: vec![ExportingCluster {
                cluster: "east".to_owned(),
            }],
            conditions: vec![condition("Ready")],
        }),
    };
    agree("serviceimports", &object);
}

#[tokio::test]
async fn cluster_links_agree_with_their_definition() {
    let object = ClusterLink {
        metadata: ObjectMeta {
            namespace: None,
            ..meta()
        },
        spec: ClusterLinkSpec {
            addresses: vec!["gw.east.example:4700".to_owned()],
            dial: LinkDial::Always,
            grants: Some(LinkGrants {
                namespaces: Some(vec!["shop".to_owned()]),
                cidrs: Some(vec!["10.1.0.0/16".to_owned()]),
                ..LinkGrants::default()
            }),
            export_to: Some(LinkExport {
                namespaces: Some(vec!["shop".to_owned()]),
                ..LinkExport::default()
            }),
            limits: Some(LinkLimits {
                services: Some(1),
                endpoints: Some(2),
                nodes: Some(3),
                updates_per_second: Some(1_000),
                ..LinkLimits::default()
            }),
            trust_timestamps: true,
            trust_bundle_ref: Some(TrustBundleRef {
                name: "east".to_owned(),
            }),
            ..ClusterLinkSpec::default()
        },
        status: Some(ClusterLinkStatus {
            observed_generation: Some(1),
            accepted: 1,
            rejected: 2,
            rejections: vec![Rejection {
                reason: "own_range".to_owned(),
                count: 2,
            }],
            certificate_expires: Some(time()),
            conditions: vec![condition("Connected")],
        }),
    };
    agree("clusterlinks", &object);
}

#[tokio::test]
async fn a_cluster_link_that_cannot_work_is_refused_with_a_reason() {
    let server = server("clusterlinks");
    let link = |name: &str, spec: Value| {
        json!({"apiVersion": "isthmus.io/v1alpha1", "kind": "ClusterLink",
        "metadata": {"name": name}, "spec": spec})
    };
    server.apply(&link("east", json!({}))).unwrap();
    let refused = |name: &str, spec: &Value| {
        let refused = server.apply(&link(name, spec.clone()));
        refused.unwrap_err().to_string()
    };
    for (spec, expected) in unworkable() {
        let said = refused("east", &spec);
        assert!(said.contains(expected), "{spec}: {said}");
    }
    let said = refused("gw.east.example", &json!({}));
    let expected = "metadata.name is the peer's cluster name";
    assert!(said.contains(expected), "{said}");
}

/// Specs that cannot work, and what their refusal says.
fn unworkable() -> [(Value, &'static str); 13] {
    [
        (
            json!({"dial": "Always"}),
            "dial: Always needs an address to dial",
        ),
        (json!({"dial": "Sometimes"}), "spec.dial: Unsupported value"),
        (
            json!({"addresses": ["gw.east.example"]}),
            "spec.addresses[0]",
        ),
        (json!({"addresses": ["gw_east:4700"]}), "spec.addresses[0]"),
        (
            json!({"grants": {"cidrs": ["10.1.0.0"]}}),
            "spec.grants.cidrs[0]",
        ),
        (
            json!({"grants": {"cidrs": ["0.0.0.0/0"]}}),
            "leave cidrs out",
        ),
        (json!({"grants": {"cidrs": []}}), "spec.grants.cidrs"),
        (
            json!({"grants": {"namespaces": ["Shop"]}}),
            "spec.grants.namespaces[0]",
        ),
        (
            json!({"exportTo": {"namespaces": ["a", "a"]}}),
            "Duplicate value",
        ),
        (json!({"limits": {"nodes": 0}}), "spec.limits.nodes"),
        (
            json!({"limits": {"updatesPerSecond": 0}}),
            "spec.limits.updatesPerSecond",
        ),
        (
            json!({"trustBundleRef": {}}),
            "spec.trustBundleRef.name: Required value",
        ),
        (json!({"adresses": []}), "unknown field \"spec.adresses\""),
    ]
}

/// A full object must pass the definition's checks, use every property of its schema, and come back as it was.
fn agree<K>(file: &str, object: &K)
where
    K: Resource<DynamicType: Default> + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let version = K::DynamicType::default();
    let server = server(file);
    let mut value = serde_json::to_value(object).unwrap();
    value["apiVersion"] = json!(K::api_version(&version));
    value["kind"] = json!(K::kind(&version));
    server.apply(&value).unwrap();
    let back: K = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(back, *object);

    let definition = definition(file);
    assert_eq!(definition["spec"]["names"]["plural"], *K::plural(&version));
    assert_eq!(definition["spec"]["group"], *K::group(&version));
    for version in definition["spec"]["versions"].as_array().unwrap() {
        let mut known = BTreeSet::new();
        properties(&version["schema"]["openAPIV3Schema"], "", &mut known);
        let mut used = BTreeSet::new();
        fields(&value, "", &mut used);
        let unused: Vec<&String> = known.difference(&used).collect();
        assert!(unused.is_empty(), "the types lack {unused:?}");
    }
}

fn server(file: &str) -> ApiServer {
    let server = ApiServer::start(Settings::default()).unwrap();
    server.apply(&definition(file)).unwrap();
    server
}

fn properties(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        found.insert(path.clone());
        properties(property, &path, found);
        properties(&property["items"], &path, found);
    }
}

fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, field) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        found.insert(path.clone());
        fields(field, &path, found);
        for item in field.as_array().into_iter().flatten() {
            fields(item, &path, found);
        }
    }
}

fn meta() -> ObjectMeta {
    ObjectMeta {
        name: Some("web".to_owned()),
        namespace: Some("default".to_owned()),
        ..ObjectMeta::default()
    }
}

fn condition(kind: &str) -> Condition {
    Condition {
        last_transition_time: time(),
        message: "all is well".to_owned(),
        observed_generation: Some(1),
        reason: "Ready".to_owned(),
        status: "True".to_owned(),
        type_: kind.to_owned(),
    }
}

fn time() -> Time {
    Time(Timestamp::UNIX_EPOCH)
}
