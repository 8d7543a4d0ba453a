//! Nanoseconds that the fast path takes for a packet, by what comes of it.
//!
//! A test run gives the program the same packet again and again as the last run has left it. So the flow of these packets is
//! one that turns them into themselves, and a packet is sent until its hops are used up.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, ensure};
use aya::{
    maps::{HashMap, Map, MapData},
    programs::{TestRun as _, TestRunOptions, Xdp, loaded_programs},
};
use aya_obj::programs::XdpAttachType;
use etherparse::PacketBuilder;
use node_dp::datapath::{Datapath, FastPath};
use node_dp_common::{DeviceValue, Flow, FlowKey, FlowState, FlowValue, Tuple};

use crate::{
    Args, Found,
    network::{Host, ip},
    node::Places,
};

/// By which device packets come in a test run.
const LOOPBACK: u32 = 1;

/// The address of the node, and of the router before clients and backends: what is sent to it comes again.
const HERE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTER: &str = "02:00:00:00:00:01";

const TCP: u8 = 6;

/// How many hops a packet has to go, and so how often it is sent.
const HOPS: u8 = 250;

/// How many packets make a sample.
const PACKETS: u32 = 1000;

const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

/// A packet and what comes of it.
struct Case {
    name: &'static str,
    packet: Vec<u8>,
    answer: u32,
}

/// Measures each case in turns.
pub(crate) fn measure(places: &Arc<Places>, args: &Args, found: &mut Found) -> anyhow::Result<()> {
    let host = Host::alone();
    let (places, rounds) = (Arc::clone(places), args.rounds);
    found.ns_per_packet = host.run(move || on_node(&places, rounds))?;
    Ok(())
}

fn on_node(
    places: &Places,
    rounds: u32,
) -> anyhow::Result<std::collections::BTreeMap<&'static str, Vec<f64>>> {
    for command in [
        "link add out0 type veth peer name out1",
        "link set out0 up",
        "link set out1 up",
        "address add 192.0.2.1/24 dev out0",
        "address add fd02::1/64 dev out0 nodad",
        "route add default via 192.0.2.2",
        "route add default via fd02::2",
    ] {
        ip(command);
    }
    for neighbour in ["192.0.2.2", "fd02::2"] {
        ip(&format!(
            "neigh add {neighbour} lladdr {ROUTER} dev out0 nud permanent"
        ));
    }
    for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        fs::write(format!("/proc/sys/net/{family}"), "1")?;
    }
    let (_datapath, bpffs) = places.open("cases", &["out0"], FastPath::Generic)?;
    let mut devices: HashMap<MapData, u32, DeviceValue> = map(&bpffs, "DEVICES")?;
    devices.insert(LOOPBACK, DeviceValue::new(HERE).generic(), 0)?;
    let program = attached("out0")?;
    let cases = cases(&bpffs)?;
    let mut results = std::collections::BTreeMap::new();
    for round in 0..=rounds {
        for case in &cases {
            let ns = run(&program, case)?;
            // The first round warms up.
            if round > 0 {
                results.entry(case.name).or_insert_with(Vec::new).push(ns);
            }
        }
    }
    Ok(results)
}

