//! UDP: datagrams to a frontend reach a backend, and replies come from the frontend.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    thread,
    time::Duration,
};

use node_dp_common::DropReason;

use crate::fixture::{Node, Service, UDP, address, any_port, install, refusal};

#[test]
#[ignore = "needs root"]
fn a_connected_socket_hears_the_frontend() {
    connected("10.96.0.1:53", "127.0.0.1", "0.0.0.0", "10.96.0.1:53");
    connected("[fd96::1]:53", "fd00::1", "::", "[fd96::1]:53");
    connected("10.96.0.1:53", "127.0.0.1", "::", "[::ffff:10.96.0.1]:53");
}

#[test]
#[ignore = "needs root"]
fn an_unconnected_socket_hears_the_frontend() {
    unconnected("10.96.0.1:53", "127.0.0.1", "0.0.0.0", "10.96.0.1:53");
    unconnected("[fd96::1]:53", "fd00::1", "::", "[fd96::1]:53");
    unconnected("10.96.0.1:53", "127.0.0.1", "::", "[::ffff:10.96.0.1]:53");
}

#[test]
#[ignore = "needs root"]
fn one_socket_can_talk_to_several_frontends_at_once() {
    let node = Node::new();
    node.run(|| {
        let servers = [serve("127.0.0.1"), serve("127.0.0.2")];
        let frontends = ["10.96.0.1:53", "10.96.0.2:53"];
        let (mut datapath, _) = node.open();
        let services = [0, 1].map(|index: usize| {
            let id = u32::try_from(index).unwrap() + 1;
            Service::new(id, frontends[index], UDP).group(0, 0, &servers[index..=index])
        });
        install(&mut datapath, &services);
        let socket = socket("0.0.0.0");

        // Both are under way before the first reply is read.
        for frontend in frontends {
            socket.send_to(b"?", frontend).unwrap();
        }
        let mut replies = [receive(&socket).unwrap(), receive(&socket).unwrap()];
        replies.sort_unstable();

        assert_eq!(
            replies,
            [
                (address(frontends[0]), servers[0]),
                (address(frontends[1]), servers[1]),
            ]
        );
    });
}

