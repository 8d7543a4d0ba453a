//! What a person writes down of a lab: clusters, nodes, pods and the folder of their manifests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use cluster_registry::name::{ClusterName, Namespace, NodeName};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::target::gateway_number;

/// The longest lab name: it stands in namespace and folder names beside cluster, node and pod.
const MAX_LAB_NAME_BYTES: usize = 20;

/// Node addresses are numbered in one byte, from 11 up.
const MAX_NODES: usize = 200;

/// The most gateways that a cluster has sessions with; more would find no peer.
const MAX_GATEWAYS: usize = 4;

/// Arguments of a gateway that no two on one node may share; the lab gives those that it needs.
const OWN_ARGUMENTS: [&str; 5] = [
    "--listen",
    "--dns-listen",
    "--admin-listen",
    "--replica",
    "--state-dir",
];

/// A lab as written in its topology file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Topology {
    /// The lab's name: lower-case letters and digits, so that no lab's name begins another's namespaces.
    pub name: String,
    /// The clusters, in the order in which they get their addresses.
    pub clusters: Vec<Cluster>,
    /// Which clusters' gateways are linked; all with all if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<Vec<(String, String)>>,
    /// The folder that relative paths start from: the file's own.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// The ranges that its nodes' pod ranges are cut from, at most one per family.
    pub pod_cidrs: Vec<IpNet>,
    /// The ranges of its services' addresses; only checked, never routed.
    #[serde(default)]
    pub service_cidrs: Vec<IpNet>,
    /// Its nodes; the gateways run on the first.
    pub nodes: Vec<String>,
    /// Its pods.
    #[serde(default)]
    pub pods: Vec<Pod>,
    /// The folder of its manifests, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests: Option<PathBuf>,
    /// How many gateways it has, 1 to 4; they share a node, with ports of their own.
    #[serde(default = "default_gateways")]
    pub gateways: usize,
    /// More arguments for each of its gateways.
    #[serde(default)]
    pub gateway_args: Vec<String>,
    /// More arguments for each of its agents.
    #[serde(default)]
    pub agent_args: Vec<String>,
    /// More arguments for the agents of some nodes, by the nodes' names.
    #[serde(default)]
    pub node_args: BTreeMap<String, Vec<String>>,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pod {
    /// Its name, unique in the cluster.
    pub name: String,
    /// Its Kubernetes namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The node it runs on; the first one if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its labels, which services select it by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The program and its arguments, run in the topology's folder; none: only commands run in it by hand.
    #[serde(default)]
    pub command: Vec<String>,
    /// The ports that it serves; it counts as ready when all TCP ones answer.
    #[serde(default)]
    pub ports: Vec<Port>,
}

/// A port that a pod serves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// The name that a service's `targetPort` may use.
    pub name: String,
    /// The number.
    pub port: u16,
    /// `TCP` or `UDP`.
    #[serde(default = "default_protocol")]
    pub protocol: String,
}

impl Topology {
    /// Reads and checks a topology file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("reading the topology {}", path.display()))?;
        let mut topology: Self = serde_yaml::from_str(&text)
            .with_context(|| format!("understanding the topology {}", path.display()))?;
        let whole = path
            .canonicalize()
            .with_context(|| format!("finding {}", path.display()))?;
        topology.folder = whole.parent().map(Path::to_owned).unwrap_or_default();
        topology.check()?;
        Ok(topology)
    }

    /// The demo: clusters `east` and `west`, the global service `shop/web` in both, a client in `east`.
    pub fn demo() -> Result<Self> {
        Self::read(Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/demo/topology.yaml"
        )))
    }

    /// The same lab under another name, so that it can run beside this one.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Whether the gateways of two clusters are linked.
    pub fn is_linked(&self, one: &str, other: &str) -> bool {
        one != other
            && self.links.as_ref().is_none_or(|links| {
                links
                    .iter()
                    .any(|(a, b)| (a == one && b == other) || (a == other && b == one))
            })
    }

    /// Checks everything that would otherwise fail halfway through building the lab.
    pub fn check(&self) -> Result<()> {
        check_lab_name(&self.name)?;
        ensure!(!self.clusters.is_empty(), "the topology has no cluster");
        ensure!(
            self.clusters.len() <= MAX_NODES,
            "a lab has at most {MAX_NODES} clusters"
        );
        let mut names = BTreeSet::new();
        for cluster in &self.clusters {
            ensure!(
                names.insert(cluster.name.as_str()),
                "two clusters are named {}",
                cluster.name
            );
            cluster
                .check()
                .with_context(|| format!("in cluster {}", cluster.name))?;
        }
        for (one, other) in self.links.iter().flatten() {
            for name in [one, other] {
                ensure!(
                    names.contains(name.as_str()),
                    "a link names {name}, which is no cluster here"
                );
            }
        }
        Ok(())
    }
}

