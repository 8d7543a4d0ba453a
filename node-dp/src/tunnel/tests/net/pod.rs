//! A pod behind a node.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Node,
    netns::{run, spawn_in, try_run},
};

/// A pod behind a node: a namespace whose only way out is a veth to it.
pub(in crate::tunnel::tests) struct Pod {
    netns: String,
    pub(in crate::tunnel::tests) addresses: [IpAddr; 2],
}

impl Pod {
    pub(in crate::tunnel::tests) fn behind(node: &Node) -> Self {
        let netns = format!("{}p", node.netns);
        run("ip", &["netns", "add", &netns]);
        let pod = Self {
            netns,
            addresses: ["10.1.0.77", "fd01::77"].map(|address| address.parse().unwrap()),
        };
        node.ip(&[
            "link", "add", "pod0", "type", "veth", "peer", "name", "eth0", "netns", &pod.netns,
        ]);
        node.ip(&["addr", "add", "169.254.1.1/32", "dev", "pod0"]);
        node.ip(&["addr", "add", "fe80::1/64", "dev", "pod0", "nodad"]);
        node.ip(&["link", "set", "pod0", "up"]);
        let in_pod = |args: &[&str]| {
            let all = [&["-n", &pod.netns], args].concat();
            run("ip", &all)
        };
        in_pod(&["link", "set", "eth0", "up"]);
        for address in pod.addresses {
            let prefix = IpNet::from(address).to_string();
            let route = ["route", "add", &prefix, "dev", "pod0"];
            node.ip(&route);
            let mut add = vec!["addr", "add", &prefix, "dev", "eth0"];
            add.extend(address.is_ipv6().then_some("nodad"));
            in_pod(&add);
        }
        in_pod(&["route", "add", "169.254.1.1", "dev", "eth0"]);
        in_pod(&[
            "route",
            "add",
            "default",
            "via",
            "169.254.1.1",
            "dev",
            "eth0",
        ]);
        in_pod(&[
            "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0",
        ]);
        for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            let path = format!("/proc/sys/net/{path}");
            node.inside(move || std::fs::write(path, "1").unwrap());
        }
        pod
    }

    /// Runs a job on a thread of its own inside the pod.
    pub(in crate::tunnel::tests) fn inside<R: Send + 'static>(
        &self,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> R {
        spawn_in(&self.netns, job).join().unwrap()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        try_run("ip", &["netns", "del", &self.netns]).ok();
    }
}
