//! Packets a second through each kind of node, from a program that makes frames to one that counts and drops them.

mod rules;

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode},
};
use etherparse::PacketBuilder;
use node_dp::datapath::{Datapath, FastPath};
use node_dp_common::{
    Tuple,
    load::{FIRST_PORT, Plan, SEGMENT},
};

use crate::{
    Args, Found,
    network::{Host, Offload, ip, set_offload},
    node::{NODE_PORT, Places, serve},
};
use rules::{feed, iptables, nftables};

/// The programs that make and count frames.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/load.o"));

const GENERATOR: &str = "isthmus_generate";
const SINK: &str = "isthmus_sink";

/// How many packets are sent before any is counted: several of each flow.
const WARM_UP: u32 = 300_000;

/// How many flows are sent, in turns.
const FLOWS: [u32; 2] = [1, 60_000];

/// How many frames the kernel makes before it hands them on.
const BATCH: u32 = 64;

/// How many backends there are: towards one alone a node has 20,000 ports.
const BACKENDS: u8 = 16;

const PORT: u16 = 8080;

const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NODE_TO_BACKENDS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// A kind of node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Plain,
    PlainAgain,
    Iptables,
    Nftables,
    Tc,
    Xdp,
}

const KINDS: [Kind; 6] = [
    Kind::Plain,
    Kind::PlainAgain,
    Kind::Iptables,
    Kind::Nftables,
    Kind::Tc,
    Kind::Xdp,
];

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::PlainAgain => "null",
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
            Self::Tc => "tc",
            Self::Xdp => "xdp",
        }
    }

    /// What clients send to.
    fn dialled(self) -> (Ipv4Addr, u16) {
        match self {
            Self::Plain | Self::PlainAgain => backends()[0],
            Self::Iptables | Self::Nftables | Self::Tc | Self::Xdp => (NODE, NODE_PORT),
        }
    }
}

fn backends() -> Vec<(Ipv4Addr, u16)> {
    let all = 1..=BACKENDS;
    all.map(|number| (Ipv4Addr::new(10, 2, 0, number), PORT))
        .collect()
}

/// Two hosts with the nodes between them, in the order in which they end.
struct World {
    nodes: BTreeMap<Kind, Node>,
    source: Host,
    _sink: Host,
    programs: Arc<Mutex<Ebpf>>,
    plan: Array<MapData, Plan>,
    arrived: PerCpuArray<MapData, u64>,
}

struct Node {
    datapath: Option<Datapath>,
    /// Kept for its end.
    _host: Host,
    /// The device that leads there, and the first flow with its frame.
    device: u32,
    first: Tuple,
    template: [u16; SEGMENT],
}

/// Measures all kinds of nodes that can be had, for one flow and for many.
pub(crate) fn measure(places: &Arc<Places>, args: &Args, found: &mut Found) -> anyhow::Result<()> {
    let mut world = World::up(places, &mut found.missing)?;
    let kinds: Vec<Kind> = world.nodes.keys().copied().collect();
    for flows in FLOWS {
        let mut counts = BTreeMap::new();
        for kind in &kinds {
            // Flows come about, and it shows how many packets make a round.
            world.send(*kind, flows, WARM_UP)?;
            let rate = world.send(*kind, flows, WARM_UP)?;
            let seconds = Duration::from_millis(args.round_ms).as_secs_f64();
            counts.insert(*kind, (rate * seconds) as u32);
        }
        world.ensure_served(flows)?;
        let results = found.packets_per_s.entry(flows).or_default();
        for _ in 0..args.rounds {
            for kind in &kinds {
                let rate = world.send(*kind, flows, counts[kind])?;
                results.entry(kind.label()).or_default().push(rate);
            }
        }
    }
    Ok(())
}

