//! Packets of flows: there and back, with every field and checksum as their new addresses ask for.

use node_dp_common::{
    BackendKey, BackendValue, FrontendKey, Group,
    Hook::{Egress, Ingress},
    IN_CLUSTERS, MaglevKey, MaglevValue, ServiceValue,
    conntrack::TcpFlags,
    maglev::{LINE, Size},
    port_range::candidate,
};
use node_dp_core::image::MapOp;

use super::{
    bench::{Bench, NODE_V4, NODE_V6, Outcome::Passed},
    packet::{Packet, tcp, udp},
};
use crate::fixture::{Service, TCP, UDP, address};

/// One flow of each family and protocol: from a client to a frontend, and its backend.
fn flows() -> [(Packet, &'static str); 4] {
    let syn = TcpFlags::SYN;
    [
        (
            tcp("198.51.100.9:40000", "203.0.113.5:80", syn),
            "10.1.0.1:8080",
        ),
        (udp("198.51.100.9:40000", "203.0.113.5:53"), "10.1.0.1:5353"),
        (
            tcp("[fd51::9]:40000", "[fd03::5]:80", syn),
            "[fd00:1::1]:8080",
        ),
        (udp("[fd51::9]:40000", "[fd03::5]:53"), "[fd00:1::1]:5353"),
    ]
}

fn service(packet: &Packet, backend: &str) -> Service {
    Service::new(1, &packet.to.to_string(), packet.protocol).group(0, 0, &[address(backend)])
}

#[test]
#[ignore = "needs root"]
fn a_local_backend_sees_the_client_and_the_client_the_frontend() {
    for (dialled, backend) in flows() {
        Bench::run(&[service(&dialled, backend).external().local()], |bench| {
            let there = dialled.between(dialled.from, address(backend));

            assert_eq!(bench.pass(Ingress, &dialled.bytes()), Passed(there.bytes()));
            let answer = flags_of_answer(there.reply());
            let seen = flags_of_answer(dialled.reply());
            assert_eq!(bench.pass(Egress, &answer.bytes()), Passed(seen.bytes()));
        });
    }
}

/// A client in a pod may use the same port to the backend itself, whose answers to it are then no flow's.
#[test]
#[ignore = "needs root"]
fn a_client_inside_keeps_what_the_backend_itself_answers_it() {
    for (dialled, backend) in flows() {
        Bench::run(&[service(&dialled, backend).external().local()], |bench| {
            let pods = if dialled.from.is_ipv4() {
                "198.51.100.0/24"
            } else {
                "fd51::/64"
            };
            let range = MapOp::PutSource(IN_CLUSTERS, pods.parse().unwrap());
            bench.datapath.apply(&range).unwrap();
            let mut client = dialled.from;
            client.set_port(candidate(dialled.tuple().hash(dialled.protocol), 0).number());
            let there = dialled.between(client, address(backend));

            assert_eq!(bench.pass(Ingress, &dialled.bytes()), Passed(there.bytes()));
            let [answer, seen] = [there, dialled].map(|packet| flags_of_answer(packet.reply()));
            assert_eq!(bench.pass(Egress, &answer.bytes()), Passed(seen.bytes()));

            let direct = dialled.between(dialled.from, address(backend));
            let answer = flags_of_answer(direct.reply());
            for (hook, packet) in [(Ingress, direct), (Egress, answer)] {
                assert_eq!(bench.pass(hook, &packet.bytes()), Passed(packet.bytes()));
            }
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_backend_elsewhere_sees_the_node_and_the_client_the_frontend() {
    for (dialled, backend) in flows() {
        Bench::run(&[service(&dialled, backend).external()], |bench| {
            let port = candidate(dialled.tuple().hash(dialled.protocol), 0).number();
            let mut client = dialled.from;
            client.set_port(port);
            let routed = dialled.between(client, address(backend));
            let node = if client.is_ipv4() { NODE_V4 } else { NODE_V6 };
            let mut node = std::net::SocketAddr::new(node.parse().unwrap(), port);
            node.set_port(port);
            let wire = routed.between(node, address(backend));

            assert_eq!(
                bench.pass(Ingress, &dialled.bytes()),
                Passed(routed.bytes())
            );
            assert_eq!(bench.pass(Egress, &routed.bytes()), Passed(wire.bytes()));
            let [wire, routed, dialled] =
                [wire, routed, dialled].map(|packet| flags_of_answer(packet.reply()));
            assert_eq!(bench.pass(Ingress, &wire.bytes()), Passed(routed.bytes()));
            assert_eq!(bench.pass(Egress, &routed.bytes()), Passed(dialled.bytes()));
        });
    }
}

#[test]
#[ignore = "needs root"]
fn an_ipv4_datagram_without_a_checksum_gets_none() {
    let dialled = udp("198.51.100.9:40000", "203.0.113.5:53");
    Bench::run(
        &[service(&dialled, "10.1.0.1:5353").external().local()],
        |bench| {
            let without = |packet: Packet| {
                let mut bytes = packet.bytes();
                bytes[40..42].fill(0);
                bytes
            };
            let there = dialled.between(dialled.from, address("10.1.0.1:5353"));

            assert_eq!(
                bench.pass(Ingress, &without(dialled)),
                Passed(without(there))
            );
        },
    );
}

#[test]
#[ignore = "needs root"]
fn a_node_port_is_served_at_every_address_of_the_node_and_nowhere_else() {
    let services = [
        Service::new(1, "0.0.0.0:30080", TCP).group(0, 0, &[address("10.1.0.1:8080")]),
        Service::new(2, "[::]:30080", TCP).group(0, 0, &[address("[fd00:1::1]:8080")]),
    ];
    Bench::run(
        &services.map(|service| service.external().local()),
        |bench| {
            for (from, to, backend) in [
                ("198.51.100.9:40000", "192.0.2.1:30080", "10.1.0.1:8080"),
                ("[fd51::9]:40000", "[fd02::1]:30080", "[fd00:1::1]:8080"),
            ] {
                let dialled = tcp(from, to, TcpFlags::SYN);
                let there = dialled.between(dialled.from, address(backend));
                assert_eq!(bench.pass(Ingress, &dialled.bytes()), Passed(there.bytes()));
            }
            let elsewhere = tcp("198.51.100.9:40000", "192.0.2.77:30080", TcpFlags::SYN).bytes();
            assert_eq!(bench.pass(Ingress, &elsewhere), Passed(elsewhere.clone()));
        },
    );
}

#[test]
#[ignore = "needs root"]
fn two_frontends_with_one_backend_do_not_mix_up_a_clients_flows() {
    let backend = "10.1.0.1:8080";
    let services = [(1, "203.0.113.5:80"), (2, "203.0.113.6:80")].map(|(id, frontend)| {
        Service::new(id, frontend, TCP)
            .group(0, 0, &[address(backend)])
            .external()
            .local()
    });
    Bench::run(&services, |bench| {
        let first = tcp("198.51.100.9:40000", "203.0.113.5:80", TcpFlags::SYN);
        let second = tcp("198.51.100.9:40000", "203.0.113.6:80", TcpFlags::SYN);
        let port = candidate(second.tuple().hash(TCP), 0).number();
        let mut moved = second.from;
        moved.set_port(port);

        for (dialled, client) in [(first, first.from), (second, moved)] {
            let there = dialled.between(client, address(backend));
            assert_eq!(bench.pass(Ingress, &dialled.bytes()), Passed(there.bytes()));
            let (answer, seen) = (there.reply(), dialled.reply());
            assert_eq!(bench.pass(Egress, &answer.bytes()), Passed(seen.bytes()));
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_pod_that_dials_itself_hears_the_node() {
    let dialled = tcp("10.1.0.1:40000", "10.96.0.1:80", TcpFlags::SYN);
    Bench::run(&[service(&dialled, "10.1.0.1:8080").local()], |bench| {
        let port = candidate(dialled.tuple().hash(TCP), 0).number();
        let [pod, node] = ["10.1.0.1", NODE_V4].map(|ip| format!("{ip}:{port}"));
        let routed = tcp(&pod, "10.1.0.1:8080", TcpFlags::SYN);
        let wire = tcp(&node, "10.1.0.1:8080", TcpFlags::SYN);

        assert_eq!(
            bench.pass(Ingress, &dialled.bytes()),
            Passed(routed.bytes())
        );
        assert_eq!(bench.pass(Egress, &routed.bytes()), Passed(wire.bytes()));
        let back = bench.pass(Ingress, &wire.reply().bytes());
        assert_eq!(back, Passed(routed.reply().bytes()));
        let back = bench.pass(Egress, &routed.reply().bytes());
        assert_eq!(back, Passed(dialled.reply().bytes()));
    });
}

#[test]
#[ignore = "needs root"]
fn a_new_connection_on_the_ports_of_a_closed_one_is_routed_anew() {
    let dialled = tcp("198.51.100.9:40000", "203.0.113.5:80", TcpFlags::SYN);
    Bench::run(
        &[service(&dialled, "10.1.0.1:8080").external().local()],
        |bench| {
            assert!(matches!(bench.pass(Ingress, &dialled.bytes()), Passed(_)));
            let moved = service(&dialled, "10.1.0.2:8080").external().local();
            crate::fixture::install(&mut bench.datapath, &[moved]);
            let at = |backend: &str, flags| {
                let packet = dialled.flags(flags);
                packet.between(packet.from, address(backend)).bytes()
            };

            let ack = bench.pass(Ingress, &dialled.flags(TcpFlags::ACK).bytes());
            assert_eq!(ack, Passed(at("10.1.0.1:8080", TcpFlags::ACK)));
            let reset = bench.pass(Ingress, &dialled.flags(TcpFlags::RST).bytes());
            assert_eq!(reset, Passed(at("10.1.0.1:8080", TcpFlags::RST)));
            let again = bench.pass(Ingress, &dialled.bytes());
            assert_eq!(again, Passed(at("10.1.0.2:8080", TcpFlags::SYN)));
        },
    );
}

#[test]
#[ignore = "needs root"]
fn what_is_to_no_frontend_passes_unchanged() {
    let dialled = tcp("198.51.100.9:40000", "203.0.113.5:80", TcpFlags::SYN);
    Bench::run(&[service(&dialled, "10.1.0.1:8080").external()], |bench| {
        for packet in [
            tcp("198.51.100.9:40000", "203.0.113.5:81", TcpFlags::SYN),
            tcp("198.51.100.9:40000", "203.0.113.5:80", TcpFlags::RST),
            udp("198.51.100.9:40000", "203.0.113.5:80"),
            udp("[fd51::9]:40000", "[fd03::5]:53"),
        ] {
            for hook in [Ingress, Egress] {
                let bytes = packet.bytes();
                assert_eq!(bench.pass(hook, &bytes), Passed(bytes.clone()));
            }
        }
        // A packet that ends before its ports, and one that is no IP.
        let short = dialled.bytes()[..36].to_vec();
        assert_eq!(bench.pass(Ingress, &short), Passed(short.clone()));
        let mut other = dialled.bytes();
        other[12..14].copy_from_slice(&[0x88, 0xcc]);
        assert_eq!(bench.pass(Ingress, &other), Passed(other.clone()));
    });
}

#[test]
#[ignore = "needs root"]
fn a_flow_from_outside_goes_where_the_maglev_table_says() {
    let frontend = address("203.0.113.5:80");
    let frontend = FrontendKey::new(frontend.ip(), frontend.port(), TCP).from_outside();
    let backends = ["10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"].map(address);
    let size = Size::for_backends(backends.len());
    let group = Group::new(0, 0, 1, 3).with_maglev(size);
    let places: Vec<u16> = (0..307).map(|place| place % 3).collect();
    Bench::run(&[], |bench| {
        for (backend, slot) in backends.iter().zip(0..) {
            let value = BackendValue::new(backend.ip(), backend.port()).local();
            bench.apply(MapOp::PutBackend(BackendKey::new(7, 0, slot), value));
        }
        for (line, slots) in (0..).zip(places.chunks(LINE)) {
            let key = MaglevKey::new(7, 0, line);
            bench.apply(MapOp::PutMaglev(key, MaglevValue::new(slots)));
        }
        let value = ServiceValue::try_new(7, &[group]).unwrap().external();
        bench.apply(MapOp::PutService(frontend, value));

        for port in 1000..1200 {
            let dialled = tcp(
                &format!("198.51.100.9:{port}"),
                "203.0.113.5:80",
                TcpFlags::SYN,
            );
            let (line, place) = size.place_of(dialled.tuple().hash(TCP)).unwrap();
            let slot = places[usize::from(line) * LINE + place];
            let there = dialled.between(dialled.from, backends[usize::from(slot)]);
            assert_eq!(bench.pass(Ingress, &dialled.bytes()), Passed(there.bytes()));
        }
    });
}

/// A datagram has no flags; a segment that answers acknowledges.
fn flags_of_answer(packet: Packet) -> Packet {
    match packet.protocol {
        UDP => packet,
        _ => packet.flags(TcpFlags::SYN | TcpFlags::ACK),
    }
}
