//! Where everything of a lab goes: addresses, namespaces, control groups and files, all derived from its topology.
//!
//! The plan is fixed when a lab is built and kept beside it as `state.json`; whether a process lives is asked of its
//! control group, so nothing else has to be recorded.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    address,
    mode::Mode,
    topology::{Cluster, Pod, Topology},
};

/// The folder below which each lab has its own.
pub const RUN_DIR: &str = "/run/isthmus-lab";

/// The QUIC port of a cluster's first gateway.
pub const GATEWAY_PORT: u16 = 4700;

/// How far the ports of a cluster's gateways are apart; the agent's own lie between them.
const PORT_STEP: u16 = 10;

/// A lab with all its names and addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The topology it was made from.
    pub topology: Topology,
    /// The topology's folder, which pods run in.
    pub folder: PathBuf,
    /// The control group that holds all of the lab's processes.
    pub cgroup: PathBuf,
    /// Where its gateways read their objects.
    #[serde(default)]
    pub mode: Mode,
    /// The folder of the daemons' programs; none: the lab has pods alone.
    pub programs: Option<PathBuf>,
    /// The nodes, in the topology's order.
    pub nodes: Vec<NodePlan>,
    /// The pods, in the topology's order.
    pub pods: Vec<PodPlan>,
}

/// A node's place in the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// Its cluster.
    pub cluster: String,
    /// The cluster's number, from 1.
    pub cluster_number: usize,
    /// Its name.
    pub name: String,
    /// Its network namespace.
    pub netns: String,
    /// Its device in the network between the nodes.
    pub device: String,
    /// Its IPv4 address between the nodes.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address between the nodes.
    pub ipv6: Ipv6Addr,
    /// The ranges of its pods.
    pub pod_cidrs: Vec<IpNet>,
    /// The control group of its pods and daemons.
    pub cgroup: PathBuf,
}

/// A pod's place in the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPlan {
    /// Its cluster.
    pub cluster: String,
    /// The node it runs on.
    pub node: String,
    /// What the topology says of it.
    pub pod: Pod,
    /// Its network namespace.
    pub netns: String,
    /// Its device in the node's namespace.
    pub device: String,
    /// Its addresses, at most one per family.
    pub addresses: Vec<IpAddr>,
    /// The control group of its processes.
    pub cgroup: PathBuf,
}

impl Plan {
    /// Places a topology below the given cgroup2 mount.
    pub fn new(topology: &Topology, cgroup_mount: &Path) -> Result<Self> {
        topology.check()?;
        let cgroup = lab_cgroup(cgroup_mount, &topology.name);
        let mut plan = Self {
            topology: topology.clone(),
            folder: topology.folder.clone(),
            cgroup,
            mode: Mode::Manifests,
            programs: None,
            nodes: Vec::new(),
            pods: Vec::new(),
        };
        for (index, cluster) in topology.clusters.iter().enumerate() {
            plan.place_cluster(index + 1, cluster)
                .with_context(|| format!("placing cluster {}", cluster.name))?;
        }
        plan.check_names()?;
        Ok(plan)
    }

    /// The lab's name.
    pub fn lab(&self) -> &str {
        &self.topology.name
    }

    /// The lab's own folder.
    pub fn run_dir(&self) -> PathBuf {
        run_dir(self.lab())
    }

    /// The namespace of the network between the nodes.
    pub fn net(&self) -> String {
        format!("{}net", netns_prefix(self.lab()))
    }

    /// The lab's own BPF file system.
    pub fn bpffs(&self) -> PathBuf {
        self.run_dir().join("bpf")
    }

    /// The manifests that a cluster's gateway reads.
    pub fn manifests_dir(&self, cluster: &str) -> PathBuf {
        self.run_dir().join("manifests").join(cluster)
    }

    /// The kubeconfig that leads to a cluster's API server, from inside the network of its gateway's node.
    pub fn kubeconfig(&self, cluster: &str) -> PathBuf {
        let folder = self.run_dir().join("kubernetes").join(cluster);
        folder.join("kubeconfig")
    }

    /// Where what a process says is kept; `process` is a pod's name, `gateway` or `<node>/agent`.
    pub fn log_file(&self, cluster: &str, process: &str) -> PathBuf {
        let name = format!("{cluster}-{}.log", process.replace('/', "-"));
        self.run_dir().join("logs").join(name)
    }

