//! A host outside of a cluster reaches its services: each kind of frontend, over both families and protocols, with a backend
//! on the same node, on another node and in another cluster, under both external traffic policies.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod host;
mod manifest;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use multicluster::{Lab, Options, Target, Topology, wait_for};

use host::{HOST_V4, HOST_V6, Host, Protocol};
use manifest::{Affinity, Policy, Web};

/// Generous: other tests may run at the same time.
const SOON: Duration = Duration::from_secs(30);

/// What stands for clients towards other clusters: within the prefix of n1's pods, and no pod's.
const TUNNEL_V4: &str = "10.1.1.254";
const TUNNEL_V6: &str = "fd00:10:1:1::254";

/// Where a node says whether it serves.
const HEALTHZ_PORT: u16 = 10_256;

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backend {
    SameNode,
    OtherNode,
    OtherCluster,
    Nobody,
}

/// One row of the table: what is dialled, at which node, and what comes of it.
struct Row {
    policy: Policy,
    /// The node that packets are routed to.
    node: &'static str,
    backend: Backend,
}

/// East's one backend runs on n2.
const ROWS: [Row; 5] = [
    Row {
        policy: Policy::Cluster,
        node: "n2",
        backend: Backend::SameNode,
    },
    Row {
        policy: Policy::Cluster,
        node: "n1",
        backend: Backend::OtherNode,
    },
    Row {
        policy: Policy::Cluster,
        node: "n1",
        backend: Backend::OtherCluster,
    },
    Row {
        policy: Policy::Local,
        node: "n2",
        backend: Backend::SameNode,
    },
    Row {
        policy: Policy::Local,
        node: "n1",
        backend: Backend::Nobody,
    },
];

