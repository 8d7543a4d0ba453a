//! What the kernel's maps hold, and one change to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use ipnet::{IpNet, Ipv4Net};
use node_dp_common::{
    BackendKey, BackendValue, ClusterState, ClusterValue, FrontendKey, MaglevKey, MaglevValue,
    MemberKey, ServiceValue,
};

/// The contents of `SERVICES`, `BACKENDS`, `MEMBERS`, `MAGLEV`, `SOURCE_RANGES` and `CLUSTERS`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// What each frontend leads to.
    pub services: BTreeMap<FrontendKey, ServiceValue>,
    /// The backends of all services.
    pub backends: BTreeMap<BackendKey, BackendValue>,
    /// The backends that clients may keep, of services with session affinity.
    pub members: BTreeMap<MemberKey, BackendValue>,
    /// The lines of the Maglev tables of groups.
    pub maglev: BTreeMap<MaglevKey, MaglevValue>,
    /// Who may use a service, by its id, where not everybody may.
    pub sources: BTreeSet<(u32, IpNet)>,
    /// The clusters by index, without the unused indices.
    pub clusters: BTreeMap<u16, ClusterValue>,
}

/// One change to one key of one map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MapOp {
    /// Sets a cluster; [`ClusterValue::UNUSED`] frees its index.
    PutCluster(u16, ClusterValue),
    /// Sets a backend.
    PutBackend(BackendKey, BackendValue),
    /// Lets clients of a service keep a backend.
    PutMember(MemberKey, BackendValue),
    /// Sets a line of a Maglev table.
    PutMaglev(MaglevKey, MaglevValue),
    /// Lets clients use a service, by its id.
    PutSource(u32, IpNet),
    /// Sets a service.
    PutService(FrontendKey, ServiceValue),
    /// Removes a service.
    DeleteService(FrontendKey),
    /// Lets clients use a service no more.
    DeleteSource(u32, IpNet),
    /// Removes a line of a Maglev table.
    DeleteMaglev(MaglevKey),
    /// Lets clients of a service keep a backend no more.
    DeleteMember(MemberKey),
    /// Removes a backend.
    DeleteBackend(BackendKey),
}

impl MapOp {
    /// The name in metrics and spans.
    pub fn label(&self) -> &'static str {
        match self {
            Self::PutCluster(..) => "put-cluster",
            Self::PutBackend(..) => "put-backend",
            Self::PutMember(..) => "put-member",
            Self::PutMaglev(..) => "put-maglev",
            Self::PutSource(..) => "put-source",
            Self::PutService(..) => "put-service",
            Self::DeleteService(_) => "delete-service",
            Self::DeleteSource(..) => "delete-source",
            Self::DeleteMaglev(_) => "delete-maglev",
            Self::DeleteMember(_) => "delete-member",
            Self::DeleteBackend(_) => "delete-backend",
        }
    }
}

impl Image {
    /// Carries out one change.
    pub fn apply(&mut self, op: &MapOp) {
        match *op {
            MapOp::PutCluster(index, value) => self.put_cluster(index, value),
            MapOp::PutBackend(key, value) => {
                self.backends.insert(key, value);
            }
            MapOp::PutMember(key, value) => {
                self.members.insert(key, value);
            }
            MapOp::PutMaglev(key, value) => {
                self.maglev.insert(key, value);
            }
            MapOp::PutSource(id, range) => {
                self.sources.insert((id, range));
            }
            MapOp::PutService(key, value) => {
                self.services.insert(key, value);
            }
            MapOp::DeleteService(key) => {
                self.services.remove(&key);
            }
            MapOp::DeleteSource(id, range) => {
                self.sources.remove(&(id, range));
            }
            MapOp::DeleteMaglev(key) => {
                self.maglev.remove(&key);
            }
            MapOp::DeleteMember(key) => {
                self.members.remove(&key);
            }
            MapOp::DeleteBackend(key) => {
                self.backends.remove(&key);
            }
        }
    }

