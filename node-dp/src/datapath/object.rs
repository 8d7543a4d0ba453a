//! The object file with programs and maps, and how it is loaded.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader, Pod, VerifierLogLevel,
    maps::{HashMap, Map, MapData, MapError},
    programs::{CgroupSockAddr, ProgramError, ProgramType, SchedClassifier, Xdp},
    sys::{BpfHelper, is_helper_supported},
};
use node_dp_common::{
    Address, AffinityKey, AffinityValue, BackendKey, BackendValue, ClusterValue, DeviceValue,
    DropReason, FlowKey, FlowValue, FragmentKey, FragmentValue, FrontendKey, LAYOUT, MAX_CLUSTERS,
    MaglevKey, MaglevValue, MemberKey, NodeValue, PeerValue, RevNatKey, RevNatValue, ServiceValue,
    SourceKey,
};

use super::{OpenError, interfaces};

/// The kernel programs, as the build script left them.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/programs.o"));

/// All maps that are pinned: all but the one that a program only works on.
pub(super) const MAPS: [&str; 16] = [
    "SERVICES",
    "BACKENDS",
    "MEMBERS",
    "AFFINITIES",
    "MAGLEV",
    "SOURCE_RANGES",
    "CLUSTERS",
    "NODE",
    "LOCAL_ADDRESSES",
    "DEVICES",
    "FORWARDED",
    "FLOWS",
    "FRAGMENTS",
    "PEERS",
    "REV_NAT",
    "DROPS",
];

/// How many entries the maps can hold.
///
/// Services, backends, lines of Maglev tables and flows take memory as they come (about 200, 80, 192 and 192 bytes each);
/// beforehand they take only 16 bytes per possible entry. `REV_NAT` and `AFFINITIES` take all of their memory at once, about
/// 120 bytes per entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapSizes {
    /// Frontends: each address and port of a service.
    pub services: u32,
    /// Backends of all frontends.
    pub backends: u32,
    /// Backends of all frontends whose services have session affinity.
    pub members: u32,
    /// Clients of such services, each once per service; the least recently used are forgotten.
    pub affinities: u32,
    /// Lines of Maglev tables: five for a service of three backends.
    pub maglev: u32,
    /// Prefixes of clients that services are kept to.
    pub source_ranges: u32,
    /// Entries of translated flows: two each, four where a node's address stands for the client.
    pub flows: u32,
    /// Sockets and the frontends they dialled; the least recently used are forgotten.
    pub rev_nat: u32,
}

impl Default for MapSizes {
    /// 64 k frontends with 4 backends each, 5 MiB beforehand; 26 k of them with Maglev tables, 2 MiB; 64 k to 128 k flows,
    /// 4 MiB; 1 MiB for 64 k backends with session affinity, and 4 MiB for 32 k of their clients; and 4 MiB for 32 k dialled
    /// frontends.
    fn default() -> Self {
        Self {
            services: 65_536,
            backends: 262_144,
            members: 65_536,
            affinities: 32_768,
            maglev: 131_072,
            source_ranges: 65_536,
            flows: 262_144,
            rev_nat: 32_768,
        }
    }
}

/// A map's size cannot be set so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetSizeError {
    /// No map has the name.
    #[error("write one of {}", MapSizes::NAMES.join(", "))]
    UnknownMap,
    /// A map must hold something.
    #[error("a map has at least one entry")]
    Empty,
}

impl MapSizes {
    /// The names of the maps, in the order of the fields.
    pub const NAMES: [&str; 8] = [
        "services",
        "backends",
        "members",
        "affinities",
        "maglev",
        "source-ranges",
        "flows",
        "rev-nat",
    ];

    /// Sets how many entries the map of a name can hold.
    pub fn set(&mut self, name: &str, entries: u32) -> Result<(), SetSizeError> {
        if entries == 0 {
            return Err(SetSizeError::Empty);
        }
        let found = Self::NAMES.into_iter().zip(self.fields());
        let found = found.into_iter().find(|(known, _)| *known == name);
        *found.ok_or(SetSizeError::UnknownMap)?.1 = entries;
        Ok(())
    }

    /// How many entries each map can hold, by its name.
    pub fn by_name(mut self) -> impl Iterator<Item = (&'static str, u32)> {
        Self::NAMES
            .into_iter()
            .zip(self.fields().map(|entries| *entries))
    }

    fn fields(&mut self) -> [&mut u32; 8] {
        [
            &mut self.services,
            &mut self.backends,
            &mut self.members,
            &mut self.affinities,
            &mut self.maglev,
            &mut self.source_ranges,
            &mut self.flows,
            &mut self.rev_nat,
        ]
    }

    /// A name that maps have in common exactly if one can be adopted for the other.
    pub(super) fn fingerprint(self) -> String {
        let clusters = u32::from(MAX_CLUSTERS);
        let layout = [
            shape::<FrontendKey, ServiceValue>(self.services),
            shape::<BackendKey, BackendValue>(self.backends),
            shape::<MemberKey, BackendValue>(self.members),
            shape::<AffinityKey, AffinityValue>(self.affinities),
            shape::<MaglevKey, MaglevValue>(self.maglev),
            shape::<SourceKey, u32>(self.source_ranges),
            shape::<u32, ClusterValue>(clusters),
            shape::<u32, NodeValue>(1),
            shape::<Address, u32>(0),
            shape::<u32, DeviceValue>(0),
            shape::<FlowKey, FlowValue>(self.flows),
            shape::<FragmentKey, FragmentValue>(0),
            shape::<i32, PeerValue>(0),
            shape::<RevNatKey, RevNatValue>(self.rev_nat),
            shape::<u32, u64>(DropReason::ALL.len() as u32),
        ];
        // No dots: a bpffs refuses them in names.
        let parts = layout.map(|(key, value, entries)| format!("-{key}x{value}x{entries}"));
        format!("{LAYOUT}{}", parts.concat())
    }
}

