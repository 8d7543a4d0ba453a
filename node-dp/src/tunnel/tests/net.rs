//! The world of the tests: two namespaces, and a thread in each that runs its node.

mod netns;
mod pod;
mod traffic;

use std::{
    fs::File,
    net::{IpAddr, Ipv6Addr},
    thread,
    time::Duration,
};

use cluster_registry::name::{ClusterName, NodeName};
use nix::sched::{CloneFlags, setns};
use tokio::{runtime::Runtime, sync::mpsc};

use self::netns::{run, spawn_in, try_run};
pub(super) use self::{
    pod::Pod,
    traffic::{ATTEMPT, DEADLINE, eventually},
};
use super::*;

/// Names the implementations that the pair's nodes have, for the kernels of which one has what another lacks.
const IMPLEMENTATIONS_VARIABLE: &str = "ISTHMUS_TEST_WIREGUARD";

type Job = Box<dyn FnOnce(&Runtime, &mut Option<Tunnel>) + Send>;

/// Two nodes, joined by a veth.
pub(super) struct Pair {
    pub(super) a: Node,
    pub(super) b: Node,
}

/// A node: a namespace and a thread inside it that owns its tunnel.
pub(super) struct Node {
    netns: String,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    key: PrivateKey,
    mode: Mode,
    pub(super) underlay: IpAddr,
    pub(super) pods: [IpAddr; 2],
}

impl Pair {
    pub(super) fn up(name: &str) -> Self {
        Self::up_over(name, ["192.0.2.1", "192.0.2.2"])
    }

    /// A pair whose nodes reach each other at these addresses.
    pub(super) fn up_over(name: &str, underlay: [&str; 2]) -> Self {
        let netns = |side: &str| format!("ist-tun-{}-{name}-{side}", std::process::id());
        let modes = implementations();
        let mut a = Node::new(netns("a"), modes[0], underlay[0], ["10.1.0.1", "fd01::1"]);
        let mut b = Node::new(netns("b"), modes[1], underlay[1], ["10.2.0.1", "fd02::1"]);
        a.ip(&[
            "link", "add", "under0", "type", "veth", "peer", "name", "under0", "netns", &b.netns,
        ]);
        for node in [&mut a, &mut b] {
            // On a busy machine even a loopback's address is tentative for a while.
            let add = |address: IpAddr, prefix: &str, device: &str| {
                let flags: &[&str] = if address.is_ipv6() { &["nodad"] } else { &[] };
                let address = format!("{address}/{prefix}");
                node.ip(&[&["addr", "add", &address, "dev", device], flags].concat());
            };
            node.ip(&["link", "set", "lo", "up"]);
            add(
                node.underlay,
                if node.underlay.is_ipv6() { "64" } else { "24" },
                "under0",
            );
            node.ip(&["link", "set", "under0", "up"]);
            // A default route, so that what is not refused would leave in clear.
            node.ip(&["route", "add", "default", "dev", "under0"]);
            node.ip(&["-6", "route", "add", "default", "dev", "under0"]);
            for pod in node.pods {
                add(pod, if pod.is_ipv6() { "128" } else { "32" }, "lo");
            }
            node.open_tunnel();
        }
        Self { a, b }
    }

    /// Tells each of the other.
    pub(super) fn connect(&self) {
        self.a.configure_towards(&self.b);
        self.b.configure_towards(&self.a);
    }
}

impl Node {
    fn new(netns: String, mode: Mode, underlay: &str, pods: [&str; 2]) -> Self {
        run("ip", &["netns", "add", &netns]);
        let (jobs, mut received) = mpsc::channel::<Job>(1);
        let path = format!("/run/netns/{netns}");
        let thread = thread::spawn(move || {
            setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let mut tunnel = None;
            // The device's tasks run while the thread waits for a job.
            while let Some(job) = runtime.block_on(received.recv()) {
                job(&runtime, &mut tunnel);
            }
        });
        Self {
            netns,
            jobs: Some(jobs),
            thread: Some(thread),
            key: PrivateKey::generate().unwrap(),
            mode,
            underlay: underlay.parse().unwrap(),
            pods: pods.map(|pod| pod.parse().unwrap()),
        }
    }

    pub(super) fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    /// Becomes a node with another key; an open tunnel keeps the former.
    pub(super) fn change_key(&mut self) {
        self.key = PrivateKey::generate().unwrap();
    }

    pub(super) fn netns(&self) -> &str {
        &self.netns
    }

    pub(super) fn private_key(&self) -> &PrivateKey {
        &self.key
    }

    pub(super) fn probe_address(&self) -> Ipv6Addr {
        probe_address(&self.public_key())
    }

    pub(super) fn as_peer(&self) -> WantedPeer {
        WantedPeer {
            cluster: ClusterName::parse("other").unwrap(),
            node: NodeName::parse("node").unwrap(),
            public_key: self.public_key(),
            next_public_key: None,
            endpoint: endpoint(self),
            allowed_ips: prefixes(self),
        }
    }

    pub(super) fn routes_to(&self, other: &Self) -> BTreeSet<IpNet> {
        prefixes(other)
    }

    pub(super) fn open_tunnel(&mut self) {
        let config = TunnelConfig {
            mode: self.mode,
            device: "isthmus0".to_owned(),
            port: 51872,
            mtu: MAX_MTU,
            private_key: self.key.clone(),
            only: BTreeSet::new(),
        };
        self.perform(move |runtime, tunnel| {
            // A former device and its port may outlive it in a program that another test is just starting.
            eventually(DEADLINE, || {
                *tunnel = runtime.block_on(Tunnel::open(config.clone())).ok();
                tunnel.is_some().then_some(())
            });
        });
    }