#[test]
#[ignore = "needs root"]
fn datagrams_of_one_socket_stay_with_one_backend() {
    let node = Node::new();
    node.run(|| {
        let servers = ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(serve);
        let (mut datapath, _) = node.open();
        let service = Service::new(1, "10.96.0.1:53", UDP).group(0, 0, &servers);
        install(&mut datapath, &[service]);

        let mut first_answers = Vec::new();
        for _ in 0..100 {
            let socket = socket("0.0.0.0");
            let answers = [0; 5].map(|_| {
                socket.send_to(b"?", "10.96.0.1:53").unwrap();
                receive(&socket).unwrap().1
            });
            assert_eq!(answers, [answers[0]; 5]);
            first_answers.push(answers[0]);
        }

        for server in servers {
            assert!(first_answers.contains(&server), "{server} got none");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_frontend_without_backends_refuses_datagrams() {
    let node = Node::new();
    node.run(|| {
        let (mut datapath, _) = node.open();
        install(&mut datapath, &[Service::new(1, "10.96.0.1:53", UDP)]);

        let sent = socket("0.0.0.0").send_to(b"?", "10.96.0.1:53").unwrap_err();
        let connected = socket("0.0.0.0").connect("10.96.0.1:53").unwrap_err();

        assert_eq!(sent.kind(), refusal(&datapath));
        assert_eq!(connected.kind(), refusal(&datapath));
        assert_eq!(datapath.drops().unwrap()[&DropReason::NoBackend], 2);
    });
}

#[test]
#[ignore = "needs root"]
fn a_socket_that_never_used_a_frontend_hears_backends_as_they_are() {
    let node = Node::new();
    node.run(|| {
        let server = serve("127.0.0.1");
        let (mut datapath, _) = node.open();
        let service = Service::new(1, "10.96.0.1:53", UDP).group(0, 0, &[server]);
        install(&mut datapath, &[service]);
        let socket = socket("0.0.0.0");

        socket.send_to(b"?", server).unwrap();

        assert_eq!(receive(&socket).unwrap(), (server, server));
    });
}

#[test]
#[ignore = "needs root"]
fn a_socket_that_dials_a_backend_itself_sees_the_backend() {
    let node = Node::new();
    node.run(|| {
        let server = serve("127.0.0.1");
        let (mut datapath, _) = node.open();
        let service = Service::new(1, "10.96.0.1:53", UDP).group(0, 0, &[server]);
        install(&mut datapath, &[service]);
        let socket = socket("0.0.0.0");
        socket.connect("10.96.0.1:53").unwrap();
        assert_eq!(socket.peer_addr().unwrap(), address("10.96.0.1:53"));

        socket.connect(server).unwrap();
        socket.send(b"?").unwrap();

        assert_eq!(receive(&socket).unwrap(), (server, server));
        assert_eq!(socket.peer_addr().unwrap(), server);
    });
}

#[test]
#[ignore = "needs root"]
fn a_connected_socket_keeps_its_peer_while_it_sends_elsewhere() {
    let node = Node::new();
    node.run(|| {
        let servers = [serve("127.0.0.1"), serve("127.0.0.2")];
        let (mut datapath, _) = node.open();
        let services = [
            Service::new(1, "10.96.0.1:53", UDP).group(0, 0, &servers[..1]),
            Service::new(2, "10.96.0.2:53", UDP).group(0, 0, &servers[1..]),
        ];
        install(&mut datapath, &services);
        let socket = socket("0.0.0.0");
        socket.connect("10.96.0.1:53").unwrap();

        socket.send_to(b"?", "10.96.0.2:53").unwrap();
        socket.send(b"?").unwrap();

        assert_eq!(
            receive(&socket).unwrap(),
            (address("10.96.0.1:53"), servers[0])
        );
        assert_eq!(socket.peer_addr().unwrap(), address("10.96.0.1:53"));
    });
}

fn connected(frontend: &str, backend: &str, local: &str, dialled: &str) {
    let node = Node::new();
    node.run(|| {
        let server = serve(backend);
        let (mut datapath, _) = node.open();
        let service = Service::new(1, frontend, UDP).group(0, 0, &[server]);
        install(&mut datapath, &[service]);
        let socket = socket(local);

        socket.connect(dialled).unwrap();
        socket.send(b"?").unwrap();

        assert_eq!(receive(&socket).unwrap(), (address(dialled), server));
        assert_eq!(socket.peer_addr().unwrap(), address(dialled));
    });
}

fn unconnected(frontend: &str, backend: &str, local: &str, dialled: &str) {
    let node = Node::new();
    node.run(|| {
        let server = serve(backend);
        let (mut datapath, _) = node.open();
        let service = Service::new(1, frontend, UDP).group(0, 0, &[server]);
        install(&mut datapath, &[service]);
        let socket = socket(local);

        socket.send_to(b"?", dialled).unwrap();

        assert_eq!(receive(&socket).unwrap(), (address(dialled), server));
    });
}

/// A server that answers each datagram with its own address; it lives as long as its process.
pub(crate) fn serve(ip: &str) -> SocketAddr {
    let socket = UdpSocket::bind(any_port(ip)).unwrap();
    let own = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, client)) = socket.recv_from(&mut buffer) {
            // A client that is gone already needs no answer.
            drop(socket.send_to(own.to_string().as_bytes(), client));
        }
    });
    own
}

fn socket(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind(any_port(ip)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket
}

/// Whom a reply seems to come from, and which server sent it.
pub(crate) fn receive(socket: &UdpSocket) -> io::Result<(SocketAddr, SocketAddr)> {
    let mut buffer = [0; 64];
    let (length, from) = socket.recv_from(&mut buffer)?;
    let said = String::from_utf8_lossy(&buffer[..length]);
    Ok((from, said.parse().map_err(io::Error::other)?))
}
