//! A node of its own for each test: a cgroup, a bpffs, and processes in a network namespace.

use std::{
    fs,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use ipnet::IpNet;
use nix::{
    mount::{MntFlags, umount2},
    sched::{CloneFlags, unshare},
    sys::{
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork},
};
use node_dp::datapath::{Adoption, Datapath, DatapathConfig};
use node_dp_common::{
    BackendKey, BackendValue, ClusterState, ClusterValue, FrontendKey, Group, MemberKey,
    ServiceValue,
};
use node_dp_core::{
    diff::diff,
    image::{Image, MapOp},
};
use tempfile::TempDir;

pub(crate) use crate::network::ip;

/// The protocols' numbers.
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// How long a test's process may take: programs are verified each time they are loaded, and a busy machine takes long for
/// that.
const DEADLINE: Duration = Duration::from_secs(240);

/// What a child says when all went well.
const FINE: &str = "fine";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A cgroup and a place for a bpffs; both go when it goes.
pub(crate) struct Node {
    cgroup: PathBuf,
    directory: TempDir,
}

impl Node {
    pub(crate) fn new() -> Self {
        let name = format!(
            "ist-datapath-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let cgroup = cgroup2().join(name);
        fs::create_dir(&cgroup).expect("a cgroup can be made");
        let directory = tempfile::Builder::new()
            .prefix("ist-datapath-")
            .tempdir()
            .expect("a directory can be made");
        Self { cgroup, directory }
    }

    /// Where the agent's pins are: below a bpffs that the datapath mounts.
    pub(crate) fn bpffs(&self) -> PathBuf {
        self.directory.path().join("bpf")
    }

    pub(crate) fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    pub(crate) fn config(&self) -> DatapathConfig {
        DatapathConfig {
            bpffs: self.bpffs(),
            ..DatapathConfig::new(self.cgroup.clone())
        }
    }

    pub(crate) fn open(&self) -> (Datapath, Adoption) {
        Datapath::open(self.config()).expect("the datapath opens")
    }

    /// The directories of pinned maps, one per layout.
    pub(crate) fn map_directories(&self) -> Vec<PathBuf> {
        let mut directories = entries(&self.bpffs());
        directories.retain(|path| path.to_string_lossy().contains("/maps-"));
        directories
    }

    pub(crate) fn pinned_maps(&self) -> Vec<PathBuf> {
        let directories = self.map_directories();
        directories.iter().flat_map(|path| entries(path)).collect()
    }

    /// Runs a process on the node, in its cgroup and a new network namespace with the addresses 127.0.0.0/8, ::1 and
    /// fd00::1 to fd00::4. What it panics with, this panics with.
    pub(crate) fn run(&self, body: impl FnOnce()) {
        let (mut here, there) = UnixStream::pair().unwrap();
        // SAFETY: the child touches nothing that another thread may hold: it runs the test's body and exits.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                drop(here);
                self.become_child(there, body)
            }
            ForkResult::Parent { child } => {
                drop(there);
                here.set_read_timeout(Some(DEADLINE)).unwrap();
                let mut said = String::new();
                let heard = here.read_to_string(&mut said);
                if heard.is_err() {
                    kill(child, Signal::SIGKILL).unwrap();
                }
                waitpid(child, None).unwrap();
                heard.expect("the process on the node ends in time");
                assert_eq!(said, FINE);
            }
        }
    }

    fn become_child(&self, mut parent: UnixStream, body: impl FnOnce()) -> ! {
        let result = catch_unwind(AssertUnwindSafe(|| {
            let own = Pid::this().to_string();
            fs::write(self.cgroup.join("cgroup.procs"), own).unwrap();
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ip("link set lo up");
            for host in 1..=4 {
                ip(&format!("-6 address add fd00::{host}/128 dev lo nodad"));
            }
            body();
        }));
        let said = result.map_or_else(
            |panic| {
                let text = panic.downcast_ref::<String>().cloned();
                let word = panic.downcast_ref::<&str>().map(ToString::to_string);
                text.or(word).unwrap_or_else(|| "panicked".to_owned())
            },
            |()| FINE.to_owned(),
        );
        parent.write_all(said.as_bytes()).unwrap();
        drop(parent);
        // SAFETY: ends this process without running what belongs to the parent.
        unsafe { libc::_exit(0) }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A test that failed early may have mounted nothing.
        umount2(&self.bpffs(), MntFlags::MNT_DETACH).ok();
        if let Err(error) = fs::remove_dir(&self.cgroup) {
            eprintln!("{} is left behind: {error}", self.cgroup.display());
        }
    }
}

/// A service of a test: one frontend, and groups of backends.
pub(crate) struct Service {
    frontend: FrontendKey,
    id: u32,
    groups: Vec<(u16, u8, Vec<SocketAddr>)>,
    is_external: bool,
    is_local: bool,
    affinity: Option<NonZeroU32>,
    sources: Vec<IpNet>,
    denies_sources: bool,
}

