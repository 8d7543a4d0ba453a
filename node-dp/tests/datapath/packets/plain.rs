//! What is not plain is left to the kernel by the fast path, byte for byte: options, extensions, fragments, tags, what is cut
//! short or meant for others.

use node_dp_common::conntrack::TcpFlags;

use super::{
    packet::{Packet, tcp, udp},
    track::{BACKEND_V4, Met, Track, flow, flows},
};
use crate::{
    fixture::{UDP, ip},
    wait::eventually,
};

/// Where the IP header begins, and what follows it in either family.
const IP: usize = 14;
const SEGMENT_V4: usize = IP + 20;
const SEGMENT_V6: usize = IP + 40;

fn segment(packet: &Packet) -> usize {
    if packet.to.is_ipv4() {
        SEGMENT_V4
    } else {
        SEGMENT_V6
    }
}

/// Where the checksum of a segment is.
fn checksum(packet: &Packet) -> usize {
    segment(packet) + if packet.protocol == UDP { 6 } else { 16 }
}

/// What is made of a packet's bytes.
type Change = fn(&Packet, &mut Vec<u8>);

#[test]
#[ignore = "needs root"]
fn what_is_not_plain_is_left_to_the_kernel() {
    let all: [(&str, Change); 8] = [
        ("sent to another host", |_, bytes| bytes[5] = 99),
        ("sent to all hosts", |_, bytes| bytes[..6].fill(0xff)),
        ("with a VLAN's tag", |_, bytes| {
            bytes.splice(12..12, [0x81, 0, 0, 7]);
        }),
        ("no IP", |_, bytes| {
            bytes[12..14].copy_from_slice(&[0x88, 0xcc])
        }),
        ("another version", |_, bytes| bytes[IP] ^= 0x10),
        ("cut short", |_, bytes| {
            bytes.pop();
        }),
        ("another protocol", |packet, bytes| {
            bytes[if packet.to.is_ipv4() { IP + 9 } else { IP + 6 }] = 132;
        }),
        ("shorter than its headers", |packet, bytes| {
            let (at, length) = if packet.to.is_ipv4() {
                (IP + 2, 27_u16)
            } else {
                (IP + 4, 7)
            };
            bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
        }),
    ];
    check(&all, |_| true);
}

#[test]
#[ignore = "needs root"]
fn ipv4_options_and_fragments_are_left_to_the_kernel() {
    let all: [(&str, Change); 4] = [
        ("with options", |_, bytes| {
            bytes[IP] = 0x46;
            bytes.splice(SEGMENT_V4..SEGMENT_V4, [1, 1, 1, 0]);
            let length = u16::try_from(bytes.len() - IP).unwrap();
            bytes[IP + 2..IP + 4].copy_from_slice(&length.to_be_bytes());
        }),
        ("with too short a header", |_, bytes| bytes[IP] = 0x44),
        ("the first fragment", |_, bytes| bytes[IP + 6] = 0x20),
        ("a later fragment", |_, bytes| bytes[IP + 7] = 3),
    ];
    check(&all, |packet| packet.to.is_ipv4());
}

#[test]
#[ignore = "needs root"]
fn ipv6_extensions_and_fragments_are_left_to_the_kernel() {
    let all: [(&str, Change); 3] = [
        ("hop-by-hop options", |packet, bytes| {
            extend(bytes, 0, [packet.protocol, 0, 1, 4, 0, 0, 0, 0]);
        }),
        ("destination options", |packet, bytes| {
            extend(bytes, 60, [packet.protocol, 0, 1, 4, 0, 0, 0, 0]);
        }),
        ("a fragment", |packet, bytes| {
            extend(bytes, 44, [packet.protocol, 0, 0, 1, 0, 0, 0, 7]);
        }),
    ];
    check(&all, |packet| packet.to.is_ipv6());
}

/// Puts an extension header behind an IPv6 header.
fn extend(bytes: &mut Vec<u8>, kind: u8, header: [u8; 8]) {
    bytes[IP + 6] = kind;
    bytes.splice(SEGMENT_V6..SEGMENT_V6, header);
    let length = u16::try_from(bytes.len() - SEGMENT_V6).unwrap();
    bytes[IP + 4..IP + 6].copy_from_slice(&length.to_be_bytes());
}

#[test]
#[ignore = "needs root"]
fn a_checksum_that_a_neighbour_has_left_to_its_device_is_left_to_the_kernel() {
    let all: [(&str, Change); 1] = [("unfinished", |packet, bytes| {
        let at = checksum(packet);
        let length = u16::try_from(bytes.len() - segment(packet)).unwrap();
        let sum = node_dp_common::checksum::pseudo_header(&packet.tuple(), length, packet.protocol);
        bytes[at..at + 2].copy_from_slice(&sum.fold().to_ne_bytes());
    })];
    check(&all, |_| true);
}

/// Checks that packets of some flows, there and back, are left alone once they are changed, and forwarded as they are.
fn check(all: &[(&str, Change)], concerns: fn(&Packet) -> bool) {
    for (flow, service) in flows() {
        if !concerns(&flow.dialled) {
            continue;
        }
        Track::run(&[service], |track| {
            track.establish(&flow);
            for packet in [flow.dialled, flow.wire.reply()] {
                for (name, change) in all {
                    let mut bytes = packet.bytes();
                    change(&packet, &mut bytes);
                    assert_eq!(track.meet(&bytes), Met::Left, "{name}: {packet:?}");
                }
                assert!(matches!(track.meet(&packet.bytes()), Met::Forwarded(_)));
            }
        });
    }
}

#[test]
#[ignore = "needs root"]
fn an_ipv4_datagram_without_a_checksum_is_forwarded_without_one() {
    let (flow, service) = flow(udp("198.51.100.9:40000", "203.0.113.5:53"), BACKEND_V4);
    Track::run(&[service], |track| {
        track.establish(&flow);
        let at = checksum(&flow.dialled);
        let mut bytes = flow.dialled.bytes();
        bytes[at..at + 2].fill(0);

        let Met::Forwarded(sent) = track.meet(&bytes) else {
            panic!("it is not forwarded");
        };
        assert_eq!(sent[at..at + 2], [0, 0]);
    });
}

#[test]
#[ignore = "needs root"]
fn a_short_packet_with_the_links_padding_is_forwarded_with_it() {
    let (flow, service) = flow(
        tcp("198.51.100.9:40000", "203.0.113.5:80", TcpFlags::ACK),
        BACKEND_V4,
    );
    Track::run(&[service], |track| {
        track.establish(&flow);
        let mut bytes = flow.dialled.bytes();
        bytes.resize(60, 0);

        assert!(matches!(track.meet(&bytes), Met::Forwarded(sent) if sent.len() == 60));
    });
}

#[test]
#[ignore = "needs root"]
fn what_would_leave_by_a_device_without_the_programs_is_left_to_the_kernel() {
    Track::with_each_connection(|track, flow| {
        assert!(matches!(
            track.meet(&flow.dialled.bytes()),
            Met::Forwarded(_)
        ));
        ip("link add lan0 type veth peer name lan1");
        ip("link set lan0 up");
        ip("link set lan1 up");
        let backend = flow.wire.to.ip();
        ip(&format!(
            "neigh add {backend} lladdr 02:00:00:00:00:13 dev lan0 nud permanent"
        ));
        ip(&format!("route add {backend} dev lan0"));

        eventually("the other way counts", || {
            track.meet(&flow.dialled.bytes()) == Met::Left
        });
    });
}
