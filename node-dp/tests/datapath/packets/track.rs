//! A node with the fast path for single packets: its routes and neighbours, the flows that are under way, and what becomes of a
//! packet.

use std::{borrow::Cow, process::Command};

use aya::{
    maps::{HashMap, Map, MapData},
    programs::{TestRun, TestRunOptions, Xdp, loaded_programs},
};
use aya_obj::programs::XdpAttachType;
use node_dp::datapath::FastPath;
use node_dp_common::{
    DeviceValue,
    Hook::{Egress, Ingress},
    conntrack::TcpFlags,
    next_hop::EthernetAddress,
    port_range::candidate,
};

use super::{
    bench::{Bench, NODE_V4, NODE_V6, Outcome},
    packet::{HERE, Packet, tcp, udp},
};
use crate::{
    fixture::{Service, TCP, UDP, address, ip},
    network::be_router,
};

/// By which device packets come in a test run.
const LOOPBACK: u32 = 1;

/// The routers towards clients, backends, and where nobody answers; all behind `out0`.
pub(super) const NEXT_TO_CLIENTS: EthernetAddress = [2, 0, 0, 0, 0, 0x11];
pub(super) const NEXT_TO_BACKENDS: EthernetAddress = [2, 0, 0, 0, 0, 0x12];

/// The MTU of all routes, which must be locked: else the kernel's answer does not count it for IPv4.
pub(super) const MTU: usize = 1400;

const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// What becomes of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// The kernel gets it as it came.
    Left,
    /// It is sent back by the device that it came by, like this.
    Returned(Vec<u8>),
    /// It leaves by another device, like this.
    Forwarded(Vec<u8>),
}

/// A node whose devices have the fast path, between clients and backends.
pub(super) struct Track<'a> {
    pub(super) bench: &'a mut Bench,
    program: Xdp,
    out: EthernetAddress,
}

impl Track<'_> {
    pub(super) fn run(services: &[Service], body: impl FnOnce(&mut Track<'_>)) {
        Bench::run_with(services, FastPath::Generic, prepare, |bench| {
            let (program, out) = attached("out0");
            let mut track = Track {
                program,
                out,
                bench,
            };
            // A test run's packets come by the loopback device, unless the kernel (5.14) lets one say another.
            track.serve(LOOPBACK, DeviceValue::new(HERE).generic());
            body(&mut track);
        });
    }

    /// Runs with each TCP flow, once it is established.
    pub(super) fn with_each_connection(body: impl Fn(&mut Track<'_>, &Established)) {
        for (flow, service) in flows() {
            if flow.dialled.protocol == TCP {
                Self::run(&[service], |track| {
                    track.establish(&flow);
                    body(track, &flow);
                });
            }
        }
    }

    pub(super) fn serve(&mut self, device: u32, value: DeviceValue) {
        let map = MapData::from_pin(self.bench.maps.join("DEVICES")).unwrap();
        let mut devices: HashMap<MapData, u32, DeviceValue> =
            Map::from_map_data(map).unwrap().try_into().unwrap();
        devices.insert(device, value, 0).unwrap();
    }

    /// What becomes of a packet, other than that the kernel is shown one of a flow every sixteen seconds: a second one of the
    /// same second goes its way.
    pub(super) fn meet(&self, packet: &[u8]) -> Met {
        let met = self.meet_once(packet, None);
        if met != Met::Left {
            return met;
        }
        self.meet_once(packet, None)
    }

    pub(super) fn meet_once(&self, packet: &[u8], context: Option<&[u8]>) -> Met {
        let mut out = vec![0; packet.len() + 256];
        let result = self
            .program
            .test_run(TestRunOptions {
                data_in: Some(packet),
                data_out: Some(&mut out),
                ctx_in: context,
                ..TestRunOptions::default()
            })
            .unwrap();
        out.truncate(usize::try_from(result.data_size_out).unwrap());
        match result.return_value {
            XDP_PASS => {
                assert_eq!(out, packet, "what is left to the kernel is left as it is");
                Met::Left
            }
            XDP_TX => Met::Returned(out),
            XDP_REDIRECT => Met::Forwarded(out),
            other => panic!("the program returned {other}"),
        }
    }

    /// A packet as it leaves by `out0`: with one hop less to go, between that device and a router.
    pub(super) fn sent(&self, packet: Packet, next: EthernetAddress) -> Vec<u8> {
        let mut bytes = packet.hops(packet.hops - 1).bytes();
        bytes[..6].copy_from_slice(&next);
        bytes[6..12].copy_from_slice(&self.out);
        bytes
    }

    /// Lets a flow come about through the programs that decide: both ends have spoken then.
    pub(super) fn establish(&self, flow: &Established) {
        let Established {
            dialled,
            routed,
            wire,
        } = *flow;
        let [first, answer, last] = match dialled.protocol {
            UDP => [0; 3],
            _ => [TcpFlags::SYN, TcpFlags::SYN | TcpFlags::ACK, TcpFlags::ACK],
        };
        let pass = |hook, packet: Packet, flags| {
            let met = self.bench.pass(hook, &packet.flags(flags).bytes());
            assert!(matches!(met, Outcome::Passed(_)), "{packet:?}: {met:?}");
        };
        pass(Ingress, dialled, first);
        pass(Egress, routed, first);
        pass(Ingress, wire.reply(), answer);
        pass(Egress, routed.reply(), answer);
        pass(Ingress, dialled, last);
    }

    /// Whether the kernel lets a test run say by which device its packet comes (5.14).
    pub(super) fn can_choose_device(&self, packet: &[u8], context: &[u8]) -> bool {
        let mut out = vec![0; packet.len()];
        let tried = self.program.test_run(TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut out),
            ctx_in: Some(context),
            ..TestRunOptions::default()
        });
        tried.is_ok()
    }
}