impl Service {
    pub(crate) fn new(id: u32, frontend: &str, protocol: u8) -> Self {
        let frontend = address(frontend);
        Self {
            frontend: FrontendKey::new(frontend.ip(), frontend.port(), protocol),
            id,
            groups: Vec::new(),
            is_external: false,
            is_local: false,
            affinity: None,
            sources: Vec::new(),
            denies_sources: false,
        }
    }

    /// The same, for traffic from outside the cluster.
    pub(crate) fn external(mut self) -> Self {
        self.is_external = true;
        self.frontend = self.frontend.from_outside();
        self
    }

    /// The same, for sockets that dial an address of their own node.
    pub(crate) fn at_own_node(mut self) -> Self {
        self.frontend = self.frontend.at_own_node();
        self
    }

    /// The same, with all its backends on the node.
    pub(crate) fn local(mut self) -> Self {
        self.is_local = true;
        self
    }

    /// The same, whose clients keep their backend for so many seconds.
    pub(crate) fn with_affinity(mut self, seconds: u32) -> Self {
        self.affinity = NonZeroU32::new(seconds);
        self
    }

    /// The same, for some clients alone.
    pub(crate) fn only_for(mut self, range: &str) -> Self {
        self.sources.push(range.parse().unwrap());
        self
    }

    /// The same, for all but some clients.
    pub(crate) fn not_for(mut self, range: &str) -> Self {
        self.denies_sources = true;
        self.only_for(range)
    }

    /// Adds the backends of a cluster in a tier.
    pub(crate) fn group(mut self, cluster: u16, tier: u8, backends: &[SocketAddr]) -> Self {
        self.groups.push((cluster, tier, backends.to_vec()));
        self
    }

    /// What makes it known to the kernel.
    pub(crate) fn ops(&self) -> Vec<MapOp> {
        let mut ops = Vec::new();
        let mut groups = Vec::new();
        for (cluster, tier, backends) in &self.groups {
            let count = u16::try_from(backends.len()).unwrap();
            groups.push(Group::new(*cluster, *tier, 1, count));
            for (backend, slot) in backends.iter().zip(0..) {
                let mut value = BackendValue::new(backend.ip(), backend.port());
                if self.is_local {
                    value = value.local();
                }
                let key = BackendKey::new(self.id, *cluster, slot);
                ops.push(MapOp::PutBackend(key, value));
                if self.affinity.is_some() {
                    let member = MemberKey::new(self.id, *cluster, value);
                    ops.push(MapOp::PutMember(member, value));
                }
            }
        }
        let mut value = ServiceValue::try_new(self.id, &groups).unwrap();
        if self.is_external {
            value = value.external();
        }
        if let Some(timeout) = self.affinity {
            value = value.with_affinity(timeout);
        }
        if self.denies_sources {
            value = value.denying();
        } else if !self.sources.is_empty() {
            value = value.restricted();
        }
        let sources = self.sources.iter();
        ops.extend(sources.map(|range| MapOp::PutSource(self.id, *range)));
        ops.push(MapOp::PutService(self.frontend, value));
        ops
    }
}

/// Makes services known, in clusters 0 (east) and 1 (west) that are up.
pub(crate) fn install(datapath: &mut Datapath, services: &[Service]) {
    put_cluster(datapath, 0, "east", ClusterState::Up);
    put_cluster(datapath, 1, "west", ClusterState::Up);
    for op in services.iter().flat_map(Service::ops) {
        datapath.apply(&op).unwrap();
    }
}

/// Makes these services, and no others, known in the clusters that are there.
pub(crate) fn replace(datapath: &mut Datapath, services: &[Service]) {
    let old = datapath.read_image().unwrap();
    let mut new = Image {
        clusters: old.clusters.clone(),
        ..Image::default()
    };
    for op in services.iter().flat_map(Service::ops) {
        new.apply(&op);
    }
    for op in diff(&old, &new) {
        datapath.apply(&op).unwrap();
    }
}

/// What a call that is refused returns: kernels before 5.18 let no program choose.
pub(crate) fn refusal(datapath: &Datapath) -> io::ErrorKind {
    let mut features = datapath.features().iter();
    let chosen = features.find(|feature| feature.name == "refusal").unwrap();
    match chosen.chosen {
        "ECONNREFUSED" => io::ErrorKind::ConnectionRefused,
        _ => io::ErrorKind::PermissionDenied,
    }
}

pub(crate) fn put_cluster(datapath: &mut Datapath, index: u16, name: &str, state: ClusterState) {
    let value = ClusterValue::try_new(name, state).unwrap();
    datapath.apply(&MapOp::PutCluster(index, value)).unwrap();
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Any free port at an address of the node.
pub(crate) fn any_port(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().unwrap(), 0)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn cgroup2() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            Some((fields.nth(1)?, fields.next()?))
        })
        .find(|(_, kind)| *kind == "cgroup2");
    PathBuf::from(mount.expect("a cgroup v2 hierarchy is mounted").0)
}
