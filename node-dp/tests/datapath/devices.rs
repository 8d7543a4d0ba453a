//! Clients outside of the node, over real devices: node ports reach pods here and elsewhere, and nobody waits in vain.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    thread,
    time::Duration,
};

use aya::programs::{SchedClassifier, TcAttachType};
use node_dp::datapath::{Attachment, Datapath, DatapathConfig, FastPath, NodeAddresses, Upkeep};
use node_dp_common::DropReason;

use crate::{
    fixture::{Node, Service, TCP, UDP, address, install, ip},
    network::{Host, address_of, be_router},
};

/// No answer takes as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

const PORT: u16 = 8080;

/// A node with a client outside, a pod, and a backend elsewhere that knows no way back to the client.
pub(crate) struct World {
    pub(crate) client: Host,
    _pod: Host,
    _elsewhere: Host,
    pub(crate) datapath: Datapath,
    upkeep: Upkeep,
    pub(crate) config: DatapathConfig,
}

impl World {
    pub(crate) fn run(attachment: Attachment, services: &[Service], body: impl FnOnce(&mut Self)) {
        Self::run_with((attachment, FastPath::Off), services, |_| {}, body);
    }

    /// The same with a fast path; each host prepares its device, `eth0`, before.
    pub(crate) fn run_with(
        (attachment, fast_path): (Attachment, FastPath),
        services: &[Service],
        prepare: fn(&str),
        body: impl FnOnce(&mut Self),
    ) {
        let node = Node::new();
        node.run(|| {
            let client = Host::new(
                "out0",
                &["192.0.2.2/24", "fd02::2/64"],
                &["192.0.2.1", "fd02::1"],
            );
            let pod = Host::new(
                "pod0",
                &["10.1.0.1/24", "fd00:1::1/64"],
                &["10.1.0.254", "fd00:1::254"],
            );
            let elsewhere = Host::new("lan0", &["10.2.0.1/24", "fd00:2::1/64"], &[]);
            for (device, address) in [
                ("out0", "192.0.2.1/24"),
                ("out0", "fd02::1/64"),
                ("pod0", "10.1.0.254/24"),
                ("pod0", "fd00:1::254/64"),
                ("lan0", "10.2.0.254/24"),
                ("lan0", "fd00:2::254/64"),
            ] {
                address_of(device, address);
            }
            be_router();
            for host in [&pod, &elsewhere] {
                host.run(serve);
            }
            for host in [&client, &pod, &elsewhere] {
                host.run(move || prepare("eth0"));
            }
            let config = DatapathConfig {
                devices: ["out0", "pod0", "lan0"].map(str::to_owned).into(),
                attachment,
                fast_path,
                ..node.config()
            };
            let (mut datapath, _) = Datapath::open(config.clone()).unwrap();
            install(&mut datapath, services);
            let ips = |texts: &[&str]| {
                texts
                    .iter()
                    .map(|ip| ip.parse::<IpAddr>().unwrap())
                    .collect()
            };
            let addresses = NodeAddresses {
                local: ips(&["192.0.2.1", "fd02::1"]),
                masquerade: ips(&["10.2.0.254", "fd00:2::254"]),
                ..NodeAddresses::default()
            };
            let mut upkeep = datapath.take_upkeep().unwrap();
            upkeep.set_node(&addresses).unwrap();
            body(&mut Self {
                client,
                _pod: pod,
                _elsewhere: elsewhere,
                datapath,
                upkeep,
                config,
            });
        });
    }

    /// Checks that there is an answer by TCP and by UDP.
    pub(crate) fn answers(&self, frontend: &str) {
        for seen in self.ask(frontend) {
            seen.unwrap();
        }
    }

    /// Whom the server at an address says it sees; by TCP and by UDP.
    pub(crate) fn ask(&self, frontend: &str) -> [io::Result<SocketAddr>; 2] {
        let frontend = address(frontend);
        self.client
            .run(move || [ask_tcp(frontend), ask_udp(frontend)])
    }
}

/// The ways to attach programs that the kernel has; filters are always one.
fn attachments() -> BTreeSet<Attachment> {
    BTreeSet::from([Attachment::best(), Attachment::Clsact])
}

/// A node port of each family and protocol, before one backend each.
pub(crate) fn node_ports(v4: &str, v6: &str) -> Vec<Service> {
    let mut services = Vec::new();
    for (any, backend) in [("0.0.0.0", v4), ("[::]", v6)] {
        for protocol in [TCP, UDP] {
            let id = u32::try_from(services.len()).unwrap() + 1;
            let service = Service::new(id, &format!("{any}:30080"), protocol);
            services.push(service.group(0, 0, &[address(backend)]).external());
        }
    }
    services
}

