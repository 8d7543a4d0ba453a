//! Packets that no backend serves: their senders are told at once, and the reason is counted.

use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, icmpv4, icmpv6};
use node_dp_common::{DropReason, Hook::Ingress, conntrack::TcpFlags};

use super::{
    bench::{
        Bench,
        Outcome::{Answered, Dropped, Passed},
    },
    packet::{Packet, headers, tcp, udp},
};
use crate::fixture::{Service, TCP, UDP, address};

/// The hop limit of answers.
const HOPS: u8 = 64;

#[test]
#[ignore = "needs root"]
fn a_connection_that_nobody_serves_is_reset() {
    for (from, to) in [
        ("198.51.100.9:40000", "203.0.113.5:80"),
        ("[fd51::9]:40000", "[fd03::5]:80"),
    ] {
        Bench::run(&[Service::new(1, to, TCP).external()], |bench| {
            let syn = tcp(from, to, TcpFlags::SYN);
            let data = Packet {
                payload: b"hello",
                ..syn.flags(TcpFlags::ACK)
            };

            // RFC 9293: what asks is acknowledged; what acknowledges is answered by its own number.
            let refused = reset(syn, 0, Some(1_000_001));
            assert_eq!(bench.pass(Ingress, &syn.bytes()), Answered(refused));
            let refused = reset(data, 2_000_000, None);
            assert_eq!(bench.pass(Ingress, &data.bytes()), Answered(refused));
            assert_eq!(bench.datapath.drops().unwrap()[&DropReason::NoBackend], 2);
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_datagram_that_nobody_serves_is_answered_with_port_unreachable() {
    for (from, to) in [
        ("198.51.100.9:40000", "203.0.113.5:53"),
        ("[fd51::9]:40000", "[fd03::5]:53"),
    ] {
        Bench::run(&[Service::new(1, to, UDP).external()], |bench| {
            let asked = udp(from, to);

            let answer = unreachable(asked);
            assert_eq!(bench.pass(Ingress, &asked.bytes()), Answered(answer));
            assert_eq!(bench.datapath.drops().unwrap()[&DropReason::NoBackend], 1);
        });
    }
}

#[test]
#[ignore = "needs root"]
fn only_clients_in_the_source_ranges_are_served() {
    let services = [
        Service::new(1, "203.0.113.5:80", TCP)
            .group(0, 0, &[address("10.1.0.1:8080")])
            .only_for("198.51.100.0/28")
            .only_for("192.0.2.77/32"),
        Service::new(2, "[fd03::5]:80", TCP)
            .group(0, 0, &[address("[fd00:1::1]:8080")])
            .only_for("fd51::/64"),
    ];
    Bench::run(
        &services.map(|service| service.external().local()),
        |bench| {
            let ask =
                |from: &str, to: &str| bench.pass(Ingress, &tcp(from, to, TcpFlags::SYN).bytes());

            for from in ["198.51.100.15:1000", "192.0.2.77:1000"] {
                assert!(matches!(ask(from, "203.0.113.5:80"), Passed(_)), "{from}");
            }
            assert!(matches!(ask("[fd51::9]:1000", "[fd03::5]:80"), Passed(_)));
            assert_eq!(ask("198.51.100.16:1000", "203.0.113.5:80"), Dropped);
            assert_eq!(ask("[fd51:0:0:1::9]:1000", "[fd03::5]:80"), Dropped);
            assert_eq!(
                bench.datapath.drops().unwrap()[&DropReason::SourceRefused],
                2
            );
        },
    );
}

#[test]
#[ignore = "needs root"]
fn clients_in_denied_source_ranges_are_not_served() {
    let services = [
        Service::new(1, "203.0.113.5:80", TCP)
            .group(0, 0, &[address("10.1.0.1:8080")])
            .not_for("198.51.100.0/28"),
        Service::new(2, "[fd03::5]:80", TCP)
            .group(0, 0, &[address("[fd00:1::1]:8080")])
            .not_for("fd51::/64"),
    ];
    let services = services.map(|service| service.external().local());
    Bench::run(&services, |bench| {
        for (from, to, is_served) in [
            ("198.51.100.15:1000", "203.0.113.5:80", false),
            ("198.51.100.16:1000", "203.0.113.5:80", true),
            ("[fd51::9]:1000", "[fd03::5]:80", false),
            ("[fd51:0:0:1::9]:1000", "[fd03::5]:80", true),
        ] {
            let answer = bench.pass(Ingress, &tcp(from, to, TcpFlags::SYN).bytes());

            assert_eq!(matches!(answer, Passed(_)), is_served, "{from}");
            assert!(is_served || answer == Dropped, "{from}");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_flow_that_finds_no_port_is_refused_and_those_before_it_go_on() {
    // More clients than there are ports towards one backend: 20,000.
    let service = Service::new(1, "203.0.113.5:80", TCP).group(0, 0, &[address("10.1.0.1:8080")]);
    Bench::run(&[service.external()], |bench| {
        let dial = |number: u16| {
            let from = format!("198.51.{}.{}:40000", number / 200, number % 200 + 1);
            tcp(&from, "203.0.113.5:80", TcpFlags::SYN)
        };
        let first = bench.pass(Ingress, &dial(0).bytes());

        let refused = (1..25_000).filter(|number| {
            let packet = dial(*number);
            match bench.pass(Ingress, &packet.bytes()) {
                Passed(_) => false,
                Answered(answer) => answer == reset(packet, 0, Some(1_000_001)),
                Dropped => panic!("{packet:?} got no answer"),
            }
        });

        let refused = u64::try_from(refused.count()).unwrap();
        assert!((5_000..7_000).contains(&refused), "{refused}");
        assert_eq!(
            bench.datapath.drops().unwrap()[&DropReason::NoSourcePort],
            refused
        );
        assert_eq!(bench.pass(Ingress, &dial(0).bytes()), first);
    });
}

/// The reset of a segment.
fn reset(packet: Packet, sequence: u32, acknowledged: Option<u32>) -> Vec<u8> {
    let ip = hops(headers(packet.to.ip(), packet.from.ip()));
    let (from, to) = (packet.to.port(), packet.from.port());
    let mut segment = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ip(ip)
        .tcp(from, to, sequence, 0)
        .rst();
    if let Some(number) = acknowledged {
        segment = segment.ack(number);
    }
    let mut bytes = Vec::new();
    segment.write(&mut bytes, &[]).unwrap();
    bytes
}

/// The error that quotes a datagram's headers.
fn unreachable(packet: Packet) -> Vec<u8> {
    let ip = hops(headers(packet.to.ip(), packet.from.ip()));
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ip(ip);
    let header_length = if packet.to.is_ipv4() { 20 } else { 40 };
    let quote = &packet.ip_bytes()[..header_length + 8];
    let mut bytes = Vec::new();
    if packet.to.is_ipv4() {
        let kind = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port);
        link.icmpv4(kind).write(&mut bytes, quote).unwrap();
    } else {
        let kind = Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port);
        link.icmpv6(kind).write(&mut bytes, quote).unwrap();
    }
    bytes
}

fn hops(mut headers: etherparse::IpHeaders) -> etherparse::IpHeaders {
    match &mut headers {
        etherparse::IpHeaders::Ipv4(header, _) => header.time_to_live = HOPS,
        etherparse::IpHeaders::Ipv6(header, _) => header.hop_limit = HOPS,
    }
    headers
}
