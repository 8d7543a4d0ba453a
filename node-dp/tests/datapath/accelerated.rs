//! The fast path at real devices: clients see no difference, and it comes, stays and goes as it should.

use std::{
    fs, io,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    process::Command,
};

use aya::{
    Ebpf,
    programs::{Xdp, XdpMode},
};
use node_dp::datapath::{Attachment, Datapath, DatapathConfig, FastPath};

use crate::{
    devices::{PATIENCE, World, node_ports},
    fixture::{Node, Service, address, ip},
    network::{Offload, set_offload},
    wait::eventually,
};

/// Somebody else's program: the one of the bench that counts packets.
static OTHER: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/load.o"));

/// The modes of the fast path, and what comes of each at a veth whose other end takes frames.
const CHOSEN: [(FastPath, &str); 3] = [
    (FastPath::Native, "native"),
    (FastPath::Generic, "generic"),
    (FastPath::Auto, "native"),
];

/// As from a network card: checksums are there, and frames of drivers are taken.
fn like_a_card(device: &str) {
    set_offload(device, Offload::Checksums, false);
    set_offload(device, Offload::Merging, true);
}

/// Frames of drivers are taken, and checksums are left to whoever needs them, as between namespaces.
fn like_a_neighbour(device: &str) {
    set_offload(device, Offload::Merging, true);
}

fn services() -> Vec<Service> {
    node_ports("10.2.0.1:8080", "[fd00:2::1]:8080")
}

const FRONTENDS: [&str; 2] = ["192.0.2.1:30080", "[fd02::1]:30080"];

#[test]
#[ignore = "needs root"]
fn clients_are_served_as_ever_and_the_fast_path_forwards_what_is_under_way() {
    for (fast_path, chosen) in CHOSEN {
        let attachment = Attachment::best();
        World::run_with((attachment, fast_path), &services(), like_a_card, |world| {
            let found = world.datapath.accelerations();
            let all: Vec<&str> = found.values().map(|found| found.chosen).collect();
            assert_eq!(all, [chosen; 3], "{found:?}");

            for frontend in FRONTENDS {
                let before = world.datapath.forwarded().unwrap();
                for seen in world.ask(frontend) {
                    assert!(
                        ["10.2.0.254", "fd00:2::254"].contains(&&*seen.unwrap().ip().to_string())
                    );
                }
                converse(world, frontend);
                // All but the first datagram there and back, and what the kernel is shown.
                let forwarded = world.datapath.forwarded().unwrap() - before;
                assert!(forwarded >= 10, "{frontend}: {forwarded} packets");
            }
        });
    }
}

#[test]
#[ignore = "needs root"]
fn connections_whose_checksums_a_neighbour_left_open_are_served_too() {
    for (fast_path, _) in CHOSEN {
        let attachment = Attachment::Clsact;
        World::run_with(
            (attachment, fast_path),
            &services(),
            like_a_neighbour,
            |world| {
                for frontend in FRONTENDS {
                    for seen in world.ask(frontend) {
                        seen.unwrap();
                    }
                    converse(world, frontend);
                }
            },
        );
    }
}

