//! What only clusters with API servers can show: imports with addresses, conditions, links by object, and a server's death.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use multicluster::{
    Client, Family, Lab, Mode, Options, Target, Topology, plan::GATEWAY_PORT, topology::Pod,
    wait_for, wait_until,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// A client of an API server that was away waits longer and longer between its attempts.
const AFTER_AN_OUTAGE: Duration = Duration::from_secs(90);

const WEB: &str = "10.101.0.10";

const EXPORT: &str = "\
apiVersion: multicluster.x-k8s.io/v1beta1
kind: ServiceExport
metadata: {name: web, namespace: shop}
spec:
  exportedAnnotations: {isthmus.io/mirror-endpoints: \"true\"}
";

#[test]
#[ignore = "needs root"]
fn a_service_that_two_clusters_export_has_an_address_and_a_name_in_a_third() {
    let lab = Lab::up(&three("imported"), &Options::in_mode(Mode::Kubernetes)).unwrap();
    for cluster in ["east", "west"] {
        lab.write_manifest(cluster, "export.yaml", EXPORT).unwrap();
    }

    let import = named("multicluster.x-k8s.io/v1beta1", "ServiceImport");
    let addresses = wait_for(SOON, "north's import has an address a family", || {
        let import = lab.object("north", &import)?.unwrap_or_default();
        let clusters = import["status"]["clusters"].as_array().map_or(0, Vec::len);
        let ips = serde_json::from_value::<[String; 2]>(import["spec"]["ips"].clone())?;
        Ok(Some(ips).filter(|_| clusters == 2))
    })
    .unwrap();
    let [v4, v6] = &addresses;
    assert!(v4.starts_with("10.97."), "{v4}");
    assert!(v6.starts_with("fd97:"), "{v6}");
    let client = Client::new(&lab, "north/client");
    for (family, address) in [(Family::V4, v4.as_str()), (Family::V6, v6.as_str())] {
        for host in [address, "web.shop.svc.clusterset.local"] {
            client
                .wait_for_clusters(&["east", "west"], SOON, |c| c.http(host, 80, family))
                .unwrap();
        }
    }
    wait_until(SOON, "north has slices of both clusters", || {
        let slices = lab.objects("north", &named("discovery.k8s.io/v1", "EndpointSlice"))?;
        let source = "multicluster.kubernetes.io/source-cluster";
        let from = |cluster| {
            let mut sources = slices.iter().map(|s| &s["metadata"]["labels"][source]);
            sources.any(|source| source == cluster)
        };
        Ok(from("east") && from("west"))
    })
    .unwrap();
    let export = named("multicluster.x-k8s.io/v1beta1", "ServiceExport");
    for (condition, status) in [("Valid", "True"), ("Ready", "True"), ("Conflict", "False")] {
        wait_until(SOON, &format!("the export says {condition}"), || {
            let export = lab.object("east", &export)?.unwrap_or_default();
            Ok(is_condition(&export, condition, status))
        })
        .unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn links_by_object_join_clusters_at_run_time_and_say_that_they_are_connected() {
    let mut topology = Topology::demo().unwrap().named("linkobject");
    topology.links = Some(Vec::new());
    let lab = Lab::up(&topology, &Options::in_mode(Mode::Kubernetes)).unwrap();
    let client = Client::new(&lab, "east/client");
    let http = |c: &Client<'_>| c.http(WEB, 80, Family::V4);
    client.wait_for_clusters(&["east"], SOON, http).unwrap();

    let gateway = |cluster| lab.plan().gateway_node(cluster).unwrap();
    // The first name dials: over IPv6 here, as the links of flags do over IPv4.
    let addresses = [
        ("east", "west", IpAddr::from(gateway("west").ipv6)),
        ("west", "east", IpAddr::from(gateway("east").ipv4)),
    ];
    for (cluster, peer, address) in addresses {
        let address = SocketAddr::new(address, GATEWAY_PORT);
        let link = format!(
            "apiVersion: isthmus.io/v1alpha1\nkind: ClusterLink\nmetadata: {{name: {peer}}}\n\
             spec: {{addresses: [\"{address}\"]}}\n"
        );
        lab.write_manifest(cluster, "link.yaml", &link).unwrap();
    }

    client
        .wait_for_clusters(&["east", "west"], SOON, http)
        .unwrap();
    for (cluster, peer) in [("east", "west"), ("west", "east")] {
        let link = json!({"apiVersion": "isthmus.io/v1alpha1", "kind": "ClusterLink",
            "metadata": {"name": peer}});
        wait_until(SOON, &format!("{cluster}'s link is connected"), || {
            let link = lab.object(cluster, &link)?.unwrap_or_default();
            Ok(is_condition(&link, "Connected", "True"))
        })
        .unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn no_call_fails_while_the_api_server_is_away_and_changes_arrive_when_it_is_back() {
    let topology = Topology::demo().unwrap().named("apikilled");
    let lab = Lab::up(&topology, &Options::in_mode(Mode::Kubernetes)).unwrap();
    let client = Client::new(&lab, "east/client");
    let http = |c: &Client<'_>| c.http(WEB, 80, Family::V4);
    let both = ["east", "west"];
    client.wait_for_clusters(&both, SOON, http).unwrap();
    let (interval, timeout) = (Duration::from_millis(20), Duration::from_millis(500));
    let traffic = client.traffic(WEB, 80, interval, timeout).unwrap();
    traffic.wait_for_successes(20, SOON).unwrap();

    let server = Target::api_server("east");
    lab.kill(&server).unwrap();
    traffic.wait_for_successes(100, SOON).unwrap();
    client.wait_for_clusters(&both, SOON, http).unwrap();
    lab.start_and_wait(&server, SOON).unwrap();
    lab.annotate("east", "web.yaml", "isthmus.io/affinity: remote")
        .unwrap();
    client
        .wait_for_clusters(&["west"], AFTER_AN_OUTAGE, http)
        .unwrap();

    traffic.stop_unfailed().unwrap();
}

/// The demo and a third cluster that has a client and no service.
fn three(name: &str) -> Topology {
    let mut topology = Topology::demo().unwrap().named(name);
    let mut north = topology.clusters[0].clone();
    "north".clone_into(&mut north.name);
    north.pod_cidrs = ["10.3.0.0/16", "fd00:10:3::/48"]
        .map(|c| c.parse().unwrap())
        .to_vec();
    north.service_cidrs = ["10.103.0.0/16", "fd00:103:1::/112"]
        .map(|c| c.parse().unwrap())
        .to_vec();
    north.manifests = None;
    north.nodes.truncate(1);
    north.pods.retain(|pod: &Pod| pod.name == "client");
    topology.clusters.push(north);
    for cluster in &mut topology.clusters {
        cluster.gateway_args = ["--clusterset-cidr", "10.97.0.0/16,fd97::/112"]
            .map(str::to_owned)
            .to_vec();
    }
    topology
}

/// What names `shop/web` of a kind.
fn named(version: &str, kind: &str) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": {"namespace": "shop", "name": "web"}})
}

fn is_condition(object: &Value, condition: &str, status: &str) -> bool {
    let all = object["status"]["conditions"].as_array();
    all.into_iter()
        .flatten()
        .any(|c| c["type"] == condition && c["status"] == status)
}