    /// The nodes of one cluster.
    pub fn nodes_of<'a>(&'a self, cluster: &str) -> impl Iterator<Item = &'a NodePlan> {
        self.nodes.iter().filter(move |n| n.cluster == cluster)
    }

    /// The pods of one cluster.
    pub fn pods_of<'a>(&'a self, cluster: &str) -> impl Iterator<Item = &'a PodPlan> {
        self.pods.iter().filter(move |p| p.cluster == cluster)
    }

    /// One cluster of the topology.
    pub fn cluster(&self, name: &str) -> Result<&Cluster> {
        self.topology
            .clusters
            .iter()
            .find(|c| c.name == name)
            .with_context(|| {
                let all = self.topology.clusters.iter().map(|c| c.name.as_str());
                format!(
                    "lab {} has no cluster {name}; it has {}",
                    self.lab(),
                    all.collect::<Vec<_>>().join(", ")
                )
            })
    }

    /// The node that a cluster's gateways run on, beside its API server.
    pub fn gateway_node(&self, cluster: &str) -> Result<&NodePlan> {
        self.cluster(cluster)?;
        self.nodes_of(cluster)
            .next()
            .with_context(|| format!("cluster {cluster} has no node"))
    }

    /// Where a gateway of a cluster, counted from 1, serves what the first serves at `first`.
    pub(crate) fn gateway_port(&self, cluster: &str, gateway: usize, first: u16) -> Result<u16> {
        let count = self.cluster(cluster)?.gateways;
        ensure!(
            (1..=count).contains(&gateway),
            "cluster {cluster} has no gateway {gateway}; it has {count}"
        );
        let before = u16::try_from(gateway - 1).context("numbering the gateway")?;
        Ok(first + before * PORT_STEP)
    }

    /// Where peers and agents reach a cluster's gateways, in their order.
    pub fn gateway_addresses(&self, cluster: &str) -> Result<Vec<SocketAddr>> {
        let address = IpAddr::from(self.gateway_node(cluster)?.ipv4);
        (1..=self.cluster(cluster)?.gateways)
            .map(|gateway| {
                let port = self.gateway_port(cluster, gateway, GATEWAY_PORT)?;
                Ok(SocketAddr::new(address, port))
            })
            .collect()
    }

    /// A node by cluster and name.
    pub fn node(&self, cluster: &str, node: &str) -> Result<&NodePlan> {
        self.cluster(cluster)?;
        self.nodes_of(cluster)
            .find(|n| n.name == node)
            .with_context(|| format!("cluster {cluster} has no node {node}"))
    }

    /// A pod by `<cluster>/<name>`.
    pub fn pod(&self, path: &str) -> Result<&PodPlan> {
        let (cluster, name) = path
            .split_once('/')
            .with_context(|| format!("'{path}' is no pod: write <cluster>/<pod>"))?;
        self.cluster(cluster)?;
        self.pods_of(cluster)
            .find(|p| p.pod.name == name)
            .with_context(|| {
                let all: Vec<_> = self.pods_of(cluster).map(|p| p.pod.name.as_str()).collect();
                format!(
                    "cluster {cluster} has no pod {name}; it has {}",
                    all.join(", ")
                )
            })
    }

    fn place_cluster(&mut self, number: usize, cluster: &Cluster) -> Result<()> {
        for (index, name) in cluster.nodes.iter().enumerate() {
            let node = index + 1;
            let pod_cidrs = cluster
                .pod_cidrs
                .iter()
                .map(|c| address::node_cidr(c, node));
            self.nodes.push(NodePlan {
                cluster: cluster.name.clone(),
                cluster_number: number,
                name: name.clone(),
                netns: format!("{}{}-{name}", netns_prefix(self.lab()), cluster.name),
                device: format!("c{number}n{node}"),
                ipv4: address::node_ipv4(number, node)?,
                ipv6: address::node_ipv6(number, node)?,
                pod_cidrs: pod_cidrs.collect::<Result<_>>()?,
                cgroup: self.cgroup.join(&cluster.name).join(name),
            });
        }
        for pod in &cluster.pods {
            let place = self.place_pod(cluster, pod)?;
            self.pods.push(place);
        }
        Ok(())
    }

    fn place_pod(&self, cluster: &Cluster, pod: &Pod) -> Result<PodPlan> {
        let first = cluster.nodes.first().context("the cluster has no node")?;
        let node = self.node(&cluster.name, pod.node.as_ref().unwrap_or(first))?;
        let before = self.pods_of(&cluster.name).filter(|p| p.node == node.name);
        let number = u16::try_from(before.count() + 1).context("numbering the pod")?;
        let addresses = node
            .pod_cidrs
            .iter()
            .map(|c| address::pod_address(c, number));
        Ok(PodPlan {
            cluster: cluster.name.clone(),
            node: node.name.clone(),
            pod: pod.clone(),
            netns: format!("{}.{}", node.netns, pod.name),
            device: format!("p{number}"),
            addresses: addresses.collect::<Result<_>>()?,
            cgroup: node.cgroup.join(&pod.name),
        })
    }

    fn check_names(&self) -> Result<()> {
        let nodes = self.nodes.iter().map(|n| n.netns.clone());
        let pods = self.pods.iter().map(|p| p.netns.clone());
        let mut names: Vec<_> = nodes.chain(pods).chain([self.net()]).collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            ensure!(
                pair[0] != pair[1],
                "two places would share the namespace {}: choose other names",
                pair[0]
            );
        }
        Ok(())
    }
}

