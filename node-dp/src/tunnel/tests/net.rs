//! The world of the tests: two namespaces, and a thread in each that runs its node.
//!
//! Long because it builds and unbuilds one network.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use cluster_registry::name::{ClusterName, NodeName};
use nix::sched::{CloneFlags, setns};
use tokio::{runtime::Runtime, sync::mpsc};

use super::{wire::echo, *};

/// How long one attempt to get an answer may take.
pub(super) const ATTEMPT: Duration = Duration::from_millis(200);

/// How long what must work may take.
const DEADLINE: Duration = Duration::from_secs(10);

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
    pub(super) underlay: IpAddr,
    pub(super) pods: [IpAddr; 2],
}

impl Pair {
    pub(super) fn up(name: &str) -> Self {
        let netns = |side: &str| format!("ist-tun-{}-{name}-{side}", std::process::id());
        let mut a = Node::new(netns("a"), "192.0.2.1", ["10.1.0.1", "fd01::1"]);
        let mut b = Node::new(netns("b"), "192.0.2.2", ["10.2.0.1", "fd02::1"]);
        a.ip(&[
            "link", "add", "under0", "type", "veth", "peer", "name", "under0", "netns", &b.netns,
        ]);
        for node in [&mut a, &mut b] {
            let underlay = format!("{}/24", node.underlay);
            node.ip(&["link", "set", "lo", "up"]);
            node.ip(&["addr", "add", &underlay, "dev", "under0"]);
            node.ip(&["link", "set", "under0", "up"]);
            // A default route, so that what is not refused would leave in clear.
            node.ip(&["route", "add", "default", "dev", "under0"]);
            node.ip(&["-6", "route", "add", "default", "dev", "under0"]);
            for pod in node.pods {
                node.ip(&["addr", "add", &IpNet::from(pod).to_string(), "dev", "lo"]);
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
    fn new(netns: String, underlay: &str, pods: [&str; 2]) -> Self {
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
            endpoint: endpoint(self),
            allowed_ips: prefixes(self),
        }
    }

    pub(super) fn routes_to(&self, other: &Self) -> BTreeSet<IpNet> {
        prefixes(other)
    }

    pub(super) fn open_tunnel(&mut self) {
        let config = TunnelConfig {
            mode: Mode::Userspace,
            device: "isthmus0".to_owned(),
            port: 51872,
            mtu: MAX_MTU,
            private_key: self.key.clone(),
        };
        self.perform(|runtime, tunnel| {
            *tunnel = Some(runtime.block_on(Tunnel::open(config)).unwrap());
        });
    }

    pub(super) fn close_tunnel(&mut self) {
        self.perform(|runtime, tunnel| runtime.block_on(tunnel.take().unwrap().close()));
        eventually(DEADLINE, || {
            (!self.ip(&["link", "show"]).contains("isthmus0")).then_some(())
        });
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
        self.perform(move |runtime, tunnel| {
            let tunnel = tunnel.as_mut().unwrap();
            runtime.block_on(tunnel.set_routes(&routes)).unwrap()
        })
    }

    pub(super) fn stats(&self) -> BTreeMap<PublicKey, PeerStats> {
        self.perform(|runtime, tunnel| runtime.block_on(tunnel.as_ref().unwrap().stats()).unwrap())
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

    pub(super) fn ping(&self, address: IpAddr) {
        let from = self.pod_like(address);
        self.inside(move || {
            eventually(DEADLINE, || echo(from, address).ok());
        });
    }

    /// Sends a datagram and answers what comes back from an echo server at the other.
    pub(super) fn ask_udp(&self, other: &Self, address: IpAddr) -> Option<Vec<u8>> {
        let server = other.inside(move || UdpSocket::bind((address, 0)).unwrap());
        let target = server.local_addr().unwrap();
        server.set_read_timeout(Some(ATTEMPT)).unwrap();
        let from = self.pod_like(address);
        let client = self.inside(move || UdpSocket::bind((from, 0)).unwrap());
        client.set_read_timeout(Some(ATTEMPT)).unwrap();

        client.send_to(b"datagram", target).ok()?;
        let mut buffer = [0; 64];
        let (length, source) = server.recv_from(&mut buffer).ok()?;
        server.send_to(&buffer[..length], source).ok()?;
        let (length, _) = client.recv_from(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    }

    pub(super) fn send_udp(&self, address: IpAddr) -> io::Result<usize> {
        let from = self.pod_like(address);
        let client = self.inside(move || UdpSocket::bind((from, 0)).unwrap());
        client.send_to(b"clear", SocketAddr::new(address, 9))
    }

    /// Sends that many bytes and answers how many the other had when it saw the end.
    pub(super) fn ask_tcp(&self, other: &Self, address: IpAddr, bytes: usize) -> Option<usize> {
        let listener = other.inside(move || TcpListener::bind((address, 0)).unwrap());
        let target = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&(all.len() as u64).to_be_bytes()).unwrap();
        });
        let mut client = self
            .inside(move || TcpStream::connect_timeout(&target, DEADLINE))
            .ok()?;
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.write_all(&vec![7; bytes]).ok()?;
        client.shutdown(Shutdown::Write).ok()?;
        let mut answer = [0; 8];
        client.read_exact(&mut answer).ok()?;
        server.join().unwrap();
        usize::try_from(u64::from_be_bytes(answer)).ok()
    }

    pub(super) fn ip(&self, args: &[&str]) -> String {
        self.try_ip(args).unwrap()
    }

    fn try_ip(&self, args: &[&str]) -> Result<String, String> {
        let all: Vec<&str> = ["-n", &self.netns].iter().chain(args).copied().collect();
        try_run("ip", &all)
    }

    fn pod_like(&self, address: IpAddr) -> IpAddr {
        self.pods[usize::from(address.is_ipv6())]
    }

    /// Runs a job on the node's thread, with its tunnel.
    fn perform<R: Send + 'static>(
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

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
        try_run("ip", &["netns", "del", &self.netns]).ok();
    }
}

/// A pod behind a node: a namespace whose only way out is a veth to it.
pub(super) struct Pod {
    netns: String,
    pub(super) addresses: [IpAddr; 2],
}

impl Pod {
    pub(super) fn behind(node: &Node) -> Self {
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
    pub(super) fn inside<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        spawn_in(&self.netns, job).join().unwrap()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        try_run("ip", &["netns", "del", &self.netns]).ok();
    }
}

/// Starts a thread inside a namespace.
fn spawn_in<R: Send + 'static>(
    netns: &str,
    job: impl FnOnce() -> R + Send + 'static,
) -> thread::JoinHandle<R> {
    let path = format!("/run/netns/{netns}");
    thread::spawn(move || {
        setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        job()
    })
}

/// Tries until it works; answers how long that took.
pub(super) fn eventually<R>(limit: Duration, mut attempt: impl FnMut() -> Option<R>) -> Duration {
    let start = Instant::now();
    while attempt().is_none() {
        assert!(start.elapsed() < limit, "not within {limit:?}");
        thread::yield_now();
    }
    start.elapsed()
}

fn run(program: &str, args: &[&str]) -> String {
    try_run(program, args).unwrap()
}

fn try_run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program} {args:?}: {error}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