#[test]
#[ignore = "needs root"]
fn a_node_port_leads_to_a_pod_here_which_sees_the_client() {
    for attachment in attachments() {
        let services = node_ports("10.1.0.1:8080", "[fd00:1::1]:8080");
        let services: Vec<Service> = services.into_iter().map(Service::local).collect();
        World::run(attachment, &services, |world| {
            for (frontend, client) in [
                ("192.0.2.1:30080", "192.0.2.2"),
                ("[fd02::1]:30080", "fd02::2"),
            ] {
                for seen in world.ask(frontend) {
                    assert_eq!(seen.unwrap().ip(), client.parse::<IpAddr>().unwrap());
                }
            }
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_node_port_leads_to_a_backend_elsewhere_which_sees_the_node() {
    let services = node_ports("10.2.0.1:8080", "[fd00:2::1]:8080");
    World::run(Attachment::best(), &services, |world| {
        for (frontend, node) in [
            ("192.0.2.1:30080", "10.2.0.254"),
            ("[fd02::1]:30080", "fd00:2::254"),
        ] {
            for seen in world.ask(frontend) {
                assert_eq!(seen.unwrap().ip(), node.parse::<IpAddr>().unwrap());
            }
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_client_of_a_service_without_backends_is_told_at_once() {
    let services: Vec<Service> = ["203.0.113.5:80", "[fd03::5]:80"]
        .into_iter()
        .flat_map(|frontend| [(frontend, TCP), (frontend, UDP)])
        .zip(1..)
        .map(|((frontend, protocol), id)| Service::new(id, frontend, protocol).external())
        .collect();
    World::run(Attachment::best(), &services, |world| {
        for frontend in ["203.0.113.5:80", "[fd03::5]:80"] {
            for answer in world.ask(frontend) {
                assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            }
        }
        assert_eq!(world.datapath.drops().unwrap()[&DropReason::NoBackend], 4);
    });
}

#[test]
#[ignore = "needs root"]
fn a_device_that_comes_later_or_comes_back_is_served() {
    for attachment in attachments() {
        let node = Node::new();
        node.run(|| {
            let config = DatapathConfig {
                devices: vec!["out0".to_owned()],
                attachment,
                ..node.config()
            };
            let (mut datapath, _) = Datapath::open(config).unwrap();
            let is_served = |datapath: &Datapath| datapath.devices()["out0"];
            assert!(!is_served(&datapath));
            assert!(!datapath.follow_devices().unwrap());

            for _ in 0..2 {
                ip("link add out0 type veth peer name out1");
                assert!(datapath.follow_devices().unwrap());
                assert!(is_served(&datapath));
                assert_eq!(attached_to("out0", attachment), 1);
                assert!(!datapath.follow_devices().unwrap());

                ip("link delete out0");
                assert!(datapath.follow_devices().unwrap());
                assert!(!is_served(&datapath));
            }
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_device_without_a_hardware_address_is_served_as_a_tunnel_is() {
    for attachment in attachments() {
        let node = Node::new();
        node.run(|| {
            ip("tuntap add tunnel0 mode tun");
            let config = DatapathConfig {
                devices: vec!["tunnel0".to_owned()],
                attachment,
                ..node.config()
            };
            let (datapath, _) = Datapath::open(config).unwrap();

            assert!(datapath.devices()["tunnel0"]);
            assert_eq!(attached_to("tunnel0", attachment), 1);
        });
    }
}

/// How many programs meet what comes from a device.
fn attached_to(device: &str, attachment: Attachment) -> usize {
    match attachment {
        Attachment::Tcx => {
            let (_, programs) = SchedClassifier::query_tcx(device, TcAttachType::Ingress).unwrap();
            programs.len()
        }
        Attachment::Clsact => {
            let output = Command::new("tc")
                .args(["filter", "show", "dev", device, "ingress"])
                .output()
                .unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            said.matches("direct-action").count()
        }
    }
}

/// Says to everybody whom it sees, by TCP and by UDP, for as long as the host is there.
fn serve() {
    let any = SocketAddr::from(([0; 16], PORT));
    let listener = TcpListener::bind(any).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that is gone already needs no answer.
            drop(stream.and_then(|mut stream| {
                let peer = canonical(stream.peer_addr()?);
                stream.write_all(peer.to_string().as_bytes())
            }));
        }
    });
    let socket = UdpSocket::bind(any).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let said = canonical(peer).to_string();
            // As above.
            drop(socket.send_to(said.as_bytes(), peer));
        }
    });
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn ask_tcp(frontend: SocketAddr) -> io::Result<SocketAddr> {
    let mut stream = TcpStream::connect_timeout(&frontend, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    said.parse().map_err(io::Error::other)
}

fn ask_udp(frontend: SocketAddr) -> io::Result<SocketAddr> {
    let any = if frontend.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(frontend)?;
    socket.send(b"whom do you see")?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    let said = String::from_utf8_lossy(&buffer[..length]);
    said.parse().map_err(io::Error::other)
}

#[test]
#[ignore = "needs root"]
fn silent_flows_are_swept_and_others_go_on() {
    let services = node_ports("10.2.0.1:8080", "[fd00:2::1]:8080");
    World::run(Attachment::best(), &services, |world| {
        let now = Datapath::seconds_since_boot();
        for frontend in ["192.0.2.1:30080", "[fd02::1]:30080"] {
            world.answers(frontend);
        }

        assert_eq!(world.upkeep.sweep(now).unwrap(), 0);
        // The datagrams of both families, once they are silent; then the connections, which both ends have closed.
        assert!(world.upkeep.is_through());
        assert_eq!(world.upkeep.sweep(now + 3600).unwrap(), 4);
        assert_eq!(world.upkeep.sweep(now + 3600).unwrap(), 0);
        world.answers("192.0.2.1:30080");
    });
}

#[test]
#[ignore = "needs root"]
fn a_restarted_agent_keeps_flows_and_leaves_devices_that_it_no_longer_serves() {
    for attachment in attachments() {
        let services = node_ports("10.2.0.1:8080", "[fd00:2::1]:8080");
        World::run(attachment, &services, |world| {
            let mut stream = world
                .client
                .run(|| TcpStream::connect("192.0.2.1:30080").unwrap());

            let mut config = world.config.clone();
            drop(Datapath::open(config.clone()).unwrap());
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            assert!(said.starts_with("10.2.0.254:"), "{said}");

            config.devices.clear();
            drop(Datapath::open(config).unwrap());
            for refused in world.ask("192.0.2.1:30080") {
                assert_eq!(
                    refused.unwrap_err().kind(),
                    io::ErrorKind::ConnectionRefused
                );
            }
        });
    }
}