    /// The backends of a cluster for a service, in order of their slots.
    pub fn group(
        &self,
        service_id: u32,
        cluster: u16,
    ) -> impl Iterator<Item = (BackendKey, BackendValue)> {
        let first = BackendKey::new(service_id, cluster, 0);
        let last = BackendKey::new(service_id, cluster, u16::MAX);
        self.backends
            .range(first..=last)
            .map(|(key, value)| (*key, *value))
    }

    /// All backends of a service.
    pub fn service(&self, id: u32) -> impl Iterator<Item = (BackendKey, BackendValue)> {
        let first = BackendKey::new(id, 0, 0);
        let last = BackendKey::new(id, u16::MAX, u16::MAX);
        self.backends
            .range(first..=last)
            .map(|(key, value)| (*key, *value))
    }

    /// The backends of a service that its clients may keep.
    pub fn members_of(&self, id: u32) -> impl Iterator<Item = (MemberKey, BackendValue)> {
        let members = self.members.range(MemberKey::first_of(id)..);
        members
            .take_while(move |(key, _)| key.service_id() == id)
            .map(|(key, value)| (*key, *value))
    }

    /// The lines of the Maglev tables of a service.
    pub fn maglev_of(&self, id: u32) -> impl Iterator<Item = (MaglevKey, MaglevValue)> {
        let first = MaglevKey::new(id, 0, 0);
        let last = MaglevKey::new(id, u16::MAX, u16::MAX);
        self.maglev
            .range(first..=last)
            .map(|(key, value)| (*key, *value))
    }

    /// Who may use a service, if not everybody.
    pub fn sources_of(&self, id: u32) -> impl Iterator<Item = (u32, IpNet)> {
        // Prefixes sort IPv4 first, each family by address.
        let first = IpNet::V4(Ipv4Net::default());
        let sources = self.sources.range((id, first)..);
        sources.copied().take_while(move |(owner, _)| *owner == id)
    }

    fn put_cluster(&mut self, index: u16, value: ClusterValue) {
        if value.state() == Some(ClusterState::Unused) {
            self.clusters.remove(&index);
            return;
        }
        self.clusters.insert(index, value);
    }
}

/// A text of the whole image, one line per cluster, frontend and backend, for people and golden tests.
impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, cluster) in &self.clusters {
            let state = cluster.state().map_or("?", state_label);
            writeln!(f, "cluster {index} {} {state}", cluster.name())?;
        }
        for (frontend, service) in &self.services {
            write!(f, "frontend {frontend} service {}", service.id())?;
            match service.affinity_timeout() {
                Some(timeout) => writeln!(f, " affinity {timeout}s")?,
                None => writeln!(f)?,
            }
            let word = if service.denies_sources() {
                "not for"
            } else {
                "for"
            };
            for (_, range) in self.sources_of(service.id()) {
                writeln!(f, "  {word} {range}")?;
            }
            for group in service.groups() {
                write!(
                    f,
                    "  tier {} cluster {} weight {}:",
                    group.tier(),
                    group.cluster(),
                    group.weight()
                )?;
                for slot in 0..group.count() {
                    let key = BackendKey::new(service.id(), group.cluster(), slot);
                    match self.backends.get(&key) {
                        Some(backend) if backend.is_local() => write!(f, " {backend} (here)")?,
                        Some(backend) => write!(f, " {backend}")?,
                        None => write!(f, " -")?,
                    }
                }
                match group.maglev().places() {
                    Some(places) => writeln!(f, " maglev {places}")?,
                    None => writeln!(f)?,
                }
            }
        }
        Ok(())
    }
}

/// The name of a cluster's state in status, metrics and dumps.
pub fn state_label(state: ClusterState) -> &'static str {
    match state {
        ClusterState::Unused => "unused",
        ClusterState::Up => "up",
        ClusterState::Draining => "draining",
        ClusterState::Down => "down",
        ClusterState::Drill => "drill",
    }
}