impl World {
    fn up(
        places: &Arc<Places>,
        missing: &mut BTreeMap<&'static str, String>,
    ) -> anyhow::Result<Self> {
        let mut programs = Ebpf::load(OBJECT).context("loading the programs that measure")?;
        for name in [GENERATOR, SINK] {
            program(&mut programs, name)?.load()?;
        }
        let plan = programs.take_map("PLAN").context("PLAN")?;
        let arrived = programs.take_map("ARRIVED").context("ARRIVED")?;
        let programs = Arc::new(Mutex::new(programs));
        let (source, sink) = (Host::alone(), Host::alone());
        let mut nodes = BTreeMap::new();
        for kind in KINDS {
            match Node::up(places, kind, (&source, &sink), &programs) {
                Ok(node) => {
                    nodes.insert(kind, node);
                }
                Err(error) => {
                    missing.insert(kind.label(), format!("{error:#}"));
                }
            }
        }
        Ok(Self {
            nodes,
            source,
            _sink: sink,
            programs,
            plan: plan.try_into()?,
            arrived: arrived.try_into()?,
        })
    }

    /// Sends so many packets of some flows through a node; returns how many arrive a second.
    fn send(&mut self, kind: Kind, flows: u32, count: u32) -> anyhow::Result<f64> {
        let node = &self.nodes[&kind];
        let plan = Plan::new(node.device, flows, node.first, node.template);
        self.plan.set(0, plan, 0)?;
        let before = self.arrived()?;
        let bytes: Vec<u8> = node
            .template
            .into_iter()
            .flat_map(u16::to_ne_bytes)
            .collect();
        let programs = Arc::clone(&self.programs);
        let took = self
            .source
            .run(move || generate(&programs, &bytes, count))?;
        let mut arrived = self.arrived()?;
        // What is still on its way arrives within milliseconds.
        loop {
            thread::sleep(Duration::from_millis(2));
            let now = self.arrived()?;
            if now == arrived {
                break;
            }
            arrived = now;
        }
        let arrived = arrived - before;
        ensure!(
            arrived > 0,
            "nothing arrives through the node {}",
            kind.label()
        );
        Ok(arrived as f64 / took.as_secs_f64())
    }

    /// Fails if a node has refused flows: what is measured then is how it refuses.
    fn ensure_served(&self, flows: u32) -> anyhow::Result<()> {
        for (kind, node) in &self.nodes {
            let Some(datapath) = &node.datapath else {
                continue;
            };
            let refused = datapath.drops()?;
            let is_served = refused.values().all(|count| *count == 0);
            ensure!(is_served, "{}, {flows} flows: {refused:?}", kind.label());
        }
        Ok(())
    }

    fn arrived(&self) -> anyhow::Result<u64> {
        Ok(self.arrived.get(&0, 0)?.iter().sum())
    }
}

/// Makes frames; returns how long that and all that they set off took.
fn generate(programs: &Mutex<Ebpf>, frame: &[u8], count: u32) -> anyhow::Result<Duration> {
    let mut programs = programs.lock().map_err(|_poisoned| poisoned())?;
    let begun = Instant::now();
    program(&mut programs, GENERATOR)?.test_run(TestRunOptions {
        data_in: Some(frame),
        repeat: count,
        attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
        ..TestRunOptions::default()
    })?;
    Ok(begun.elapsed())
}

fn program<'a>(programs: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Xdp> {
    let program = programs
        .program_mut(name)
        .with_context(|| name.to_owned())?;
    Ok(program.try_into()?)
}