fn shape<K, V>(entries: u32) -> (usize, usize, u32) {
    (size_of::<K>(), size_of::<V>(), entries)
}

/// The programs, loaded into the kernel but not attached.
#[derive(Debug)]
pub(super) struct Programs(Ebpf);

impl Programs {
    /// The program for a hook of sockets, by the hook's name.
    pub(super) fn socket_program(
        &mut self,
        name: &str,
    ) -> Result<&mut CgroupSockAddr, ProgramError> {
        self.0
            .program_mut(name)
            .ok_or(ProgramError::NotLoaded)?
            .try_into()
    }

    /// The program for drivers, by its own name.
    pub(super) fn fast_program(&mut self, name: &str) -> Result<&mut Xdp, ProgramError> {
        self.0
            .program_mut(name)
            .ok_or(ProgramError::NotLoaded)?
            .try_into()
    }

    /// The program for a hook of devices, by its own name.
    pub(super) fn device_program(
        &mut self,
        name: &str,
    ) -> Result<&mut SchedClassifier, ProgramError> {
        self.0
            .program_mut(name)
            .ok_or(ProgramError::NotLoaded)?
            .try_into()
    }
}

/// Programs and maps in the kernel.
#[derive(Debug)]
pub(super) struct Loaded {
    ebpf: Ebpf,
    can_set_retval: bool,
    has_netns_cookie: bool,
}

impl Loaded {
    /// Takes a map out, with its type.
    pub(super) fn map<M>(&mut self, name: &'static str) -> Result<M, OpenError>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        let map = self.ebpf.take_map(name).ok_or(OpenError::NoSuchMap(name))?;
        M::try_from(map).map_err(|source| OpenError::Map { name, source })
    }

    /// One more handle on a hash map, which stays to be taken.
    pub(super) fn hash_map<K: Pod, V: Pod>(
        &self,
        name: &'static str,
    ) -> Result<HashMap<MapData, K, V>, OpenError> {
        let unusable = |source| OpenError::Map { name, source };
        let data = MapData::from_fd(self.hash_map_fd(name)?).map_err(unusable)?;
        Map::HashMap(data).try_into().map_err(unusable)
    }

    /// A descriptor of a hash map of its own, for calls that aya does not make.
    pub(super) fn hash_map_fd(&self, name: &'static str) -> Result<OwnedFd, OpenError> {
        let Some(Map::HashMap(data)) = self.ebpf.map(name) else {
            return Err(OpenError::NoSuchMap(name));
        };
        let fd = data.fd().as_fd().try_clone_to_owned();
        fd.map_err(|io_error| OpenError::Map {
            name,
            source: MapError::IoError(io_error),
        })
    }

    /// Whether programs can choose the error that a refused call returns.
    pub(super) fn can_set_retval(&self) -> bool {
        self.can_set_retval
    }

    /// Whether programs of sockets can tell network namespaces apart.
    pub(super) fn has_netns_cookie(&self) -> bool {
        self.has_netns_cookie
    }

    pub(super) fn into_programs(self) -> Programs {
        Programs(self.ebpf)
    }
}

/// Creates the maps that are not pinned in `directory`, adopts those that are, and prepares the programs for them.
pub(super) fn load(directory: &Path, sizes: MapSizes) -> Result<Loaded, OpenError> {
    // A probe that fails is a kernel too old to be asked.
    let can_set_retval =
        is_helper_supported(ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_set_retval)
            .unwrap_or(false);
    let has_netns_cookie = is_helper_supported(
        ProgramType::CgroupSockAddr,
        BpfHelper::BPF_FUNC_get_netns_cookie,
    )
    .unwrap_or(false);
    let flags = [can_set_retval, has_netns_cookie].map(u32::from);
    // The agent is in the node's own namespace.
    let own_namespace = interfaces::namespace_cookie().unwrap_or_default();
    let paths: Vec<(&str, PathBuf)> = MAPS
        .into_iter()
        .map(|name| (name, directory.join(name)))
        .collect();

    let mut loader = EbpfLoader::new();
    loader
        .verifier_log_level(VerifierLogLevel::DISABLE)
        .override_global("CAN_SET_RETVAL", &flags[0], true)
        .override_global("HAS_NETNS_COOKIE", &flags[1], true)
        .override_global("NODE_NETNS_COOKIE", &own_namespace, true)
        .map_max_entries("SERVICES", sizes.services)
        .map_max_entries("BACKENDS", sizes.backends)
        .map_max_entries("MEMBERS", sizes.members)
        .map_max_entries("AFFINITIES", sizes.affinities)
        .map_max_entries("MAGLEV", sizes.maglev)
        .map_max_entries("SOURCE_RANGES", sizes.source_ranges)
        .map_max_entries("FLOWS", sizes.flows)
        .map_max_entries("REV_NAT", sizes.rev_nat);
    for (name, path) in &paths {
        loader.map_pin_path(name, path.as_path());
    }
    let ebpf = loader.load(OBJECT)?;
    Ok(Loaded {
        ebpf,
        can_set_retval,
        has_netns_cookie,
    })
}
