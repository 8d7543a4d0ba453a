//! Session affinity at the socket: a network namespace keeps its backend, as long as that is there and it comes back in time.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, unshare};
use node_dp::datapath::Datapath;
use node_dp_common::ClusterState;

use crate::{
    fixture::{Node, Service, TCP, UDP, any_port, install, ip, put_cluster, replace},
    wait::eventually,
};

/// What a test waits for comes sooner.
const DEADLINE: Duration = Duration::from_secs(45);

const V4: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
const V6: [&str; 3] = ["fd00::1", "fd00::2", "fd00::3"];

#[test]
#[ignore = "needs root"]
fn all_connections_of_a_namespace_go_to_one_backend() {
    for (frontend, ips) in [("10.96.0.1:80", V4), ("[fd96::1]:80", V6)] {
        let node = Node::new();
        node.run(|| {
            let servers = ips.map(serve);
            let (mut datapath, _) = node.open();
            install(
                &mut datapath,
                &[TCP, UDP].map(|protocol| {
                    Service::new(u32::from(protocol), frontend, protocol)
                        .group(0, 0, &servers)
                        .with_affinity(600)
                }),
            );

            assert_eq!(seen(20, || ask_tcp(frontend)).len(), 1);
            assert_eq!(seen(20, || ask_udp(frontend)).len(), 1);
            assert_eq!(seen(20, || connect_udp(frontend)).len(), 1);
        });
    }
}

#[test]
#[ignore = "needs root"]
fn namespaces_spread_and_each_keeps_its_backend() {
    let node = Node::new();
    node.run(|| {
        let (mut datapath, _) = node.open();
        let servers = V4.map(|ip| SocketAddr::new(ip.parse().unwrap(), 8080));
        install(
            &mut datapath,
            &[Service::new(1, "10.96.0.1:80", TCP)
                .group(0, 0, &servers)
                .with_affinity(600)],
        );

        let namespaces = (0..20).map(|_| {
            let answers = thread::spawn(move || {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                ip("link set lo up");
                for server in servers {
                    serve_tcp(TcpListener::bind(server).unwrap());
                }
                seen(5, || ask_tcp("10.96.0.1:80"))
            });
            answers.join().unwrap()
        });
        let answers: Vec<BTreeSet<SocketAddr>> = namespaces.collect();

        assert!(
            answers.iter().all(|answers| answers.len() == 1),
            "{answers:?}"
        );
        let all: BTreeSet<SocketAddr> = answers.into_iter().flatten().collect();
        assert!(all.len() > 1, "twenty clients chose {all:?}");
    });
}

#[test]
#[ignore = "needs root"]
fn a_client_keeps_its_backend_when_others_leave_and_takes_another_when_it_leaves_itself() {
    for protocol in [TCP, UDP] {
        let node = Node::new();
        node.run(|| {
            let servers = V4.map(serve);
            let ask = || match protocol {
                TCP => ask_tcp("10.96.0.1:80"),
                _ => ask_udp("10.96.0.1:80"),
            };
            let (mut datapath, _) = node.open();
            let service = |servers: &[SocketAddr]| {
                [Service::new(1, "10.96.0.1:80", protocol)
                    .group(0, 0, servers)
                    .with_affinity(600)]
            };
            install(&mut datapath, &service(&servers));
            let first = ask();

            // In other slots, with one backend less, then alone.
            let mut others: Vec<SocketAddr> = servers.to_vec();
            others.retain(|server| *server != first);
            replace(&mut datapath, &service(&[others[0], first]));
            assert_eq!(seen(5, ask), [first].into());
            replace(&mut datapath, &service(&others));
            let second = seen(5, ask);
            assert_eq!(second.len(), 1);
            assert!(!second.contains(&first));

            // It returns; its client has moved on.
            replace(&mut datapath, &service(&servers));
            assert_eq!(seen(5, ask), second);
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_client_leaves_a_cluster_that_is_out() {
    let node = Node::new();
    node.run(|| {
        let [east, west, _] = V4.map(serve);
        let (mut datapath, _) = node.open();
        let service = Service::new(1, "10.96.0.1:80", TCP)
            .group(0, 0, &[east])
            .group(1, 1, &[west])
            .with_affinity(600);
        install(&mut datapath, &[service]);
        assert_eq!(ask_tcp("10.96.0.1:80"), east);

        put_cluster(&mut datapath, 0, "east", ClusterState::Down);
        assert_eq!(ask_tcp("10.96.0.1:80"), west);

        // Its affinity is to west from now on.
        put_cluster(&mut datapath, 0, "east", ClusterState::Up);
        assert_eq!(ask_tcp("10.96.0.1:80"), west);
    });
}

#[test]
#[ignore = "needs root"]
fn a_client_that_was_away_for_too_long_may_get_another_backend() {
    let node = Node::new();
    node.run(|| {
        let servers = V4.map(serve);
        let (mut datapath, _) = node.open();
        let service = Service::new(1, "10.96.0.1:80", TCP)
            .group(0, 0, &servers)
            .with_affinity(1);
        install(&mut datapath, &[service]);
        let first = ask_tcp("10.96.0.1:80");

        eventually("it gets another backend", || {
            let last = Datapath::seconds_since_boot();
            eventually("it was away for longer than it is kept", || {
                Datapath::seconds_since_boot() > last + 1
            });
            ask_tcp("10.96.0.1:80") != first
        });
    });
}

/// Whom so many connections reach.
fn seen(count: usize, ask: impl Fn() -> SocketAddr) -> BTreeSet<SocketAddr> {
    (0..count).map(|_| ask()).collect()
}

/// A server that tells each client its own address, by TCP and UDP; it lives as long as its process.
fn serve(ip: &str) -> SocketAddr {
    let listener = TcpListener::bind(any_port(ip)).unwrap();
    let own = listener.local_addr().unwrap();
    serve_tcp(listener);
    let socket = UdpSocket::bind(own).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, client)) = socket.recv_from(&mut buffer) {
            // A client that is gone already needs no answer.
            drop(socket.send_to(own.to_string().as_bytes(), client));
        }
    });
    own
}

fn serve_tcp(listener: TcpListener) {
    let own = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // As above.
            drop(stream.and_then(|mut stream| stream.write_all(own.to_string().as_bytes())));
        }
    });
}

fn ask_tcp(frontend: &str) -> SocketAddr {
    let mut said = String::new();
    let mut stream = TcpStream::connect(frontend).unwrap();
    stream.read_to_string(&mut said).unwrap();
    said.parse().unwrap()
}

/// Asks by a datagram of a socket that is not connected.
fn ask_udp(frontend: &str) -> SocketAddr {
    let socket = socket(frontend);
    socket.send_to(b"?", frontend).unwrap();
    answer(&socket)
}

/// Asks by a datagram of a connected socket.
fn connect_udp(frontend: &str) -> SocketAddr {
    let socket = socket(frontend);
    socket.connect(frontend).unwrap();
    socket.send(b"?").unwrap();
    answer(&socket)
}

fn socket(frontend: &str) -> UdpSocket {
    let any = if frontend.starts_with('[') {
        "::"
    } else {
        "0.0.0.0"
    };
    let socket = UdpSocket::bind(any_port(any)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

fn answer(socket: &UdpSocket) -> SocketAddr {
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).unwrap();
    let said = String::from_utf8_lossy(&buffer[..length]);
    said.parse().unwrap()
}
