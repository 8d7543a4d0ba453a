//! `/debug/view`: everything that the gateway's cluster knows, for whoever looks for why a service is as it is.
//!
//! It is a view's own shape, one thing a line, and not an interface: programs ask `/v1/status`.

use cluster_registry::{
    endpoint::Endpoint,
    mcs::Import,
    name::{ClusterName, NodeName, ServiceName},
    service::Service,
    view::{EndpointsByCluster, MergedNode, MergedService, View},
};
use isthmus_daemon::admin::{Gone, Sink};
use serde_json::{Value, json};

/// Writes a view: first what it is of, then its nodes, then its services, each in the order of their names.
pub(crate) fn write(view: &View, add: &mut Sink<'_>) -> Result<(), Gone> {
    add(&head(view))?;
    for ((cluster, name), merged) in view.nodes.iter() {
        add(&node(cluster, name, merged))?;
    }
    for (name, merged) in view.services.iter() {
        add(&service(name, merged))?;
    }
    Ok(())
}

fn head(view: &View) -> Value {
    let clusters = view.clusters.iter();
    let clusters = clusters.map(|(name, cluster)| {
        let control = format!("{:?}", cluster.control).to_lowercase();
        (name.to_string(), json!({"control": control}))
    });
    json!({
        "view": view.cluster.as_str(),
        "clusters": clusters.collect::<serde_json::Map<_, _>>(),
        "nodes": view.nodes.len(),
        "services": view.services.len(),
    })
}

fn node(cluster: &ClusterName, name: &NodeName, merged: &MergedNode) -> Value {
    let tunnel = merged.tunnel.as_ref().map(|tunnel| {
        json!({
            "publicKey": tunnel.public_key.to_string(),
            "nextPublicKey": tunnel.next_public_key.map(|key| key.to_string()),
            "port": tunnel.port,
            "probe": {"address": tunnel.probe_address, "port": tunnel.probe_port},
        })
    });
    let node = merged.node.as_ref();
    json!({
        "node": name.as_str(),
        "cluster": cluster.as_str(),
        "addresses": node.map(|node| &node.addresses),
        "podCIDRs": node.map(|node| &node.pod_cidrs),
        "zone": node.and_then(|node| node.zone.as_deref()),
        "tunnel": tunnel,
    })
}

fn service(name: &ServiceName, merged: &MergedService) -> Value {
    let remote = merged.remote.iter();
    let remote = remote.map(|(cluster, service)| (cluster.to_string(), definition(service)));
    json!({
        "service": name.to_string(),
        "local": merged.local.as_deref().map(definition),
        "remote": remote.collect::<serde_json::Map<_, _>>(),
        "endpoints": endpoints(&merged.endpoints),
        "import": merged.import.as_deref().map(|import| self::import(import, merged)),
    })
}

fn definition(service: &Service) -> Value {
    let ports = service.ports.iter().map(|port| {
        json!({
            "name": port.name.as_ref().map(ToString::to_string),
            "protocol": port.protocol.to_string(),
            "port": port.port,
            "nodePort": port.node_port,
        })
    });
    json!({
        "type": format!("{:?}", service.kind),
        "clusterIPs": service.cluster_ips,
        "ports": ports.collect::<Vec<_>>(),
        "global": service.sharing.global,
        "shared": service.sharing.shared,
        "affinity": format!("{:?}", service.sharing.affinity).to_lowercase(),
        "isExported": service.export.is_some(),
    })
}

fn import(import: &Import, merged: &MergedService) -> Value {
    let conflicts = import.conflicts.iter();
    let conflicts = conflicts.map(|conflict| conflict.message.as_str());
    json!({
        "type": import.kind.to_string(),
        "addresses": merged.clusterset_ips,
        "oldest": import.oldest.cluster.as_str(),
        "clusters": import.clusters.iter().map(ClusterName::as_str).collect::<Vec<_>>(),
        "conflicts": conflicts.collect::<Vec<_>>(),
        "endpoints": endpoints(&merged.import_endpoints),
    })
}

fn endpoints(by_cluster: &EndpointsByCluster) -> Value {
    let mut all = Vec::new();
    for (cluster, endpoints) in by_cluster.iter() {
        for (address, endpoint) in endpoints.iter() {
            all.push(json!({
                "cluster": cluster.as_str(),
                "address": address,
                "ports": ports(endpoint),
                "ready": endpoint.conditions.ready,
                "serving": endpoint.conditions.serving,
                "terminating": endpoint.conditions.terminating,
                "node": endpoint.node.as_ref().map(NodeName::as_str),
                "zone": endpoint.zone.as_deref(),
            }));
        }
    }
    Value::Array(all)
}

fn ports(endpoint: &Endpoint) -> Vec<Value> {
    let port = |port: &cluster_registry::endpoint::EndpointPort| {
        json!({
            "name": port.name.as_ref().map(ToString::to_string),
            "protocol": port.protocol.to_string(),
            "port": port.port,
        })
    };
    endpoint.ports.iter().map(port).collect()
}

#[cfg(test)]
mod tests;