#[test]
#[ignore = "needs root"]
fn a_connection_goes_on_while_the_fast_path_is_turned_on_changed_and_off() {
    let off = (Attachment::best(), FastPath::Off);
    World::run_with(off, &services(), like_a_card, |world| {
        let frontend = address(FRONTENDS[0]);
        let socket = world.client.run(move || socket(frontend));
        let wishes = [
            (FastPath::Native, "native"),
            (FastPath::Native, "native"),
            (FastPath::Generic, "generic"),
            (FastPath::Auto, "native"),
            (FastPath::Off, "none"),
        ];
        for (fast_path, mode) in wishes {
            let config = DatapathConfig {
                fast_path,
                ..world.config.clone()
            };
            // The former one's links are pinned, and outlive it.
            world.datapath = Datapath::open(config).unwrap().0;
            assert_eq!(running("out0").map_or("none", |(mode, _)| mode), mode);
            let asked = socket.try_clone().unwrap();
            world.client.run(move || exchange(&asked).unwrap());
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_restarted_agent_swaps_the_program_of_the_link_that_is_there() {
    at_a_pair(FastPath::Native, |node, config| {
        drop(Datapath::open(config.clone()).unwrap());
        let first = running("out0").unwrap();
        let links = links(node);

        let (datapath, _) = Datapath::open(config).unwrap();
        let second = running("out0").unwrap();
        assert_eq!(first.0, second.0);
        assert_ne!(first.1, second.1, "it runs the new agent's program");
        assert_eq!(self::links(node), links);
        assert_eq!(datapath.accelerations()["out0"].chosen, "native");
    });
}

#[test]
#[ignore = "needs root"]
fn a_device_that_comes_back_has_the_fast_path_again() {
    at_a_pair(FastPath::Native, |_, config| {
        let (mut datapath, _) = Datapath::open(config).unwrap();
        for _ in 0..2 {
            assert!(running("out0").is_some());
            ip("link delete out0");
            assert!(datapath.follow_devices().unwrap());
            assert_eq!(datapath.accelerations().len(), 0);

            make_pair();
            assert!(datapath.follow_devices().unwrap());
            assert_eq!(datapath.accelerations()["out0"].chosen, "native");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn another_program_is_left_alone_and_why_there_is_no_fast_path_is_said() {
    for mode in [XdpMode::Driver, XdpMode::Skb] {
        for fast_path in [FastPath::Auto, FastPath::Native, FastPath::Generic] {
            at_a_pair(fast_path, |_, config| {
                let mut others = Ebpf::load(OTHER).unwrap();
                let other: &mut Xdp = others
                    .program_mut("isthmus_sink")
                    .unwrap()
                    .try_into()
                    .unwrap();
                other.load().unwrap();
                other.attach("out0", mode).unwrap();
                let before = running("out0");

                let (datapath, _) = Datapath::open(config).unwrap();
                let found = &datapath.accelerations()["out0"];
                assert_eq!(found.chosen, "none");
                assert!(
                    found.reason.contains("another XDP program"),
                    "{}",
                    found.reason
                );
                assert_eq!(running("out0"), before);
                assert!(datapath.devices()["out0"], "it is served without");
            });
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_veth_whose_other_end_takes_no_frames_is_not_trusted_with_any() {
    for (fast_path, chosen, mode) in [
        (FastPath::Auto, "generic", Some("generic")),
        (FastPath::Native, "none", None),
    ] {
        at_a_pair(fast_path, |_, config| {
            set_offload("out1", Offload::Merging, false);
            let (datapath, _) = Datapath::open(config).unwrap();
            let found = &datapath.accelerations()["out0"];
            assert_eq!(found.chosen, chosen);
            assert!(found.reason.contains("takes no frames"), "{}", found.reason);
            assert_eq!(running("out0").map(|(mode, _)| mode), mode);
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_veth_whose_other_end_stops_taking_frames_loses_none() {
    let native = (Attachment::best(), FastPath::Native);
    World::run_with(native, &services(), like_a_card, |world| {
        let frontend = address(FRONTENDS[0]);
        let socket = world.client.run(move || socket(frontend));
        let asked = socket.try_clone().unwrap();
        world.client.run(move || exchange(&asked).unwrap());

        world
            .client
            .run(|| set_offload("eth0", Offload::Merging, false));
        world.datapath.follow_devices().unwrap();
        // What was right within a second may still be lost.
        eventually("an answer comes", || {
            let asked = socket.try_clone().unwrap();
            world.client.run(move || exchange(&asked)).is_ok()
        });
    });
}

#[test]
#[ignore = "needs root"]
fn a_device_without_link_headers_goes_without_and_says_so() {
    let node = Node::new();
    node.run(|| {
        ip("tuntap add tunnel0 mode tun");
        let config = DatapathConfig {
            devices: vec!["tunnel0".to_owned()],
            fast_path: FastPath::Auto,
            ..node.config()
        };
        let (datapath, _) = Datapath::open(config).unwrap();
        let found = &datapath.accelerations()["tunnel0"];
        assert_eq!(found.chosen, "none");
        assert!(found.reason.contains("Ethernet"), "{}", found.reason);
        assert!(datapath.devices()["tunnel0"]);
    });
}

#[test]
#[ignore = "needs root"]
fn nothing_is_left_of_it_when_all_is_removed() {
    at_a_pair(FastPath::Native, |node, config| {
        drop(Datapath::open(config).unwrap());
        assert!(running("out0").is_some());

        Datapath::detach_all(&node.bpffs()).unwrap();
        assert_eq!(running("out0"), None);
    });
}

/// A node with a veth whose other end takes frames.
fn at_a_pair(fast_path: FastPath, body: impl FnOnce(&Node, DatapathConfig)) {
    let node = Node::new();
    node.run(|| {
        make_pair();
        let config = DatapathConfig {
            devices: vec!["out0".to_owned()],
            fast_path,
            ..node.config()
        };
        body(&node, config);
    });
}

fn make_pair() {
    ip("link add out0 type veth peer name out1");
    ip("link set out0 up");
    ip("link set out1 up");
    set_offload("out1", Offload::Merging, true);
}

/// The mode and the number of the program that runs at a device.
fn running(device: &str) -> Option<(&'static str, u64)> {
    let output = Command::new("ip")
        .args(["-json", "link", "show", "dev", device])
        .output()
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = &said[0]["xdp"];
    let mode = match found["mode"].as_u64()? {
        1 => "native",
        2 => "generic",
        mode => panic!("mode {mode}"),
    };
    Some((mode, found["prog"]["id"].as_u64()?))
}

fn links(node: &Node) -> Vec<PathBuf> {
    let entries = fs::read_dir(node.bpffs().join("links")).unwrap();
    let mut links: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    links.sort();
    links
}

/// Asks a dozen times by one flow of datagrams.
fn converse(world: &World, frontend: &str) {
    let frontend = address(frontend);
    world.client.run(move || {
        let socket = socket(frontend);
        for _ in 0..12 {
            exchange(&socket).unwrap();
        }
    });
}

fn socket(frontend: SocketAddr) -> UdpSocket {
    let any = if frontend.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(frontend).unwrap();
    socket
}

fn exchange(socket: &UdpSocket) -> io::Result<()> {
    socket.send(b"whom do you see")?;
    socket.recv(&mut [0; 64]).map(drop)
}