/// One packet of a client in a flow that is under way, as it comes, as the kernel routes it, and as it leaves.
#[derive(Clone, Copy)]
pub(super) struct Established {
    pub(super) dialled: Packet,
    pub(super) routed: Packet,
    pub(super) wire: Packet,
}

/// A flow of each family and protocol, with its service, whose backend is elsewhere.
pub(super) fn flows() -> Vec<(Established, Service)> {
    let ack = TcpFlags::ACK;
    [
        (tcp("198.51.100.9:40000", "203.0.113.5:80", ack), BACKEND_V4),
        (udp("198.51.100.9:40000", "203.0.113.5:53"), BACKEND_V4),
        (tcp("[fd51::9]:40000", "[fd03::5]:80", ack), BACKEND_V6),
        (udp("[fd51::9]:40000", "[fd03::5]:53"), BACKEND_V6),
    ]
    .map(|(dialled, backend)| flow(dialled.payload(b"what is the time"), backend))
    .into()
}

pub(super) const BACKEND_V4: &str = "10.2.0.1:8080";
pub(super) const BACKEND_V6: &str = "[fd00:2::1]:8080";

pub(super) fn flow(dialled: Packet, backend: &str) -> (Established, Service) {
    let backend = address(backend);
    let port = candidate(dialled.tuple().hash(dialled.protocol), 0).number();
    let mut client = dialled.from;
    client.set_port(port);
    let mut node = client;
    node.set_ip(
        if client.is_ipv4() { NODE_V4 } else { NODE_V6 }
            .parse()
            .unwrap(),
    );
    let established = Established {
        dialled,
        routed: dialled.between(client, backend),
        wire: dialled.between(node, backend),
    };
    let service = Service::new(1, &dialled.to.to_string(), dialled.protocol);
    (established, service.group(0, 0, &[backend]).external())
}

fn prepare() {
    for command in [
        "link set out0 up",
        "link set out1 up",
        "address add 192.0.2.1/24 dev out0",
        "address add fd02::1/64 dev out0 nodad",
    ] {
        ip(command);
    }
    be_router();
    for (to, gateway) in [
        ("198.51.100.0/24", "192.0.2.11"),
        ("fd51::/64", "fd02::11"),
        ("10.2.0.0/16", "192.0.2.12"),
        ("fd00:2::/64", "fd02::12"),
        ("10.9.0.0/16", "192.0.2.99"),
        ("fd00:9::/64", "fd02::99"),
    ] {
        ip(&format!(
            "route add {to} via {gateway} dev out0 mtu lock {MTU}"
        ));
    }
    for (neighbours, link) in [
        (["192.0.2.11", "fd02::11"], "02:00:00:00:00:11"),
        (["192.0.2.12", "fd02::12"], "02:00:00:00:00:12"),
    ] {
        for neighbour in neighbours {
            ip(&format!(
                "neigh add {neighbour} lladdr {link} dev out0 nud permanent"
            ));
        }
    }
}

/// The program that the kernel runs in place of the driver of a device, and the device's hardware address.
fn attached(device: &str) -> (Xdp, EthernetAddress) {
    let output = Command::new("ip")
        .args(["-json", "link", "show", "dev", device])
        .output()
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let id = said[0]["xdp"]["prog"]["id"]
        .as_u64()
        .expect("a program is attached");
    let found = loaded_programs()
        .filter_map(Result::ok)
        .find(|program| u64::from(program.id()) == id);
    let program = Xdp::from_program_info(
        found.expect("the program is loaded"),
        Cow::Borrowed("attached"),
        XdpAttachType::Interface,
    );
    let text = said[0]["address"].as_str().unwrap();
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    (program.unwrap(), bytes.try_into().unwrap())
}

/// A `struct xdp_md` that says by which device a packet comes.
pub(super) fn context(packet: &[u8], device: u32) -> Vec<u8> {
    let length = u32::try_from(packet.len()).unwrap();
    [0, length, 0, device, 0, 0]
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect()
}