impl Cluster {
    fn check(&self) -> Result<()> {
        ClusterName::parse(&self.name)?;
        ensure!(!self.nodes.is_empty(), "it has no node");
        ensure!(
            self.nodes.len() <= MAX_NODES,
            "it has more than {MAX_NODES} nodes"
        );
        self.check_gateways()?;
        let v4 = self.pod_cidrs.iter().filter(|c| c.addr().is_ipv4()).count();
        ensure!(
            !self.pod_cidrs.is_empty() && v4 <= 1 && self.pod_cidrs.len() - v4 <= 1,
            "it needs one pod CIDR, or one per family"
        );
        let mut nodes = BTreeSet::new();
        for node in &self.nodes {
            NodeName::parse(node)?;
            ensure!(nodes.insert(node.as_str()), "two nodes are named {node}");
        }
        for node in self.node_args.keys() {
            ensure!(
                nodes.contains(node.as_str()),
                "its nodeArgs name {node}, which is no node of it"
            );
        }
        let mut pods = BTreeSet::new();
        for pod in &self.pods {
            ensure!(
                pods.insert(pod.name.as_str()),
                "two pods are named {}",
                pod.name
            );
            pod.check(&nodes)
                .with_context(|| format!("in pod {}", pod.name))?;
        }
        Ok(())
    }

    fn check_gateways(&self) -> Result<()> {
        ensure!(
            (1..=MAX_GATEWAYS).contains(&self.gateways),
            "it has {} gateways: write 1 to {MAX_GATEWAYS}",
            self.gateways
        );
        let name = |argument: &String| argument.split('=').next().map(str::to_owned);
        let names: Vec<_> = self.gateway_args.iter().filter_map(name).collect();
        let shared = OWN_ARGUMENTS
            .iter()
            .find(|own| names.iter().any(|n| n == *own));
        if let Some(shared) = shared.filter(|_| self.gateways > 1) {
            bail!(
                "its gatewayArgs give {shared} to all {} gateways, which cannot share it: leave it out",
                self.gateways
            );
        }
        Ok(())
    }
}

impl Pod {
    fn check(&self, nodes: &BTreeSet<&str>) -> Result<()> {
        Namespace::parse(&self.namespace)?;
        // The same alphabet as a cluster's name: a label.
        ClusterName::parse(&self.name)?;
        ensure!(
            self.name != "apiserver" && gateway_number(&self.name).is_none(),
            "'gateway', 'gateway-2' and so on, and 'apiserver' mean the cluster's own"
        );
        if let Some(node) = &self.node {
            ensure!(
                nodes.contains(node.as_str()),
                "it runs on {node}, which is no node of its cluster"
            );
        }
        for port in &self.ports {
            ensure!(
                matches!(port.protocol.as_str(), "TCP" | "UDP"),
                "port {} speaks {}, not TCP or UDP",
                port.name,
                port.protocol
            );
        }
        Ok(())
    }
}

/// Checks that a text can be a lab's name.
pub fn check_lab_name(name: &str) -> Result<()> {
    if name.is_empty()
        || name.len() > MAX_LAB_NAME_BYTES
        || !name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    {
        bail!(
            "'{name}' can't be a lab's name: it needs 1 to {MAX_LAB_NAME_BYTES} lower-case letters and digits"
        );
    }
    Ok(())
}

fn default_gateways() -> usize {
    1
}

fn default_namespace() -> String {
    "default".to_owned()
}

fn default_protocol() -> String {
    "TCP".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_topology_is_valid() {
        let topology = Topology::demo().unwrap();

        assert!(topology.is_linked("east", "west"));
    }

    #[test]
    fn a_lab_name_with_a_dash_is_refused() {
        let error = check_lab_name("a-b").unwrap_err();

        assert!(error.to_string().contains("a-b"));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let result: Result<Topology, _> =
            serde_yaml::from_str("name: x\nclusters: []\nnodes: []\n");

        assert!(result.unwrap_err().to_string().contains("nodes"));
    }

    #[test]
    fn a_pod_on_a_missing_node_is_refused() {
        let mut topology = Topology::demo().unwrap();
        topology.clusters[0].pods[0].node = Some("n9".to_owned());

        let error = format!("{:#}", topology.check().unwrap_err());

        assert!(error.contains("n9"), "{error}");
    }

    #[test]
    fn a_cluster_of_more_gateways_than_peers_hold_is_refused() {
        for gateways in [0, 5] {
            let mut topology = Topology::demo().unwrap();
            topology.clusters[1].gateways = gateways;

            let error = format!("{:#}", topology.check().unwrap_err());

            assert!(
                error.contains("west") && error.contains("1 to 4"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_argument_that_gateways_of_one_node_cannot_share_is_refused() {
        let mut topology = Topology::demo().unwrap();
        topology.clusters[0].gateway_args = vec!["--state-dir=/tmp/state".to_owned()];
        topology.check().unwrap();
        topology.clusters[0].gateways = 2;

        let error = format!("{:#}", topology.check().unwrap_err());

        assert!(error.contains("--state-dir"), "{error}");
    }

    #[test]
    fn a_pod_named_like_a_gateway_is_refused() {
        for name in ["gateway", "gateway-2"] {
            let mut topology = Topology::demo().unwrap();
            name.clone_into(&mut topology.clusters[0].pods[0].name);

            assert!(topology.check().is_err(), "{name}");
        }
    }

    #[test]
    fn only_named_links_count_once_links_are_given() {
        let mut topology = Topology::demo().unwrap();
        topology.links = Some(Vec::new());

        assert!(!topology.is_linked("east", "west"));
    }
}