    /// Closes the tunnel and sees that its device goes, as the kernel's would stay.
    pub(super) fn close_tunnel(&mut self) {
        self.perform(|runtime, tunnel| runtime.block_on(tunnel.take().unwrap().close()));
        if self.mode == Mode::Kernel {
            self.ip(&["link", "del", "isthmus0"]);
        }
        eventually(DEADLINE, || {
            (!self.ip(&["link", "show"]).contains("isthmus0")).then_some(())
        });
    }

    /// Opens the tunnel again as an agent does whose device somebody else took.
    pub(super) fn reopen_tunnel(&mut self) {
        self.perform(|runtime, tunnel| runtime.block_on(tunnel.take().unwrap().close()));
        self.open_tunnel();
    }

    pub(super) fn is_kernels(&self) -> bool {
        self.mode == Mode::Kernel
    }

    pub(super) fn uninstall(&self) {
        self.perform(|runtime, _| runtime.block_on(uninstall("isthmus0")).unwrap());
    }

    pub(super) fn configure_towards(&self, other: &Self) {
        let peer = other.as_peer();
        self.configure(
            BTreeMap::from([(peer.public_key, peer)]),
            self.routes_to(other),
        );
    }

    pub(super) fn configure(
        &self,
        peers: BTreeMap<PublicKey, WantedPeer>,
        routes: BTreeSet<IpNet>,
    ) {
        self.perform(move |runtime, tunnel| {
            let tunnel = tunnel.as_mut().unwrap();
            runtime.block_on(tunnel.configure(&peers)).unwrap();
        });
        self.set_routes(routes);
    }

    pub(super) fn set_routes(&self, routes: BTreeSet<IpNet>) -> RouteChanges {
        self.set_all_routes(routes, InsidePlan::default())
    }

    /// The same with what leads through tunnels within the own cluster.
    pub(super) fn set_all_routes(
        &self,
        routes: BTreeSet<IpNet>,
        inside: InsidePlan,
    ) -> RouteChanges {
        self.perform(move |runtime, tunnel| {
            let tunnel = tunnel.as_mut().unwrap();
            runtime
                .block_on(tunnel.set_routes(&routes, &inside))
                .unwrap()
        })
    }

    pub(super) fn stats(&self) -> BTreeMap<PublicKey, PeerStats> {
        self.perform(|runtime, tunnel| runtime.block_on(tunnel.as_ref().unwrap().stats()).unwrap())
    }

    /// Lets the tunnel use another key, and be that node from now on.
    pub(super) fn use_key(&mut self, key: PrivateKey) {
        self.key = key.clone();
        self.perform(move |runtime, tunnel| {
            runtime
                .block_on(tunnel.as_mut().unwrap().set_key(&key))
                .unwrap();
        });
    }

    /// Follows the peers' keys once; whether any is still awaited.
    pub(super) fn follow_keys(&self) -> bool {
        self.perform(|runtime, tunnel| {
            let tunnel = tunnel.as_mut().unwrap();
            runtime.block_on(tunnel.follow_keys()).unwrap();
            tunnel.awaits_keys()
        })
    }

    pub(super) fn is_lost_within(&self, limit: Duration) -> bool {
        self.perform(move |runtime, tunnel| {
            let tunnel = tunnel.as_ref().unwrap();
            runtime
                .block_on(async { tokio::time::timeout(limit, tunnel.lost()).await })
                .is_ok()
        })
    }

    /// Makes the underlay to the other answer as a network that is cut in some way.
    pub(super) fn cut(&self, other: &Self, how: &str) {
        self.ip(&[
            "rule",
            "add",
            "pref",
            "10",
            "to",
            &other.underlay.to_string(),
            how,
        ]);
    }

    pub(super) fn heal(&self, other: &Self, how: &str) {
        self.ip(&[
            "rule",
            "del",
            "pref",
            "10",
            "to",
            &other.underlay.to_string(),
            how,
        ]);
    }

    pub(super) fn ip(&self, args: &[&str]) -> String {
        self.try_ip(args).unwrap()
    }

    fn try_ip(&self, args: &[&str]) -> Result<String, String> {
        let all: Vec<&str> = ["-n", &self.netns].iter().chain(args).copied().collect();
        try_run("ip", &all)
    }

    /// Runs a job on the node's thread, with its tunnel.
    pub(super) fn perform<R: Send + 'static>(
        &self,
        job: impl FnOnce(&Runtime, &mut Option<Tunnel>) -> R + Send + 'static,
    ) -> R {
        let (answer, answered) = std::sync::mpsc::channel();
        let job: Job = Box::new(move |runtime, tunnel| {
            answer.send(job(runtime, tunnel)).unwrap();
        });
        self.jobs.as_ref().unwrap().blocking_send(job).unwrap();
        answered.recv().unwrap()
    }

    /// Runs a job on a thread of its own inside the namespace, while the node's thread goes on.
    pub(super) fn inside<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        self.spawn(job).join().unwrap()
    }

    /// Starts a thread inside the namespace.
    pub(super) fn spawn<R: Send + 'static>(
        &self,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> thread::JoinHandle<R> {
        spawn_in(&self.netns, job)
    }
}

/// The implementations of both nodes: embedded ones, unless the environment says otherwise.
fn implementations() -> [Mode; 2] {
    let named = std::env::var(IMPLEMENTATIONS_VARIABLE).unwrap_or_default();
    match named.as_str() {
        "" | "userspace" => [Mode::Userspace; 2],
        "kernel" => [Mode::Kernel; 2],
        "mixed" => [Mode::Userspace, Mode::Kernel],
        other => panic!("{IMPLEMENTATIONS_VARIABLE} is '{other}': kernel, userspace or mixed"),
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
        try_run("ip", &["netns", "del", &self.netns]).ok();
    }
}
