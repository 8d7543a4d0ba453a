//! A host that is in no cluster: a network namespace beside the nodes', whose processes no socket hook of a node sees.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    process::{Command, Output},
};

use multicluster::Lab;
use serde_json::Value;

use crate::manifest::{EXTERNAL_V4, EXTERNAL_V6, NODE_PORT_TCP, NODE_PORT_UDP, VIP_V4, VIP_V6};

/// Its addresses, and those of its router.
pub(crate) const HOST_V4: &str = "198.51.100.9";
pub(crate) const HOST_V6: &str = "2001:db8:51::9";
const ROUTER_V4: &str = "198.51.100.1";
const ROUTER_V6: &str = "2001:db8:51::1";

/// How a frontend is dialled.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocol {
    Tcp(u16),
    Udp(u16),
}

impl Protocol {
    /// Both, at the service's ports or at its node ports.
    pub(crate) fn all(at_node_ports: bool) -> [Self; 2] {
        if at_node_ports {
            return [Self::Tcp(NODE_PORT_TCP), Self::Udp(NODE_PORT_UDP)];
        }
        [Self::Tcp(80), Self::Udp(7)]
    }
}

/// The host; it goes with its lab.
pub(crate) struct Host<'a> {
    lab: &'a Lab,
    netns: String,
}

impl<'a> Host<'a> {
    /// Makes a host beside the nodes of a lab.
    pub(crate) fn join(lab: &'a Lab) -> Self {
        let net = lab.plan().net();
        // A lab removes all namespaces whose names begin like its own.
        let netns = format!("ist-{}-host", lab.name());
        ip(&[
            &format!("netns add {netns}"),
            &format!("-n {net} link add host type veth peer name eth0 netns {netns}"),
            &format!("-n {net} address add {ROUTER_V4}/24 dev host"),
            &format!("-n {net} address add {ROUTER_V6}/64 dev host nodad"),
            &format!("-n {net} link set host up"),
            &format!("-n {netns} link set lo up"),
            &format!("-n {netns} link set eth0 up"),
            &format!("-n {netns} address add {HOST_V4}/24 dev eth0"),
            &format!("-n {netns} address add {HOST_V6}/64 dev eth0 nodad"),
            &format!("-n {netns} route add default via {ROUTER_V4}"),
            &format!("-n {netns} route add default via {ROUTER_V6}"),
        ]);
        Self { lab, netns }
    }

    /// Leads the addresses outside of the cluster to a node of east.
    pub(crate) fn route_to(&self, node: &str) {
        let net = self.lab.plan().net();
        let node = self.lab.plan().node("east", node).unwrap();
        let device = &node.device;
        let routes = [
            (VIP_V4, IpAddr::from(node.ipv4)),
            (EXTERNAL_V4, node.ipv4.into()),
            (VIP_V6, node.ipv6.into()),
            (EXTERNAL_V6, node.ipv6.into()),
        ];
        for (address, via) in routes {
            ip(&[&format!(
                "-n {net} route replace {address} via {via} dev {device} onlink"
            )]);
        }
    }

    /// Which cluster answers at an address, and as whom the pod sees this host; nothing without an answer.
    pub(crate) fn ask(&self, address: IpAddr, protocol: Protocol) -> Option<(String, IpAddr)> {
        let family = if address.is_ipv6() { "6" } else { "4" };
        let said = match protocol {
            Protocol::Tcp(port) => {
                let url = format!("http://{}/", SocketAddr::new(address, port));
                self.run(&["curl", "--silent", "--fail", "--max-time", "2", &url])
            }
            Protocol::Udp(port) => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/ask.py");
                let (script, port) = (script.to_string_lossy().into_owned(), port.to_string());
                self.run(&["python3", &script, &address.to_string(), &port, family])
            }
        };
        if !said.status.success() {
            return None;
        }
        let answer: Value = serde_json::from_slice(&said.stdout).ok()?;
        let client: IpAddr = answer["client"].as_str()?.parse().ok()?;
        // The pods listen with one socket on both families.
        Some((
            answer["cluster"].as_str()?.to_owned(),
            client.to_canonical(),
        ))
    }

    /// The status of the answer to an HTTP request; 0 without an answer.
    pub(crate) fn status_of(&self, address: SocketAddr, path: &str) -> u16 {
        let url = format!("http://{address}{path}");
        let argv = [
            "curl",
            "-s",
            "-m",
            "2",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
        ];
        let said = self.run(&[&argv[..], &[&url]].concat());
        String::from_utf8_lossy(&said.stdout).parse().unwrap_or(0)
    }

    fn run(&self, argv: &[&str]) -> Output {
        Command::new("ip")
            .args(["netns", "exec", &self.netns])
            .args(argv)
            .output()
            .unwrap()
    }
}

/// Runs iproute2's `ip` for each command.
pub(crate) fn ip(commands: &[&str]) {
    for command in commands {
        let status = Command::new("ip").args(command.split(' ')).status();
        assert!(status.unwrap().success(), "ip {command}");
    }
}
