//! Node ports dialled on their own node: at any of its addresses from everywhere, at loopback from the node itself alone.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    thread,
};

use nix::sched::{CloneFlags, unshare};
use node_dp::datapath::{Datapath, NodeAddresses};

use crate::{
    fixture::{Node, Service, TCP, UDP, address, any_port, install, ip},
    tcp, udp,
};

/// What is dialled, and where the backend is.
const DIALLED: [(&str, &str); 8] = [
    ("127.0.0.1:30080", "127.0.0.1"),
    ("127.0.0.9:30080", "127.0.0.1"),
    ("0.0.0.0:30080", "127.0.0.1"),
    ("[::ffff:127.0.0.1]:30080", "127.0.0.1"),
    ("192.0.2.1:30080", "127.0.0.1"),
    ("[::1]:30080", "fd00::1"),
    ("[::]:30080", "fd00::1"),
    ("[fd00::4]:30080", "fd00::1"),
];

#[test]
#[ignore = "needs root"]
fn a_node_port_leads_to_a_backend_at_every_address_of_the_node() {
    for (dialled, backend) in DIALLED {
        let node = Node::new();
        node.run(|| {
            let (by_tcp, by_udp) = (tcp::serve(backend), udp::serve(backend));
            let _datapath = open(&node, by_tcp, by_udp);

            let stream = TcpStream::connect(dialled).unwrap();
            assert_eq!(stream.peer_addr().unwrap(), address(dialled));
            assert_eq!(tcp::ask(dialled).unwrap(), by_tcp);
            let any = if address(dialled).is_ipv4() {
                "0.0.0.0"
            } else {
                "::"
            };
            let socket = UdpSocket::bind(any_port(any)).unwrap();
            socket.send_to(b"?", dialled).unwrap();
            assert_eq!(udp::receive(&socket).unwrap(), (address(dialled), by_udp));
        });
    }
}

#[test]
#[ignore = "needs root"]
fn an_address_that_is_not_the_nodes_has_no_node_port() {
    let node = Node::new();
    node.run(|| {
        let server = tcp::serve("fd00::1");
        let _datapath = open(&node, server, server);

        // It is there, as another host's would be, and the agent has not said that it is the node's.
        let error = TcpStream::connect("[fd00::3]:30080").unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
#[ignore = "needs root"]
fn a_pod_finds_node_ports_at_the_nodes_address_and_not_at_its_own_loopback() {
    let node = Node::new();
    node.run(|| {
        let server = tcp::serve("fd00::1");
        let _datapath = open(&node, server, server);
        let pod = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ip("link set lo up");
            // The way to the backend.
            ip("-6 address add fd00::1/128 dev lo nodad");
            tcp::serve_at(server);
            let loopback = ["127.0.0.1:30080", "[::1]:30080", "0.0.0.0:30080"];
            (
                loopback.map(|dialled| TcpStream::connect(dialled).map_err(|e| e.kind()).err()),
                tcp::ask("[fd00::4]:30080").map_err(|error| error.to_string()),
            )
        });

        let (at_loopback, at_the_node) = pod.join().unwrap();

        assert_eq!(at_loopback, [Some(io::ErrorKind::ConnectionRefused); 3]);
        assert_eq!(at_the_node, Ok(server));
    });
}

#[test]
#[ignore = "needs root"]
fn a_cluster_ip_comes_before_a_node_port() {
    let node = Node::new();
    node.run(|| {
        let [at_cluster_ip, at_node_port] = [tcp::serve("fd00::1"), tcp::serve("fd00::2")];
        let mut datapath = open(&node, at_node_port, at_node_port);
        let service = Service::new(9, "[fd00::4]:30080", TCP).group(0, 0, &[at_cluster_ip]);
        install(&mut datapath, &[service]);

        assert_eq!(tcp::ask("[fd00::4]:30080").unwrap(), at_cluster_ip);
    });
}

/// A node with the addresses 192.0.2.1 and fd00::4, and node port 30080 of the servers' family.
fn open(node: &Node, by_tcp: SocketAddr, by_udp: SocketAddr) -> Datapath {
    let (mut datapath, _) = node.open();
    let any = if by_tcp.is_ipv4() { "0.0.0.0" } else { "[::]" };
    let services = [(1, TCP, by_tcp), (2, UDP, by_udp)].map(|(id, protocol, server)| {
        Service::new(id, &format!("{any}:30080"), protocol)
            .at_own_node()
            .group(0, 0, &[server])
    });
    install(&mut datapath, &services);
    let local = ["192.0.2.1", "fd00::4"].map(|ip| ip.parse::<IpAddr>().unwrap());
    let addresses = NodeAddresses {
        local: local.into(),
        ..NodeAddresses::default()
    };
    let mut upkeep = datapath.take_upkeep().unwrap();
    upkeep.set_node(&addresses).unwrap();
    datapath
}
