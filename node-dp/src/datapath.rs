//! The datapath: loads, pins and fills the kernel programs and their maps.
//!
//! Everything is pinned, so traffic goes on when the agent ends, and a restarted agent adopts what it finds: the maps with
//! their contents, and the links, whose programs it swaps for its own in one step each. A directory of maps is named after
//! their layout; where another layout is pinned, the new maps are filled beside the old ones, which serve until
//! [`Datapath::activate`].

mod bulk;
mod connections;
mod contents;
mod devices;
mod fast_path;
mod features;
mod flows;
mod hooks;
mod interfaces;
mod netdev;
mod object;
mod pins;
mod sys;
mod upkeep;

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

use aya::{
    EbpfError,
    maps::{Array, HashMap, LpmTrie, MapData, MapError, PerCpuArray},
};
use node_dp_common::{
    BackendKey, BackendValue, ClusterValue, DropReason, FrontendKey, MaglevKey, MaglevValue,
    MemberKey, ServiceValue, SourceKey,
};

pub use connections::Connections;
pub use contents::{ApplyError, ReadError};
pub use devices::Attachment;
pub use fast_path::{Acceleration, FastPath, ParseFastPathError};
pub use features::Feature;
pub use flows::SweepError;
pub use hooks::AttachError;
pub use object::{MapSizes, SetSizeError};
pub use upkeep::{NodeAddresses, Upkeep};

use bulk::Bulk;
use devices::Devices;
use fast_path::FastPaths;
use flows::Flows;
use object::Programs;

/// Where the bpffs of a host usually is.
const DEFAULT_BPFFS: &str = "/sys/fs/bpf/isthmus";

/// Where and how large the datapath is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatapathConfig {
    /// The directory on a bpffs where everything is pinned; one agent each.
    pub bpffs: PathBuf,
    /// The directory of the cgroup v2 whose processes see the services.
    pub cgroup: PathBuf,
    /// The devices whose packets are translated, whenever they are there.
    pub devices: Vec<String>,
    /// How the programs are attached to them.
    pub attachment: Attachment,
    /// Whether their drivers forward packets of flows under way.
    pub fast_path: FastPath,
    /// How many entries the maps can hold.
    pub sizes: MapSizes,
}

impl DatapathConfig {
    /// The usual pins and sizes, for the processes of one cgroup and no device.
    pub fn new(cgroup: PathBuf) -> Self {
        Self {
            bpffs: PathBuf::from(DEFAULT_BPFFS),
            cgroup,
            devices: Vec::new(),
            attachment: Attachment::best(),
            fast_path: FastPath::Off,
            sizes: MapSizes::default(),
        }
    }
}

/// What was there when the datapath was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adoption {
    /// Nothing: the maps are empty, and the programs are attached.
    Fresh,
    /// The maps of a former run, with their contents; its links run these programs.
    Adopted,
    /// Maps of another layout or size, which go on serving; the new ones are to be filled before
    /// [`Datapath::activate`].
    Replacing,
}

