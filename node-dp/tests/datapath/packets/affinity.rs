//! Session affinity at devices: an address keeps its backend, whatever its ports.

use std::{collections::BTreeSet, net::SocketAddr};

use node_dp_common::{Hook::Ingress, conntrack::TcpFlags};

use super::{
    bench::{Bench, Outcome::Passed},
    packet::{Packet, tcp, udp},
};
use crate::fixture::{Service, address, replace};

const BACKENDS_V4: [&str; 3] = ["10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"];
const BACKENDS_V6: [&str; 3] = ["[fd00:1::1]:8080", "[fd00:1::2]:8080", "[fd00:1::3]:8080"];

/// What a client with a number sends from a port.
type Dial = fn(u16, u16) -> Packet;

/// A frontend of each family and protocol: what is sent to it, and its backends.
fn frontends() -> [(Dial, [&'static str; 3]); 4] {
    [
        (
            |client, port| {
                let from = format!("198.51.100.{client}:{port}");
                tcp(&from, "203.0.113.5:80", TcpFlags::SYN)
            },
            BACKENDS_V4,
        ),
        (
            |client, port| udp(&format!("198.51.100.{client}:{port}"), "203.0.113.5:53"),
            BACKENDS_V4,
        ),
        (
            |client, port| {
                tcp(
                    &format!("[fd51::{client}]:{port}"),
                    "[fd03::5]:80",
                    TcpFlags::SYN,
                )
            },
            BACKENDS_V6,
        ),
        (
            |client, port| udp(&format!("[fd51::{client}]:{port}"), "[fd03::5]:53"),
            BACKENDS_V6,
        ),
    ]
}

#[test]
#[ignore = "needs root"]
fn all_connections_of_an_address_go_to_one_backend_and_addresses_spread() {
    for (dial, backends) in frontends() {
        let backends = backends.map(address);
        Bench::run(&[service(&dial(1, 1), &backends)], |bench| {
            let mut all = BTreeSet::new();
            for client in 1..=20 {
                let reached = reached(bench, dial, client, &backends);
                assert_eq!(reached.len(), 1, "client {client}: {reached:?}");
                all.extend(reached);
            }
            assert!(all.len() > 1, "twenty clients chose {all:?}");
        });
    }
}

#[test]
#[ignore = "needs root"]
fn an_address_keeps_its_backend_until_that_leaves() {
    for (dial, backends) in frontends() {
        let backends = backends.map(address);
        Bench::run(&[service(&dial(1, 1), &backends)], |bench| {
            let first = reached(bench, dial, 1, &backends);
            let others: Vec<SocketAddr> = backends
                .into_iter()
                .filter(|backend| !first.contains(backend))
                .collect();

            // It moves to another slot, and the hash leads elsewhere.
            let moved: Vec<SocketAddr> = others.iter().chain(&first).copied().collect();
            for kept in [&moved[..], &moved[1..], &backends] {
                replace(&mut bench.datapath, &[service(&dial(1, 1), kept)]);
                assert_eq!(reached(bench, dial, 1, &backends), first);
            }
            replace(&mut bench.datapath, &[service(&dial(1, 1), &others)]);
            let second = reached(bench, dial, 1, &backends);
            assert_eq!(second.len(), 1);
            assert!(second.is_disjoint(&first));
        });
    }
}

fn service(packet: &Packet, backends: &[SocketAddr]) -> Service {
    Service::new(1, &packet.to.to_string(), packet.protocol)
        .group(0, 0, backends)
        .external()
        .local()
        .with_affinity(600)
}

/// Where new flows of a client are sent, from a dozen ports that it has not used before.
fn reached(
    bench: &mut Bench,
    dial: Dial,
    client: u16,
    backends: &[SocketAddr],
) -> BTreeSet<SocketAddr> {
    let ports = bench.unused_ports(12);
    let backend_of = |port| {
        let dialled = dial(client, port);
        let passed = bench.pass(Ingress, &dialled.bytes());
        let sent_to = |backend: &&SocketAddr| {
            Passed(dialled.between(dialled.from, **backend).bytes()) == passed
        };
        *backends.iter().find(sent_to).expect("a backend is reached")
    };
    ports.map(backend_of).collect()
}
