//! Sockets whose backend is gone: their owners hear of it at once, in every network namespace; all others go on.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command},
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, unshare};
use node_dp::datapath::{Connections, Datapath};
use node_dp_common::{BackendValue, FrontendKey};
use node_dp_core::departure::{Departed, Gone};

use crate::fixture::{Node, Service, TCP, UDP, address, any_port, install, ip};

/// No error takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is dialled: a frontend and, as a socket writes it, its address; and where its backend is.
const DIALLED: [(&str, &str, &str); 3] = [
    ("10.96.0.1:80", "10.96.0.1:80", "127.0.0.1"),
    ("[fd96::1]:80", "[fd96::1]:80", "fd00::1"),
    ("10.96.0.1:80", "[::ffff:10.96.0.1]:80", "127.0.0.1"),
];

#[test]
#[ignore = "needs root"]
fn a_connection_to_a_gone_backend_ends_at_once_and_others_go_on() {
    for (frontend, dialled, backend) in DIALLED {
        let node = Node::new();
        node.run(|| {
            let server = serve_tcp(backend);
            let (connections, _datapath) = open(&node, frontend, TCP, server);
            let mut stale = connect(dialled);
            let mut other_frontend = connect(other(server));
            let mut direct = connect(&server.to_string());

            let count = connections
                .destroy(&departed(frontend, TCP, server))
                .unwrap();

            assert_eq!(count, 1);
            let error = stale.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            for stream in [&mut other_frontend, &mut direct] {
                stream.write_all(b"?").unwrap();
                stream.read_exact(&mut [0]).unwrap();
            }
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_connected_datagram_socket_hears_that_its_backend_is_gone() {
    for (frontend, dialled, backend) in DIALLED {
        let node = Node::new();
        node.run(|| {
            let server = serve_udp(backend);
            let (connections, _datapath) = open(&node, frontend, UDP, server);
            let [stale, other_frontend, direct] =
                [dialled, other(server), &server.to_string()].map(associate);

            let count = connections
                .destroy(&departed(frontend, UDP, server))
                .unwrap();

            assert_eq!(count, 1);
            let error = stale.recv(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            for socket in [other_frontend, direct] {
                socket.send(b"?").unwrap();
                socket.recv(&mut [0]).unwrap();
            }
        });
    }
}

#[test]
#[ignore = "needs root"]
fn sockets_are_found_in_every_network_namespace_of_the_cgroup() {
    let node = Node::new();
    node.run(|| {
        let server = address("127.0.0.1:8080");
        let (connections, _datapath) = open(&node, "10.96.0.1:80", TCP, server);
        let pods = [0, 1, 2].map(|_| {
            let pod = thread::spawn(move || {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                ip("link set lo up");
                echo_tcp(TcpListener::bind(server).unwrap());
                Pod {
                    stream: connect("10.96.0.1:80"),
                    process: Command::new("sleep").arg("600").spawn().unwrap(),
                }
            });
            pod.join().unwrap()
        });

        let count = connections.destroy(&departed("10.96.0.1:80", TCP, server));

        assert_eq!(count.unwrap(), pods.len());
        for mut pod in pods {
            let error = pod.stream.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn connections_to_a_cluster_that_is_out_end_at_once_and_those_to_others_go_on() {
    for (frontend, dialled, backend) in DIALLED {
        let node = Node::new();
        node.run(|| {
            let (mut datapath, _) = node.open();
            let connections = datapath.take_connections().unwrap();
            let [by_tcp, by_udp] = [serve_tcp(backend), serve_udp(backend)];
            // West's, and the same server as a backend of east.
            let east = other(by_tcp);
            let services = [
                Service::new(1, frontend, TCP).group(1, 0, &[by_tcp]),
                Service::new(2, frontend, UDP).group(1, 0, &[by_udp]),
                Service::new(3, east, TCP).group(0, 0, &[by_tcp]),
                Service::new(4, east, UDP).group(0, 0, &[by_udp]),
            ];
            install(&mut datapath, &services);
            let (mut stale, mut kept) = (connect(dialled), connect(east));
            let (stale_socket, kept_socket) = (associate(dialled), associate(east));

            let gone = Gone {
                clusters: [1].into(),
                ..Gone::default()
            };
            assert_eq!(connections.destroy(&gone).unwrap(), 2);

            let error = stale.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            let error = stale_socket.recv(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            kept.write_all(b"?").unwrap();
            kept.read_exact(&mut [0]).unwrap();
            kept_socket.send(b"?").unwrap();
            kept_socket.recv(&mut [0]).unwrap();
        });
    }
}

/// A network namespace with a client in it, and the process by which it is found.
struct Pod {
    stream: TcpStream,
    process: Child,
}

impl Drop for Pod {
    fn drop(&mut self) {
        // It may have been ended with the test.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A node where a frontend and another one lead to a server.
fn open(node: &Node, frontend: &str, protocol: u8, server: SocketAddr) -> (Connections, Datapath) {
    let (mut datapath, _) = node.open();
    let connections = datapath.take_connections().unwrap();
    let services = [(1, frontend), (2, other(server))]
        .map(|(id, frontend)| Service::new(id, frontend, protocol).group(0, 0, &[server]));
    install(&mut datapath, &services);
    (connections, datapath)
}

/// Another frontend of a server, of its family.
fn other(server: SocketAddr) -> &'static str {
    if server.is_ipv4() {
        "10.96.0.9:80"
    } else {
        "[fd96::9]:80"
    }
}

fn departed(frontend: &str, protocol: u8, server: SocketAddr) -> Gone {
    let frontend = address(frontend);
    let departed = Departed {
        frontend: FrontendKey::new(frontend.ip(), frontend.port(), protocol),
        backend: BackendValue::new(server.ip(), server.port()),
    };
    Gone {
        backends: [departed].into(),
        ..Gone::default()
    }
}

/// A connection that has been answered once.
fn connect(dialled: &str) -> TcpStream {
    let mut stream = TcpStream::connect(dialled).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"?").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    stream
}

/// A connected socket that has been answered once.
fn associate(dialled: &str) -> UdpSocket {
    let any = if dialled.starts_with('[') {
        "::"
    } else {
        "0.0.0.0"
    };
    let socket = UdpSocket::bind(any_port(any)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(dialled).unwrap();
    socket.send(b"?").unwrap();
    socket.recv(&mut [0]).unwrap();
    socket
}

fn serve_tcp(ip: &str) -> SocketAddr {
    let listener = TcpListener::bind(any_port(ip)).unwrap();
    let own = listener.local_addr().unwrap();
    echo_tcp(listener);
    own
}

/// Gives back each byte, of as many connections as there are.
fn echo_tcp(listener: TcpListener) {
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
}

/// Gives back each datagram.
fn serve_udp(ip: &str) -> SocketAddr {
    let socket = UdpSocket::bind(any_port(ip)).unwrap();
    let own = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut byte = [0];
        while let Ok((_, client)) = socket.recv_from(&mut byte) {
            // A client that is gone already needs no answer.
            drop(socket.send_to(&byte, client));
        }
    });
    own
}