#[test]
#[ignore = "needs root"]
fn a_host_outside_reaches_every_kind_of_frontend_wherever_the_backend_is() {
    let lab = lab("outside");
    let host = Host::join(&lab);

    let mut failures = Vec::new();
    for row in &ROWS {
        let affinity = match row.backend {
            Backend::OtherCluster => Affinity::Remote,
            Backend::SameNode | Backend::OtherNode | Backend::Nobody => Affinity::Local,
        };
        let web = Web {
            affinity,
            policy: row.policy,
        };
        lab.write_manifest("east", "web.yaml", &web.manifest())
            .unwrap();
        host.route_to(row.node);
        for (kind, frontend, protocol) in dialled(&lab, row.node) {
            let wanted = expected(&lab, row, frontend.is_ipv6());
            let met = wait_for(SOON, "the expected answer", || {
                let met = host.ask(frontend, protocol);
                Ok((met == wanted).then_some(met))
            });
            let family = if frontend.is_ipv6() { "IPv6" } else { "IPv4" };
            let verdict = if met.is_ok() { "pass" } else { "fail" };
            println!(
                "{verdict}  {:8}  {:7}  {kind:11}  {protocol:?}  {family}  {:?}",
                row.node,
                row.policy.name(),
                row.backend,
            );
            if met.is_err() {
                let met = host.ask(frontend, protocol);
                failures.push(format!("{kind} {frontend}: {met:?}, not {wanted:?}"));
            }
        }
    }

    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
#[ignore = "needs root"]
fn a_load_balancer_learns_which_nodes_have_endpoints_and_which_serve() {
    let lab = lab("outsidehealth");
    let host = Host::join(&lab);
    let web = Web {
        affinity: Affinity::Local,
        policy: Policy::Local,
    };
    lab.write_manifest("east", "web.yaml", &web.manifest())
        .unwrap();

    for (name, port, path, expected) in [
        ("n1", manifest::HEALTH_PORT, "/", 503),
        ("n2", manifest::HEALTH_PORT, "/", 200),
        ("n1", HEALTHZ_PORT, "/healthz", 200),
        ("n2", HEALTHZ_PORT, "/healthz", 200),
    ] {
        let node = lab.plan().node("east", name).unwrap();
        for ip in [IpAddr::from(node.ipv4), node.ipv6.into()] {
            let address = SocketAddr::new(ip, port);
            wait_for(SOON, &format!("{expected} of {address}{path}"), || {
                Ok((host.status_of(address, path) == expected).then_some(()))
            })
            .unwrap();
        }
    }
}

#[test]
#[ignore = "needs root"]
fn the_status_names_the_devices_and_those_that_are_waited_for() {
    let mut topology = topology("outsidestatus");
    topology.clusters[0].agent_args = ["--device", "eth0,later0"].map(str::to_owned).into();
    let lab = Lab::up(&topology, &Options::default()).unwrap();
    let agent: Target = "east/n1/agent".parse().unwrap();
    let devices = || {
        let status = lab.status(&agent).unwrap();
        let devices = &status["kernel"]["features"]["devices"];
        let text = |field: &str| devices[field].as_str().unwrap_or_default().to_owned();
        (text("chosen"), text("reason"))
    };

    let waiting = wait_for(SOON, "the tunnel's device to be served", || {
        let (chosen, reason) = devices();
        Ok((chosen == "eth0 isthmus0").then_some(reason))
    });
    assert!(waiting.unwrap().ends_with("waits for later0"));

    let node = lab.plan().node("east", "n1").unwrap().netns.clone();
    host::ip(&[&format!(
        "-n {node} link add later0 type veth peer name later1"
    )]);

    wait_for(SOON, "the device that came later to be served", || {
        Ok((devices().0 == "eth0 isthmus0 later0").then_some(()))
    })
    .unwrap();
}

fn topology(name: &str) -> Topology {
    Topology::demo().unwrap().named(name)
}

fn lab(name: &str) -> Lab {
    let mut topology = topology(name);
    let tunnel_addresses = format!("{TUNNEL_V4},{TUNNEL_V6}");
    let healthz = format!("[::]:{HEALTHZ_PORT}");
    let mut args = vec!["--device", "eth0", "--tunnel-address", &tunnel_addresses];
    args.extend(["--healthz-listen", &healthz]);
    topology.clusters[0].agent_args = args.into_iter().map(str::to_owned).collect();
    Lab::up(&topology, &Options::default()).unwrap()
}

/// Every kind of frontend that is reached through a node, over both families and protocols.
fn dialled(lab: &Lab, node: &str) -> Vec<(&'static str, IpAddr, Protocol)> {
    let node = lab.plan().node("east", node).unwrap();
    let mut dialled = Vec::new();
    for (kind, v4, v6) in [
        ("node port", node.ipv4.to_string(), node.ipv6.to_string()),
        (
            "external IP",
            manifest::EXTERNAL_V4.to_owned(),
            manifest::EXTERNAL_V6.to_owned(),
        ),
        (
            "VIP",
            manifest::VIP_V4.to_owned(),
            manifest::VIP_V6.to_owned(),
        ),
    ] {
        for ip in [v4, v6] {
            let is_node_port = kind == "node port";
            for protocol in Protocol::all(is_node_port) {
                dialled.push((kind, ip.parse().unwrap(), protocol));
            }
        }
    }
    dialled
}

/// Which pod answers, and as whom it sees the host; nothing if the host is refused.
fn expected(lab: &Lab, row: &Row, is_ipv6: bool) -> Option<(String, IpAddr)> {
    let node = lab.plan().node("east", row.node).unwrap();
    let of_family = |v4: &str, v6: &str| if is_ipv6 { v6 } else { v4 }.to_owned();
    let (cluster, client) = match row.backend {
        Backend::SameNode => ("east", of_family(HOST_V4, HOST_V6)),
        Backend::OtherNode => (
            "east",
            of_family(&node.ipv4.to_string(), &node.ipv6.to_string()),
        ),
        Backend::OtherCluster => ("west", of_family(TUNNEL_V4, TUNNEL_V6)),
        Backend::Nobody => return None,
    };
    Some((cluster.to_owned(), client.parse().unwrap()))
}