/// Why the datapath could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The cgroup is not a directory of a cgroup v2 hierarchy.
    #[error("{} is not in a cgroup v2 hierarchy", .0.display())]
    NotCgroup2(PathBuf),
    /// The directory for the pins could not be made, read or cleaned.
    #[error("cannot use {}", path.display())]
    Pins {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No bpffs is there, and none could be mounted.
    #[error("cannot mount a bpffs at {}", path.display())]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the maps.
    #[error("the kernel refused the maps")]
    Maps(#[from] EbpfError),
    /// A map is not what the agent expects.
    #[error("the map {name} is not usable")]
    Map {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
    /// The object file lacks a map.
    #[error("the programs come without the map {0}")]
    NoSuchMap(&'static str),
    /// A program could not be loaded or attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

/// The kernel's part of a node: its maps, pinned, and the programs that read them.
pub struct Datapath {
    config: DatapathConfig,
    services: HashMap<MapData, FrontendKey, ServiceValue>,
    backends: HashMap<MapData, BackendKey, BackendValue>,
    clusters: Array<MapData, ClusterValue>,
    members: HashMap<MapData, MemberKey, BackendValue>,
    maglev: HashMap<MapData, MaglevKey, MaglevValue>,
    source_ranges: LpmTrie<MapData, SourceKey, u32>,
    drops: PerCpuArray<MapData, u64>,
    forwarded: PerCpuArray<MapData, u64>,
    bulk: Bulk,
    /// The maps that want upkeep, until they are taken.
    upkeep: Option<Upkeep>,
    /// Who is connected to whom, until it is taken.
    connections: Option<Connections>,
    features: Vec<Feature>,
    programs: Programs,
    /// Whether the programs are not attached yet.
    is_waiting: bool,
    attached: Devices,
}

impl Datapath {
    /// Loads the programs, adopts or makes the maps, and attaches the programs unless that would lose what serves now.
    ///
    /// Mounts a bpffs if there is none at the configured place.
    pub fn open(config: DatapathConfig) -> Result<(Self, Adoption), OpenError> {
        pins::check_cgroup(&config.cgroup)?;
        pins::make_bpffs(&config.bpffs)?;
        let directory = pins::maps_directory(&config.bpffs, config.sizes);
        let adoption = pins::adoption(&config.bpffs, &directory)?;
        pins::make_directory(&directory)?;

        sys::lift_memory_limit();
        let mut loaded = object::load(&directory, config.sizes)?;
        let connections = Connections {
            rev_nat: loaded.map("REV_NAT")?,
            peers: loaded.map("PEERS")?,
            flows: Flows::of(&loaded)?,
            services: loaded.hash_map("SERVICES")?,
            backends: loaded.hash_map("BACKENDS")?,
            cgroup: config.cgroup.clone(),
        };
        let mut features = features::report(&loaded, config.attachment);
        features.push(connections.feature());
        let mut datapath = Self {
            bulk: Bulk::of(&loaded)?,
            services: loaded.map("SERVICES")?,
            backends: loaded.map("BACKENDS")?,
            clusters: loaded.map("CLUSTERS")?,
            members: loaded.map("MEMBERS")?,
            maglev: loaded.map("MAGLEV")?,
            source_ranges: loaded.map("SOURCE_RANGES")?,
            upkeep: Some(Upkeep {
                node: loaded.map("NODE")?,
                local_addresses: loaded.map("LOCAL_ADDRESSES")?,
                flows: Flows::of(&loaded)?,
                flows_capacity: config.sizes.flows,
                cursor: None,
            }),
            drops: loaded.map("DROPS")?,
            forwarded: loaded.map("FORWARDED")?,
            attached: Devices::new(FastPaths::new(loaded.map("DEVICES")?)),
            connections: Some(connections),
            features,
            programs: loaded.into_programs(),
            is_waiting: true,
            config,
        };
        match adoption {
            Adoption::Fresh | Adoption::Adopted => datapath.activate()?,
            Adoption::Replacing => {}
        }
        Ok((datapath, adoption))
    }

    /// Attaches the programs, in place of those of a former run, and removes maps of other layouts.
    ///
    /// Each hook goes from the old program to the new one in one step. Does nothing once done.
    pub fn activate(&mut self) -> Result<(), OpenError> {
        if !self.is_waiting {
            return Ok(());
        }
        hooks::attach_all(&mut self.programs, &self.config)?;
        self.attached.attach_all(&mut self.programs, &self.config)?;
        self.is_waiting = false;
        let directory = pins::maps_directory(&self.config.bpffs, self.config.sizes);
        pins::remove_other_maps(&self.config.bpffs, &directory)
    }

    /// Whether [`Self::activate`] is still to be called.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Attaches the programs to configured devices that have come since, or have come back; true if any has come or gone.
    ///
    /// Does nothing before [`Self::activate`].
    pub fn follow_devices(&mut self) -> Result<bool, OpenError> {
        if self.is_waiting {
            return Ok(false);
        }
        let has_changed = self.attached.follow(&mut self.programs, &self.config)?;
        Ok(has_changed)
    }

    /// The configured devices, and whether each is there and served.
    pub fn devices(&self) -> BTreeMap<String, bool> {
        let wanted = self.config.devices.iter();
        let mut devices: BTreeMap<String, bool> =
            wanted.map(|name| (name.clone(), false)).collect();
        for name in self.attached.names() {
            devices.insert(name.to_owned(), true);
        }
        devices
    }

    /// How often each reason occurred since the maps were made, on all CPUs.
    pub fn drops(&self) -> Result<BTreeMap<DropReason, u64>, ReadError> {
        contents::drops(&self.drops)
    }

    /// What came of the fast path at each device that is there; nothing where it is off.
    pub fn accelerations(&self) -> BTreeMap<String, Acceleration> {
        self.attached.accelerations()
    }

    /// How many packets the fast path has forwarded since the maps were made, on all CPUs.
    pub fn forwarded(&self) -> Result<u64, ReadError> {
        contents::forwarded(&self.forwarded)
    }

    /// What the kernel offers, and what was chosen for it.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// The maps that want upkeep, for whoever keeps them up; once.
    pub fn take_upkeep(&mut self) -> Option<Upkeep> {
        self.upkeep.take()
    }

    /// The clients' sockets, for whoever ends those whose backend is gone; once.
    pub fn take_connections(&mut self) -> Option<Connections> {
        self.connections.take()
    }

    /// Seconds since boot, by which flows age.
    pub fn seconds_since_boot() -> u32 {
        sys::seconds_since_boot()
    }

    /// Detaches all programs and removes all maps that are pinned in `bpffs`, whichever version of the agent made them.
    ///
    /// Connections stay with the backends they have; new ones are no longer translated.
    pub fn detach_all(bpffs: &Path) -> Result<(), OpenError> {
        pins::remove_all(bpffs)
    }
}

impl fmt::Debug for Datapath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datapath")
            .field("config", &self.config)
            .field("is_waiting", &self.is_waiting())
            .finish_non_exhaustive()
    }
}