impl NodePlan {
    /// The prefixes that lead to the node and its pods.
    pub fn prefixes(&self) -> Vec<IpNet> {
        let own = [IpAddr::from(self.ipv4), IpAddr::from(self.ipv6)];
        own.into_iter()
            .map(IpNet::from)
            .chain(self.pod_cidrs.iter().copied())
            .collect()
    }
}

impl PodPlan {
    /// Its name with its cluster, as commands take it.
    pub fn path(&self) -> String {
        format!("{}/{}", self.cluster, self.pod.name)
    }

    /// Its IPv4 address, if it has one.
    pub fn ipv4(&self) -> Option<IpAddr> {
        self.addresses.iter().copied().find(IpAddr::is_ipv4)
    }

    /// Its IPv6 address, if it has one.
    pub fn ipv6(&self) -> Option<IpAddr> {
        self.addresses.iter().copied().find(IpAddr::is_ipv6)
    }
}

/// The folder of one lab.
pub fn run_dir(lab: &str) -> PathBuf {
    Path::new(RUN_DIR).join(lab)
}

/// What the names of a lab's network namespaces begin with.
pub fn netns_prefix(lab: &str) -> String {
    format!("ist-{lab}-")
}

/// The control group of one lab.
pub fn lab_cgroup(cgroup_mount: &Path, lab: &str) -> PathBuf {
    cgroup_mount.join("isthmus-lab").join(lab)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_the_order_of_the_topology() {
        let plan = demo();

        let west = plan.gateway_node("west").unwrap();
        assert_eq!(west.ipv4.to_string(), "172.18.2.11");
        assert_eq!(west.ipv6.to_string(), "fd00:18:2::11");
        assert_eq!(west.pod_cidrs[0].to_string(), "10.2.1.0/24");
        assert_eq!(west.pod_cidrs[1].to_string(), "fd00:10:2:1::/64");
        let web = plan.pod("west/web-1").unwrap();
        assert_eq!(web.ipv4().unwrap().to_string(), "10.2.1.11");
        assert_eq!(web.ipv6().unwrap().to_string(), "fd00:10:2:1::11");
    }

    #[test]
    fn each_gateway_of_a_cluster_has_an_address_of_its_own() {
        let mut topology = Topology::demo().unwrap();
        topology.clusters[1].gateways = 2;
        let plan = Plan::new(&topology, Path::new("/cgroup")).unwrap();

        let addresses = plan.gateway_addresses("west").unwrap();

        let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["172.18.2.11:4700", "172.18.2.11:4710"]);
        let error = plan.gateway_port("west", 3, GATEWAY_PORT).unwrap_err();
        assert!(error.to_string().contains("no gateway 3"), "{error}");
    }

    #[test]
    fn a_missing_pod_is_answered_with_those_there_are() {
        let error = demo().pod("east/nobody").unwrap_err().to_string();

        assert!(error.contains("client"), "{error}");
    }

    #[test]
    fn a_pod_cidr_too_small_for_its_nodes_is_refused() {
        let mut topology = Topology::demo().unwrap();
        topology.clusters[0].pod_cidrs = vec!["10.1.0.0/24".parse().unwrap()];

        let error = format!("{:#}", Plan::new(&topology, Path::new("/")).unwrap_err());

        assert!(error.contains("no room"), "{error}");
    }

    fn demo() -> Plan {
        Plan::new(&Topology::demo().unwrap(), Path::new("/cgroup")).unwrap()
    }
}