impl Node {
    /// Makes a node between the two hosts.
    fn up(
        places: &Arc<Places>,
        kind: Kind,
        (source, sink): (&Host, &Host),
        programs: &Arc<Mutex<Ebpf>>,
    ) -> anyhow::Result<Self> {
        let host = Host::alone();
        let [near, far] = ["src", "snk"].map(|side| format!("{side}-{}", kind.label()));
        host.join("in0", source, &near);
        host.join("out0", sink, &far);

        let counter = Arc::clone(programs);
        let device = far.clone();
        sink.run(move || -> anyhow::Result<()> {
            let mut programs = counter.lock().map_err(|_poisoned| poisoned())?;
            program(&mut programs, SINK)?.attach(&device, XdpMode::Driver)?;
            Ok(())
        })?;
        let device = near;
        let (index, own) = source.run(move || {
            // A frame that a driver sends is taken by an end that merges, or has a program.
            set_offload(&device, Offload::Merging, true);
            (index_of(&device), link_address(&device))
        });
        let next = sink.run(move || link_address(&far));
        let arrival = host.run(move || {
            prepare(&next);
            link_address("in0")
        });
        let places = Arc::clone(places);
        let datapath = host.run(move || kind.install(&places))?;
        let (address, port) = kind.dialled();
        let first = Tuple {
            source: CLIENT.into(),
            destination: address.into(),
            source_port: FIRST_PORT.into(),
            destination_port: port.into(),
        };
        Ok(Self {
            datapath,
            _host: host,
            device: index,
            first,
            template: template((own, arrival), (address, port))?,
        })
    }
}

/// Makes a router of the namespace: addresses, routes, the neighbour before backends.
fn prepare(next: &[u8; 6]) {
    set_offload("in0", Offload::Merging, true);
    for command in [
        format!("address add {NODE}/24 dev in0"),
        format!("address add {NODE_TO_BACKENDS}/24 dev out0"),
        "route add 198.51.100.0/24 via 192.0.2.2 dev in0 onlink".to_owned(),
        "route add 10.2.0.0/16 via 203.0.113.2 dev out0".to_owned(),
        format!(
            "neigh add 203.0.113.2 lladdr {} dev out0 nud permanent",
            written(next)
        ),
    ] {
        ip(&command);
    }
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
}

impl Kind {
    /// Installs what translates in this thread's namespace.
    fn install(self, places: &Places) -> anyhow::Result<Option<Datapath>> {
        let (devices, local) = (["in0", "out0"], (NODE, NODE_TO_BACKENDS));
        match self {
            Self::Plain | Self::PlainAgain => Ok(None),
            Self::Iptables => feed(&["iptables-legacy-restore"], &iptables()).map(|()| None),
            Self::Nftables => feed(&["nft", "-f", "-"], &nftables()).map(|()| None),
            Self::Tc => {
                let (mut datapath, _) = places.open("tc", &devices, FastPath::Off)?;
                serve(&mut datapath, &backends(), local)?;
                Ok(Some(datapath))
            }
            Self::Xdp => {
                let (mut datapath, _) = places.open("xdp", &devices, FastPath::Native)?;
                for (device, found) in datapath.accelerations() {
                    ensure!(found.chosen == "native", "{device}: {}", found.reason);
                }
                serve(&mut datapath, &backends(), local)?;
                Ok(Some(datapath))
            }
        }
    }
}

/// The first flow's segment as a frame.
fn template(
    (from, to): ([u8; 6], [u8; 6]),
    (address, port): (Ipv4Addr, u16),
) -> anyhow::Result<[u16; SEGMENT]> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(from, to)
        .ipv4(CLIENT.octets(), address.octets(), 64)
        .tcp(FIRST_PORT, port, 1, 512)
        .ack(1)
        .write(&mut bytes, &[])?;
    let halves: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_ne_bytes([pair[0], pair[1]]))
        .collect();
    halves
        .try_into()
        .map_err(|halves: Vec<u16>| anyhow::anyhow!("{} half words", halves.len()))
}

/// Whoever had the programs has panicked.
fn poisoned() -> anyhow::Error {
    anyhow::anyhow!("the programs that measure are gone")
}

/// The index of a device of this thread's namespace.
pub(crate) fn index_of(device: &str) -> u32 {
    nix::net::if_::if_nametoindex(device).unwrap()
}

/// The link address of a device of this thread's namespace.
pub(crate) fn link_address(device: &str) -> [u8; 6] {
    let output = Command::new("ip")
        .args(["-json", "link", "show", "dev", device])
        .output()
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = said[0]["address"].as_str().unwrap().to_owned();
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    bytes.try_into().unwrap()
}

fn written(address: &[u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}