/// The cases; their flows are entered.
fn cases(bpffs: &Path) -> anyhow::Result<Vec<Case>> {
    let mut flows: HashMap<MapData, FlowKey, FlowValue> = map(bpffs, "FLOWS")?;
    let mut cases = Vec::new();
    for (there, back, client, backend) in [
        (
            "hit_v4",
            "hit_back_v4",
            "198.51.100.9:40000",
            "10.2.0.1:8080",
        ),
        (
            "hit_v6",
            "hit_back_v6",
            "[fd51::9]:40000",
            "[fd00:2::1]:8080",
        ),
    ] {
        let (client, backend): (SocketAddr, SocketAddr) = (client.parse()?, backend.parse()?);
        let tuple = Tuple {
            source: client.ip().into(),
            destination: backend.ip().into(),
            source_port: client.port().into(),
            destination_port: backend.port().into(),
        };
        let flow = Flow {
            dialled: tuple,
            routed: tuple,
            masquerade: tuple.source,
            protocol: TCP,
        };
        let now = Datapath::seconds_since_boot();
        for (key, value) in [
            flow.origin(FlowState::Established, now),
            flow.reply(),
            flow.masquerading(),
            flow.unmasquerading(),
        ] {
            flows.insert(key, value, 0)?;
        }
        let case = |name, from, to| -> anyhow::Result<Case> {
            let (packet, answer) = (segment(from, to)?, XDP_REDIRECT);
            Ok(Case {
                name,
                packet,
                answer,
            })
        };
        cases.extend([case(there, client, backend)?, case(back, backend, client)?]);
    }
    let left = |name, packet| Case {
        name,
        packet,
        answer: XDP_PASS,
    };
    let stranger = segment("198.51.100.9:41000".parse()?, "10.2.0.1:8080".parse()?)?;
    let mut other = stranger.clone();
    other[12..14].copy_from_slice(&[0x88, 0xcc]);
    cases.extend([left("miss", stranger), left("not_ip", other)]);
    Ok(cases)
}

fn segment(from: SocketAddr, to: SocketAddr) -> anyhow::Result<Vec<u8>> {
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], HERE);
    let ip = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => link.ipv4(from.octets(), to.octets(), HOPS),
        (IpAddr::V6(from), IpAddr::V6(to)) => link.ipv6(from.octets(), to.octets(), HOPS),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            anyhow::bail!("{from} and {to} are of two families")
        }
    };
    let mut bytes = Vec::new();
    let segment = ip.tcp(from.port(), to.port(), 1, 512).ack(1);
    segment.write(&mut bytes, &[0; 10])?;
    Ok(bytes)
}

/// The mean time of a packet, in nanoseconds.
fn run(program: &Xdp, case: &Case) -> anyhow::Result<f64> {
    let repeat = match case.answer {
        // The last hop is the kernel's.
        XDP_REDIRECT => u32::from(HOPS) - 1,
        _ => PACKETS,
    };
    let mut samples = Vec::new();
    for _ in 0..PACKETS / repeat {
        let mut out = vec![0; case.packet.len()];
        let result = program.test_run(TestRunOptions {
            data_in: Some(&case.packet),
            data_out: Some(&mut out),
            repeat,
            ..TestRunOptions::default()
        })?;
        // The run in which the kernel is shown a packet does not count.
        if result.return_value == case.answer {
            samples.push(result.duration.as_nanos() as f64);
        }
    }
    ensure!(!samples.is_empty(), "{} did not come about", case.name);
    Ok(samples.iter().sum::<f64>() / samples.len() as f64)
}

fn map<M: TryFrom<Map, Error = aya::maps::MapError>>(
    bpffs: &Path,
    name: &str,
) -> anyhow::Result<M> {
    for entry in fs::read_dir(bpffs)? {
        let path = entry?.path().join(name);
        if path.exists() {
            return Ok(M::try_from(Map::from_map_data(MapData::from_pin(path)?)?)?);
        }
    }
    anyhow::bail!("{name} is not pinned")
}

/// The program at a device.
fn attached(device: &str) -> anyhow::Result<Xdp> {
    let output = std::process::Command::new("ip")
        .args(["-json", "link", "show", "dev", device])
        .output()?;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let id = said[0]["xdp"]["prog"]["id"]
        .as_u64()
        .context("no program is attached")?;
    let found = loaded_programs()
        .filter_map(Result::ok)
        .find(|program| u64::from(program.id()) == id)
        .context("the program is gone")?;
    let name = std::borrow::Cow::Borrowed("attached");
    Ok(Xdp::from_program_info(
        found,
        name,
        XdpAttachType::Interface,
    )?)
}
