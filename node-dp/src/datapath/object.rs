//! The object file with programs and maps, and how it is loaded.

use std::path::{Path, PathBuf};

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{Map, MapError},
    programs::{CgroupSockAddr, ProgramError, ProgramType},
    sys::{BpfHelper, is_helper_supported},
};
use node_dp_common::{
    BackendKey, BackendValue, ClusterValue, FrontendKey, LAYOUT, MAX_CLUSTERS, PeerValue,
    RevNatKey, RevNatValue, ServiceValue,
};

use super::OpenError;

/// The kernel programs, as the build script left them.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/programs.o"));

/// All maps, which are all pinned.
pub(super) const MAPS: [&str; 6] = [
    "SERVICES", "BACKENDS", "CLUSTERS", "PEERS", "REV_NAT", "DROPS",
];

/// How many entries the maps can hold.
///
/// Services and backends take memory as they come (about 200 and 80 bytes each); beforehand they take only 16 bytes per
/// possible entry. `REV_NAT` takes all of its memory at once, about 120 bytes per entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapSizes {
    /// Frontends: each address and port of a service.
    pub services: u32,
    /// Backends of all frontends.
    pub backends: u32,
    /// Sockets and the frontends they dialled; the least recently used are forgotten.
    pub rev_nat: u32,
}

impl Default for MapSizes {
    /// 64 k frontends with 4 backends each, 5 MiB beforehand; and 4 MiB for 32 k dialled frontends.
    fn default() -> Self {
        Self {
            services: 65_536,
            backends: 262_144,
            rev_nat: 32_768,
        }
    }
}

impl MapSizes {
    /// A name that maps have in common exactly if one can be adopted for the other.
    pub(super) fn fingerprint(self) -> String {
        let layout = [
            (
                size_of::<FrontendKey>(),
                size_of::<ServiceValue>(),
                self.services,
            ),
            (
                size_of::<BackendKey>(),
                size_of::<BackendValue>(),
                self.backends,
            ),
            (
                size_of::<u32>(),
                size_of::<ClusterValue>(),
                u32::from(MAX_CLUSTERS),
            ),
            (size_of::<i32>(), size_of::<PeerValue>(), 0),
            (
                size_of::<RevNatKey>(),
                size_of::<RevNatValue>(),
                self.rev_nat,
            ),
        ];
        // No dots: a bpffs refuses them in names.
        let parts = layout.map(|(key, value, entries)| format!("-{key}x{value}x{entries}"));
        format!("{LAYOUT}{}", parts.concat())
    }
}

/// The programs, loaded into the kernel but not attached.
#[derive(Debug)]
pub(super) struct Programs(Ebpf);

impl Programs {
    /// The program for a hook, by the hook's name.
    pub(super) fn program(&mut self, name: &str) -> Result<&mut CgroupSockAddr, ProgramError> {
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

    /// Whether programs can choose the error that a refused call returns.
    pub(super) fn can_set_retval(&self) -> bool {
        self.can_set_retval
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
    let flag = u32::from(can_set_retval);
    let paths: Vec<(&str, PathBuf)> = MAPS
        .into_iter()
        .map(|name| (name, directory.join(name)))
        .collect();

    let mut loader = EbpfLoader::new();
    loader
        .verifier_log_level(VerifierLogLevel::DISABLE)
        .override_global("CAN_SET_RETVAL", &flag, true)
        .map_max_entries("SERVICES", sizes.services)
        .map_max_entries("BACKENDS", sizes.backends)
        .map_max_entries("REV_NAT", sizes.rev_nat);
    for (name, path) in &paths {
        loader.map_pin_path(name, path.as_path());
    }
    let ebpf = loader.load(OBJECT)?;
    Ok(Loaded {
        ebpf,
        can_set_retval,
    })
}
