//! A cluster with as many services as a bench asks for, of which one is called.

use std::{collections::BTreeMap, fmt::Write, fs, net::Ipv4Addr, path::Path};

use anyhow::Context;
use multicluster::topology::{Cluster, Pod, Port, Topology};

/// The port that the called service and its pod have.
pub(crate) const PORT: u16 = 7000;

/// Makes a pod forget closed connections at once: the client's ports must come free again, and a server that remembers
/// one takes the client's next, which comes by another address and so with other timestamps, for a stray.
pub(crate) const FORGET_CLOSED: &str = "echo 0 > /proc/sys/net/ipv4/tcp_max_tw_buckets";

/// The called service's name and namespace.
pub(crate) const SERVICE: (&str, &str) = ("bench", "crr");

/// The called service's own addresses.
const CLUSTER_IPS: (&str, &str) = ("10.101.0.10", "fd00:101:1::10");

/// The first of the other services' addresses.
const FIRST_OTHER: Ipv4Addr = Ipv4Addr::new(10, 101, 16, 0);

/// Writes the manifests of `count` services into a folder.
pub(crate) fn write_manifests(folder: &Path, count: u32) -> anyhow::Result<()> {
    let mut text = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  selector: {{app: server}}\n  clusterIP: {v4}\n  clusterIPs: [{v4}, \"{v6}\"]\n  \
         ipFamilies: [IPv4, IPv6]\n  ports: [{{name: crr, port: {PORT}, targetPort: crr}}]\n",
        namespace = SERVICE.0,
        name = SERVICE.1,
        v4 = CLUSTER_IPS.0,
        v6 = CLUSTER_IPS.1,
    );
    for number in 1..count {
        let address = Ipv4Addr::from(u32::from(FIRST_OTHER) + number);
        let endpoint = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 1, 128, 0)) + number);
        write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: other-{number}, namespace: bench}}\n\
             spec: {{clusterIP: {address}, ports: [{{name: http, port: 80}}]}}\n\
             ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: other-{number}\n  \
             namespace: bench\n  labels: {{kubernetes.io/service-name: other-{number}}}\n\
             addressType: IPv4\nports: [{{name: http, port: 8080, protocol: TCP}}]\n\
             endpoints: [{{addresses: [\"{endpoint}\"], conditions: {{ready: true}}}}]\n"
        )?;
    }
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let file = folder.join("services.yaml");
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}

/// One cluster of one node, with a server that `load` runs and a client.
pub(crate) fn topology(load: &Path, manifests: &Path) -> anyhow::Result<Topology> {
    let listen = format!("[::]:{PORT}");
    // Both ends on one core: what is compared then is work, not the luck of the scheduler.
    let script =
        format!("{FORGET_CLOSED}; exec taskset -c 0 \"$0\" load crr-serve --listen {listen}");
    let command = ["sh", "-c", &script, &load.to_string_lossy()]
        .map(str::to_owned)
        .to_vec();
    let pod = |name: &str, command, ports| Pod {
        name: name.to_owned(),
        namespace: SERVICE.0.to_owned(),
        node: None,
        labels: [("app".to_owned(), name.to_owned())].into(),
        command,
        ports,
    };
    let port = Port {
        name: "crr".to_owned(),
        port: PORT,
        protocol: "TCP".to_owned(),
    };
    let topology = Topology {
        name: "bench".to_owned(),
        clusters: vec![Cluster {
            name: "east".to_owned(),
            pod_cidrs: vec!["10.1.0.0/16".parse()?, "fd00:10:1::/48".parse()?],
            service_cidrs: vec!["10.101.0.0/16".parse()?, "fd00:101:1::/112".parse()?],
            nodes: vec!["n1".to_owned()],
            pods: vec![
                pod("server", command.clone(), vec![port]),
                pod("bare", command, Vec::new()),
                pod("client", Vec::new(), Vec::new()),
            ],
            manifests: Some(manifests.to_owned()),
            gateways: 1,
            gateway_args: Vec::new(),
            agent_args: Vec::new(),
            node_args: BTreeMap::new(),
        }],
        links: None,
        folder: manifests.to_owned(),
    };
    topology.check()?;
    Ok(topology)
}
