//! A view, written down.

use std::{collections::BTreeMap, sync::Arc};

use cluster_registry::{
    cluster::{Cluster, Control},
    endpoint::{Conditions, EndpointPort},
    node::Node,
    service::{Protocol, ServicePort},
    shared_map::SharedMap,
};

use super::*;

#[test]
fn a_view_is_a_line_on_itself_then_its_nodes_then_its_services() {
    let lines = dump(&view());

    assert_eq!(
        lines,
        [
            json!({
                "view": "east",
                "clusters": {"west": {"control": "lost"}},
                "nodes": 1,
                "services": 1,
            }),
            json!({
                "node": "w1",
                "cluster": "west",
                "addresses": ["192.0.2.1"],
                "podCIDRs": ["10.2.0.0/24"],
                "zone": "a",
                "tunnel": null,
            }),
            json!({
                "service": "shop/web",
                "local": null,
                "remote": {"west": {
                    "type": "ClusterIp",
                    "clusterIPs": ["10.96.0.1"],
                    "ports": [{"name": null, "protocol": "TCP", "port": 80, "nodePort": null}],
                    "global": false,
                    "shared": false,
                    "affinity": "none",
                    "isExported": false,
                }},
                "endpoints": [{
                    "cluster": "west",
                    "address": "10.2.0.9",
                    "ports": [{"name": null, "protocol": "TCP", "port": 8080}],
                    "ready": false,
                    "serving": true,
                    "terminating": true,
                    "node": "w1",
                    "zone": null,
                }],
                "import": null,
            }),
        ]
    );
}

#[test]
fn a_reader_that_goes_ends_the_dump() {
    let mut taken = 0;

    let written = write(&view(), &mut |_| {
        taken += 1;
        if taken == 2 { Err(Gone) } else { Ok(()) }
    });

    assert_eq!((written, taken), (Err(Gone), 2));
}

fn dump(view: &View) -> Vec<Value> {
    let mut lines = Vec::new();
    let written = write(view, &mut |line| {
        lines.push(line.clone());
        Ok(())
    });
    assert_eq!(written, Ok(()));
    lines
}

/// The view of a cluster that lost another one, whose service has an endpoint that terminates.
fn view() -> View {
    let west = "west".parse::<ClusterName>().unwrap();
    let control = Control::Lost;
    let mut view = View::new("east".parse().unwrap());
    view.clusters = BTreeMap::from([(west.clone(), Cluster { control })]);
    let node = Node {
        addresses: vec!["192.0.2.1".parse().unwrap()],
        pod_cidrs: vec!["10.2.0.0/24".parse().unwrap()],
        zone: Some("a".to_owned()),
    };
    let merged = MergedNode {
        node: Some(node),
        tunnel: None,
    };
    let name = "w1".parse::<NodeName>().unwrap();
    view.nodes
        .insert((west.clone(), name.clone()), Arc::new(merged));
    let definition = Service {
        cluster_ips: vec!["10.96.0.1".parse().unwrap()],
        ports: vec![ServicePort::new(None, Protocol::Tcp, 80)],
        ..Service::default()
    };
    let port = EndpointPort {
        name: None,
        protocol: Protocol::Tcp,
        port: 8080,
    };
    let mut endpoint = Endpoint::ready(vec![port]);
    endpoint.conditions = Conditions {
        ready: false,
        serving: true,
        terminating: true,
    };
    endpoint.node = Some(name);
    let mut endpoints = SharedMap::new();
    endpoints.insert("10.2.0.9".parse().unwrap(), Arc::new(endpoint));
    let mut merged = MergedService::default();
    merged.remote.insert(west.clone(), Arc::new(definition));
    merged.endpoints.insert(west, endpoints);
    let name = ServiceName {
        namespace: "shop".parse().unwrap(),
        name: "web".parse().unwrap(),
    };
    view.services.insert(name, Arc::new(merged));
    view
}
