//! ICMP errors about packets of flows: each end hears of the packet that it has sent itself.

use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, icmpv4};
use node_dp_common::{
    Hook::{Egress, Ingress},
    conntrack::TcpFlags,
    port_range::candidate,
};

use super::{
    bench::{Bench, NODE_V4, NODE_V6, Outcome::Passed},
    packet::{Packet, headers, tcp, udp},
};
use crate::fixture::{Service, address};

/// A client and a frontend, a backend, the node, and a router on the way; of each family.
const FAMILIES: [[&str; 5]; 2] = [
    [
        "198.51.100.9:40000",
        "203.0.113.5:80",
        "10.1.0.1:8080",
        NODE_V4,
        "198.18.0.1",
    ],
    [
        "[fd51::9]:40000",
        "[fd03::5]:80",
        "[fd00:1::1]:8080",
        NODE_V6,
        "fd18::1",
    ],
];

#[test]
#[ignore = "needs root"]
fn a_local_backend_hears_that_its_answer_was_too_big() {
    for [client, frontend, backend, _, router] in FAMILIES {
        let dialled = tcp(client, frontend, TcpFlags::SYN);
        let service = Service::new(1, frontend, dialled.protocol).group(0, 0, &[address(backend)]);
        Bench::run(&[service.external().local()], |bench| {
            bench.pass(Ingress, &dialled.bytes());
            let answer = dialled.reply().flags(TcpFlags::ACK);
            let sent = answer.between(address(backend), answer.to);

            // From a router on the way to the client, and from the client itself.
            for from in [router, &dialled.from.ip().to_string()] {
                let before = too_big(from, frontend, answer);
                let after = too_big(from, backend, sent);
                assert_eq!(bench.pass(Ingress, &before), Passed(after));
            }
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_client_hears_of_its_packet_to_the_frontend_though_the_node_stood_for_it() {
    for [client, frontend, backend, node, router] in FAMILIES {
        let dialled = udp(client, frontend);
        let service = Service::new(1, frontend, dialled.protocol).group(0, 0, &[address(backend)]);
        Bench::run(&[service.external()], |bench| {
            bench.pass(Ingress, &dialled.bytes());
            let port = candidate(dialled.tuple().hash(dialled.protocol), 0).number();
            let mut moved = dialled.from;
            moved.set_port(port);
            let routed = dialled.between(moved, address(backend));
            let node_end = std::net::SocketAddr::new(node.parse().unwrap(), port);
            let wire = routed.between(node_end, address(backend));

            let from_router = |to: &str, quoted| too_big(router, to, quoted);
            let came = from_router(&node_end.to_string(), wire);
            let within = from_router(client, routed);
            let seen = from_router(client, dialled);
            assert_eq!(bench.pass(Ingress, &came), Passed(within.clone()));
            assert_eq!(bench.pass(Egress, &within), Passed(seen));
        });
    }
}

#[test]
#[ignore = "needs root"]
fn an_error_of_the_backend_itself_comes_from_the_frontend() {
    for [client, frontend, backend, _, _] in FAMILIES {
        let dialled = udp(client, frontend);
        let service = Service::new(1, frontend, dialled.protocol).group(0, 0, &[address(backend)]);
        Bench::run(&[service.external().local()], |bench| {
            bench.pass(Ingress, &dialled.bytes());
            let routed = dialled.between(dialled.from, address(backend));

            let sent = too_big(&routed.to.ip().to_string(), client, routed);
            let seen = too_big(&dialled.to.ip().to_string(), client, dialled);
            assert_eq!(bench.pass(Egress, &sent), Passed(seen));
        });
    }
}

#[test]
#[ignore = "needs root"]
fn an_error_about_an_unknown_flow_passes_unchanged() {
    for [client, frontend, backend, _, router] in FAMILIES {
        let service = Service::new(1, frontend, 6).group(0, 0, &[address(backend)]);
        Bench::run(&[service.external()], |bench| {
            let error = too_big(router, frontend, tcp(frontend, client, TcpFlags::ACK));
            for hook in [Ingress, Egress] {
                assert_eq!(bench.pass(hook, &error), Passed(error.clone()));
            }
        });
    }
}

/// "Fragmentation needed" or "packet too big", quoting a packet. `to` may name a port, which is left out.
fn too_big(from: &str, to: &str, quoted: Packet) -> Vec<u8> {
    let to = to
        .parse()
        .or_else(|_| to.parse().map(|to: std::net::SocketAddr| to.ip()));
    let ip = headers(from.parse().unwrap(), to.unwrap());
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]).ip(ip);
    let quote = quote(quoted);
    let mut bytes = Vec::new();
    if quoted.to.is_ipv4() {
        let header = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1300 };
        let kind = Icmpv4Type::DestinationUnreachable(header);
        link.icmpv4(kind).write(&mut bytes, &quote).unwrap();
    } else {
        let kind = Icmpv6Type::PacketTooBig { mtu: 1300 };
        link.icmpv6(kind).write(&mut bytes, &quote).unwrap();
    }
    bytes
}

/// A packet's headers up to its ports: the quoted segment's own checksum is not looked at by who reads the error.
fn quote(packet: Packet) -> Vec<u8> {
    let header_length = if packet.to.is_ipv4() { 20 } else { 40 };
    let mut bytes = packet.ip_bytes();
    bytes.truncate(header_length + 8);
    if packet.protocol == crate::fixture::UDP {
        bytes[header_length + 6..].fill(0);
    }
    bytes
}
