//! Builds the lab's network: one namespace between the nodes, one per node, one per pod, joined by veths.
//!
//! Every link is point to point, with the same router address on its far side, so nodes and pods need one route each.
//! Between the nodes, a cluster's pod ranges stand in a table of their own, which only packets from that cluster's nodes
//! look up: a pod's packet to another cluster's pod has no way there but a tunnel.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    thread,
};

use anyhow::{Context, Result};
use ipnet::IpNet;

use crate::{
    ip, netns,
    plan::{NodePlan, Plan, PodPlan},
};

/// The address at which every node reaches the network between the nodes.
pub const BETWEEN_NODES: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The far end of a link: the same on all links of a kind, because a link has only two ends.
struct Router {
    v4: &'static str,
    v6: &'static str,
}

/// The network's end of a node's link.
const NODES_ROUTER: Router = Router {
    v4: "169.254.1.1",
    v6: "fe80::1",
};

/// The node's end of a pod's link; another address, as a node takes nothing from one that is its own.
const PODS_ROUTER: Router = Router {
    v4: "169.254.2.1",
    v6: "fe80::2",
};

/// The routing table of cluster 1 between the nodes; the others' follow.
const FIRST_CLUSTER_TABLE: usize = 100;

/// The priority of the rules that choose a cluster's table; cuts come before them.
const CLUSTER_RULE_PREFERENCE: u32 = 1000;

/// Kernel settings of every namespace, written before its devices exist.
///
/// Without duplicate address detection an address works at once. Forwarding is on everywhere; pods just never use it.
/// The reverse-path filter would drop what comes in through a tunnel while the plain route points elsewhere.
const SETTINGS: [(&str, &str); 7] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/dad_transmits", "0"),
];

/// Makes all namespaces, devices, addresses and routes of a lab.
pub(crate) fn build(plan: &Plan) -> Result<()> {
    let nodes = plan.nodes.iter().map(|n| n.netns.clone());
    let pods = plan.pods.iter().map(|p| p.netns.clone());
    let all: Vec<_> = [plan.net()].into_iter().chain(nodes).chain(pods).collect();
    let add: Vec<_> = all.iter().map(|n| format!("netns add {n}")).collect();
    ip::batch(None, &add)?;
    for name in &all {
        netns::inside(name, write_settings)?;
    }
    ip::batch(Some(&plan.net()), &between_nodes(plan))?;
    ip::rules(&plan.net(), &cluster_rules(plan))?;
    in_parallel(&plan.nodes, |node| {
        ip::batch(Some(&node.netns), &node_commands(plan, node))
    })?;
    in_parallel(&plan.pods, |pod| {
        ip::batch(Some(&pod.netns), &pod_commands(pod))
    })
}

fn write_settings() -> Result<()> {
    for (name, value) in SETTINGS {
        let path = format!("/proc/sys/net/{name}");
        fs::write(&path, value).with_context(|| format!("writing {value} to {path}"))?;
    }
    Ok(())
}

fn between_nodes(plan: &Plan) -> Vec<String> {
    let mut commands = vec!["link set lo up".to_owned()];
    for node in &plan.nodes {
        let device = &node.device;
        let table = FIRST_CLUSTER_TABLE + node.cluster_number;
        let netns = &node.netns;
        commands.push(format!(
            "link add {device} type veth peer name eth0 netns {netns}"
        ));
        commands.extend(router_end(&NODES_ROUTER, device));
        commands.push(format!("route add {}/32 dev {device}", node.ipv4));
        commands.push(format!("route add {}/128 dev {device}", node.ipv6));
        for range in &node.pod_cidrs {
            let via = match range {
                IpNet::V4(_) => IpAddr::from(node.ipv4),
                IpNet::V6(_) => IpAddr::from(node.ipv6),
            };
            commands.push(format!(
                "route add {range} via {via} dev {device} onlink table {table}"
            ));
        }
    }
    commands
}

/// Which of a cluster's nodes look up the cluster's own table.
fn cluster_rules(plan: &Plan) -> Vec<(IpNet, String)> {
    let mut rules = Vec::new();
    for node in &plan.nodes {
        let device = &node.device;
        let table = FIRST_CLUSTER_TABLE + node.cluster_number;
        let ranges = plan.cluster(&node.cluster).map(|c| &c.pod_cidrs);
        for range in ranges.into_iter().flatten() {
            let rule = format!(
                "rule add pref {CLUSTER_RULE_PREFERENCE} iif {device} to {range} lookup {table}"
            );
            rules.push((*range, rule));
        }
    }
    rules
}

fn node_commands(plan: &Plan, node: &NodePlan) -> Vec<String> {
    let NodePlan { ipv4, ipv6, .. } = node;
    let Router { v4, v6 } = NODES_ROUTER;
    let mut commands = vec![
        "link set lo up".to_owned(),
        "link set eth0 up".to_owned(),
        format!("addr add {ipv4}/32 dev eth0"),
        format!("addr add {ipv6}/128 dev eth0 nodad"),
        format!("route add {v4} dev eth0 scope link src {ipv4}"),
        format!("route add default via {v4} dev eth0 src {ipv4}"),
        format!("route add ::/0 via {v6} dev eth0 src {ipv6}"),
    ];
    for pod in plan.pods_of(&node.cluster).filter(|p| p.node == node.name) {
        let PodPlan { device, netns, .. } = pod;
        commands.push(format!(
            "link add {device} type veth peer name eth0 netns {netns}"
        ));
        commands.extend(router_end(&PODS_ROUTER, device));
        for address in &pod.addresses {
            // The node answers its pods from its own address, not from the link's.
            let own = match address {
                IpAddr::V4(_) => IpAddr::from(*ipv4),
                IpAddr::V6(_) => IpAddr::from(*ipv6),
            };
            commands.push(format!("route add {address} dev {device} src {own}"));
        }
    }
    commands
}

fn pod_commands(pod: &PodPlan) -> Vec<String> {
    let Router { v4, v6 } = PODS_ROUTER;
    let mut commands = vec!["link set lo up".to_owned(), "link set eth0 up".to_owned()];
    for address in &pod.addresses {
        match address {
            IpAddr::V4(address) => commands.extend([
                format!("addr add {address}/32 dev eth0"),
                format!("route add {v4} dev eth0 scope link src {address}"),
                format!("route add default via {v4} dev eth0 src {address}"),
            ]),
            IpAddr::V6(address) => commands.extend([
                format!("addr add {address}/128 dev eth0 nodad"),
                format!("route add ::/0 via {v6} dev eth0 src {address}"),
            ]),
        }
    }
    commands
}

fn router_end(router: &Router, device: &str) -> [String; 3] {
    let Router { v4, v6 } = router;
    [
        format!("addr add {v4}/32 dev {device}"),
        format!("addr add {v6}/64 dev {device} nodad"),
        format!("link set {device} up"),
    ]
}

fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .iter()
            .map(|item| scope.spawn(move || work(item)))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .map_err(|_panic| anyhow::anyhow!("a thread that built the network panicked"))?
        })
    })
}
