//! TCP: connecting to a frontend reaches a backend, and the peer is the frontend.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use node_dp_common::{ClusterState, DropReason};

use crate::fixture::{Node, Service, TCP, any_port, install, put_cluster, refusal};

#[test]
#[ignore = "needs root"]
fn an_ipv4_frontend_leads_to_its_backend_and_looks_like_the_peer() {
    reaches("10.96.0.1:80", "127.0.0.1", "10.96.0.1:80");
}

#[test]
#[ignore = "needs root"]
fn an_ipv6_frontend_leads_to_its_backend_and_looks_like_the_peer() {
    reaches("[fd96::1]:80", "fd00::1", "[fd96::1]:80");
}

#[test]
#[ignore = "needs root"]
fn an_ipv6_socket_reaches_an_ipv4_frontend() {
    reaches("10.96.0.1:80", "127.0.0.1", "[::ffff:10.96.0.1]:80");
}

#[test]
#[ignore = "needs root"]
fn every_backend_gets_connections() {
    let node = Node::new();
    node.run(|| {
        let servers = [serve("127.0.0.1"), serve("127.0.0.2"), serve("127.0.0.3")];
        let (mut datapath, _) = node.open();
        let service = Service::new(1, "10.96.0.1:80", TCP)
            .group(0, 0, &servers[..2])
            .group(1, 0, &servers[2..]);
        install(&mut datapath, &[service]);

        // Each of 200 connections misses one of three with a chance of 3/4 at most: all of them, never.
        let answered: Vec<_> = (0..200).map(|_| ask("10.96.0.1:80").unwrap()).collect();

        for server in servers {
            assert!(answered.contains(&server), "{server} got none");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_frontend_without_backends_refuses_at_once_and_counts_it() {
    let node = Node::new();
    node.run(|| {
        let (mut datapath, _) = node.open();
        install(&mut datapath, &[Service::new(1, "10.96.0.1:80", TCP)]);

        let error = ask("10.96.0.1:80").unwrap_err();

        assert_eq!(error.kind(), refusal(&datapath));
        assert_eq!(datapath.drops().unwrap()[&DropReason::NoBackend], 1);
    });
}

#[test]
#[ignore = "needs root"]
fn one_write_takes_a_cluster_out() {
    let node = Node::new();
    node.run(|| {
        let [east, west] = [serve("127.0.0.1"), serve("127.0.0.2")];
        let (mut datapath, _) = node.open();
        let services = ["10.96.0.1:80", "10.96.0.2:80"].map(|frontend| {
            let id = if frontend == "10.96.0.1:80" { 1 } else { 2 };
            Service::new(id, frontend, TCP)
                .group(0, 0, &[east])
                .group(1, 1, &[west])
        });
        install(&mut datapath, &services);
        assert_eq!(ask("10.96.0.1:80").unwrap(), east);

        put_cluster(&mut datapath, 0, "east", ClusterState::Down);

        assert_eq!(ask("10.96.0.1:80").unwrap(), west);
        assert_eq!(ask("10.96.0.2:80").unwrap(), west);

        put_cluster(&mut datapath, 1, "west", ClusterState::Drill);

        let error = ask("10.96.0.1:80").unwrap_err();
        assert_eq!(error.kind(), refusal(&datapath));
        assert_eq!(datapath.drops().unwrap()[&DropReason::NoLiveCluster], 1);
    });
}

#[test]
#[ignore = "needs root"]
fn a_backend_that_is_not_there_refuses_and_counts_it() {
    let node = Node::new();
    node.run(|| {
        let backend = serve("127.0.0.1");
        let (mut datapath, _) = node.open();
        let ops = Service::new(1, "10.96.0.1:80", TCP)
            .group(0, 0, &[backend])
            .ops();
        put_cluster(&mut datapath, 0, "east", ClusterState::Up);
        datapath.apply(ops.last().unwrap()).unwrap();

        let error = ask("10.96.0.1:80").unwrap_err();

        assert_eq!(error.kind(), refusal(&datapath));
        assert_eq!(datapath.drops().unwrap()[&DropReason::BackendMissing], 1);
    });
}

#[test]
#[ignore = "needs root"]
fn an_ipv4_socket_is_refused_an_ipv6_backend() {
    let node = Node::new();
    node.run(|| {
        let backend = serve("fd00::1");
        let (mut datapath, _) = node.open();
        let service = Service::new(1, "10.96.0.1:80", TCP).group(0, 0, &[backend]);
        install(&mut datapath, &[service]);

        let error = ask("10.96.0.1:80").unwrap_err();

        assert_eq!(error.kind(), refusal(&datapath));
        assert_eq!(datapath.drops().unwrap()[&DropReason::FamilyMismatch], 1);
    });
}

#[test]
#[ignore = "needs root"]
fn other_traffic_is_left_alone() {
    let node = Node::new();
    node.run(|| {
        let server = serve("127.0.0.1");
        let (mut datapath, _) = node.open();
        // The same address on another port, and the same port for another protocol.
        let services = [
            Service::new(1, "127.0.0.1:1", TCP),
            Service::new(2, &server.to_string(), crate::fixture::UDP),
        ];
        install(&mut datapath, &services);

        let stream = TcpStream::connect(server).unwrap();

        assert_eq!(stream.peer_addr().unwrap(), server);
        assert!(datapath.drops().unwrap().values().all(|count| *count == 0));
    });
}

/// Dials a frontend whose one backend is at `backend`, and checks what both ends see.
fn reaches(frontend: &str, backend: &str, dialled: &str) {
    let node = Node::new();
    node.run(|| {
        let server = serve(backend);
        let (mut datapath, _) = node.open();
        install(
            &mut datapath,
            &[Service::new(1, frontend, TCP).group(0, 0, &[server])],
        );

        let mut stream = TcpStream::connect(dialled).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();

        assert_eq!(said, server.to_string());
        assert_eq!(stream.peer_addr().unwrap(), dialled.parse().unwrap());
    });
}

/// A server that tells each client its own address; it lives as long as its process.
pub(crate) fn serve(ip: &str) -> SocketAddr {
    serve_at(any_port(ip))
}

/// The same, at an address and port.
pub(crate) fn serve_at(address: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(address).unwrap();
    let own = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that is gone already needs no answer.
            drop(stream.and_then(|mut stream| stream.write_all(own.to_string().as_bytes())));
        }
    });
    own
}

/// Which server answers at a frontend.
pub(crate) fn ask(frontend: &str) -> io::Result<SocketAddr> {
    let mut stream = TcpStream::connect(frontend)?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    said.parse().map_err(io::Error::other)
}
