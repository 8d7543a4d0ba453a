//! A node with the datapath: where its pins are, its service, its addresses.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use anyhow::Context as _;
use node_dp::datapath::{Adoption, Datapath, DatapathConfig, FastPath, NodeAddresses};
use node_dp_common::{
    BackendKey, BackendValue, ClusterState, ClusterValue, FrontendKey, Group, ServiceValue,
};
use node_dp_core::image::MapOp;
use tempfile::TempDir;

/// The node port of the one service.
pub(crate) const NODE_PORT: u16 = 30_080;

const TCP: u8 = 6;
const SERVICE: u32 = 1;

/// Where datapaths have their pins, and a cgroup without processes; both go when this goes.
pub(crate) struct Places {
    directory: TempDir,
    cgroup: PathBuf,
}

impl Places {
    pub(crate) fn make() -> anyhow::Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts").context("reading the mounts")?;
        let mount = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (path, kind) = (fields.next()?, fields.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(path))
        });
        let mount = mount.context("no cgroup v2 hierarchy is mounted")?;
        let cgroup = mount.join(format!("ist-forward-{}", std::process::id()));
        fs::create_dir(&cgroup).context("making a cgroup")?;
        let directory = tempfile::Builder::new().prefix("ist-forward-").tempdir()?;
        Ok(Self { directory, cgroup })
    }

    /// Opens a datapath in the network namespace of this thread.
    pub(crate) fn open(
        &self,
        name: &str,
        devices: &[&str],
        fast_path: FastPath,
    ) -> anyhow::Result<(Datapath, PathBuf)> {
        let bpffs = self.directory.path().join(name);
        let config = DatapathConfig {
            bpffs: bpffs.clone(),
            devices: devices.iter().map(ToString::to_string).collect(),
            fast_path,
            ..DatapathConfig::new(self.cgroup.clone())
        };
        let (datapath, adoption) = Datapath::open(config)?;
        anyhow::ensure!(adoption == Adoption::Fresh, "the pins are not new");
        Ok((datapath, bpffs))
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        // Links to it may go a moment later than the process; then it stays, empty.
        drop(fs::remove_dir(&self.cgroup));
    }
}

/// Makes a service known: its node port, before backends that are elsewhere.
pub(crate) fn serve(
    datapath: &mut Datapath,
    backends: &[(Ipv4Addr, u16)],
    (local, masquerade): (Ipv4Addr, Ipv4Addr),
) -> anyhow::Result<()> {
    let up = ClusterValue::try_new("east", ClusterState::Up).context("naming the cluster")?;
    datapath.apply(&MapOp::PutCluster(0, up))?;
    for (slot, (address, port)) in (0..).zip(backends) {
        let value = BackendValue::new(IpAddr::V4(*address), *port);
        datapath.apply(&MapOp::PutBackend(BackendKey::new(SERVICE, 0, slot), value))?;
    }
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let frontend = FrontendKey::new(any, NODE_PORT, TCP).from_outside();
    let group = Group::new(0, 0, 1, u16::try_from(backends.len())?);
    let service = ServiceValue::try_new(SERVICE, &[group]).context("too many groups")?;
    datapath.apply(&MapOp::PutService(frontend, service.external()))?;
    let mut upkeep = datapath.take_upkeep().context("the upkeep is gone")?;
    upkeep.set_node(&NodeAddresses {
        local: [local.into()].into(),
        masquerade: [masquerade.into()].into(),
        ..NodeAddresses::default()
    })?;
    Ok(())
}
