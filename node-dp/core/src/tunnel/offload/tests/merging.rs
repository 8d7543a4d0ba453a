//! What may be merged, and what must not.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    super::{Gso, GsoKind, InnerPacket, Merger},
    build::{ACK, Build, CWR, DONT_FRAGMENT, ECE, FIN, Family, MORE_FRAGMENTS, PSH, RST, SYN, URG},
    bytes_of, cut, merge,
};

/// How many parts each super-packet of two packets has.
fn parts(first: &Build, second: &Build) -> Vec<usize> {
    let merged = merge(&[first.packet(), second.packet()]);
    merged.iter().map(super::SuperPacket::parts).collect()
}

type Change = fn(&mut Build);

#[test]
fn packets_that_follow_each_other_are_one_super_packet() {
    for family in [Family::V4, Family::V6] {
        for first in [Build::tcp(family), Build::udp(family)] {
            let first = first.payload(1000);

            assert_eq!(parts(&first, &first.next()), [2], "{family:?}");
            let shorter = first.next().payload(999);
            assert_eq!(parts(&first, &shorter), [2], "a last part may be shorter");
            let longer = first.next().payload(1001);
            assert_eq!(parts(&first, &longer), [1, 1], "none may be longer");
        }
    }
}

#[test]
fn tcp_packets_that_differ_in_what_a_cut_copies_are_not_merged() {
    let changes: &[(&str, Change)] = &[
        ("source", |next| next.host += 1),
        ("port", |next| next.port += 1),
        ("traffic class, as congestion marks it", |next| {
            next.class = 3;
        }),
        ("time to live", |next| next.hops -= 1),
        ("a hole in the stream", |next| next.sequence += 1),
        ("a repetition", |next| {
            next.sequence = next.sequence.wrapping_sub(1000);
        }),
        ("acknowledgement", |next| next.acknowledged += 1),
        ("window", |next| next.window += 1),
        ("timestamp", |next| next.options[7] += 1),
        ("fewer options", |next| next.options.clear()),
        ("echo of congestion", |next| next.flags |= ECE),
        ("congestion answered", |next| next.flags |= CWR),
        ("urgent data", |next| next.flags |= URG),
        ("a reset", |next| next.flags |= RST),
        ("a handshake", |next| next.flags |= SYN),
        ("no acknowledgement", |next| next.flags &= !ACK),
        ("no payload", |next| next.payload.clear()),
    ];
    for family in [Family::V4, Family::V6] {
        for (what, change) in changes {
            let first = Build::tcp(family).payload(1000);
            let second = first.next().with(change);

            assert_eq!(parts(&first, &second), [1, 1], "{what}, {family:?}");
        }
    }
}

#[test]
fn ipv4_packets_that_a_cut_would_not_make_are_not_merged() {
    let changes: &[(&str, Change)] = &[
        ("not to be fragmented", |next| next.fragment = 0),
        ("a fragment", |next| next.fragment = MORE_FRAGMENTS),
        ("a last fragment", |next| next.fragment = 9),
        ("the reserved flag", |next| next.fragment |= 0x8000),
        ("options", |next| next.ip_options = vec![1, 1, 1, 0]),
    ];
    for first in [Build::tcp(Family::V4), Build::udp(Family::V4)] {
        for (what, change) in changes {
            let first = first.clone().payload(1000);
            assert_eq!(parts(&first, &first.next().with(change)), [1, 1], "{what}");
        }
    }
}

#[test]
fn an_identification_must_be_the_next_one_only_where_it_means_something() {
    let first = Build::tcp(Family::V4).payload(1000);
    let same_id = |packet: &mut Build| packet.id -= 1;
    assert_eq!(parts(&first, &first.next().with(same_id)), [2]);

    let fragmentable = first.with(|first| first.fragment = 0);
    assert_eq!(parts(&fragmentable, &fragmentable.next()), [2]);
    let next = fragmentable.next().with(same_id);
    assert_eq!(parts(&fragmentable, &next), [1, 1]);
}

#[test]
fn nothing_follows_the_end_of_a_write_or_of_the_stream() {
    for ending in [PSH, FIN] {
        let first = Build::tcp(Family::V4).payload(1000);
        let last = first.next().with(|last| last.flags |= ending);
        assert_eq!(parts(&first, &last), [2]);
        let after = last.next().with(|after| after.flags = ACK);
        assert_eq!(parts(&last, &after), [1, 1]);
    }
}

#[test]
fn extension_headers_are_passed_as_they_are() {
    let first = Build::tcp(Family::V6)
        .payload(1000)
        .with(|packet| packet.extension = vec![6, 0, 1, 4, 0, 0, 0, 0]);

    assert_eq!(parts(&first, &first.next()), [1, 1]);
}

#[test]
fn a_wrong_checksum_is_passed_on_for_the_kernel_to_see() {
    for family in [Family::V4, Family::V6] {
        for packet in [Build::tcp(family), Build::udp(family)] {
            let first = packet.payload(1000);
            let (a, b, c) = (first.clone(), first.next(), first.next().next());
            for wrong in 0..3 {
                let mut packets = [a.packet(), b.packet(), c.packet()];
                *packets[wrong].last_mut().unwrap() ^= 1;

                let merged = merge(&packets);

                let kept: Vec<Vec<u8>> = merged
                    .iter()
                    .filter(|m| m.parts() == 1)
                    .map(bytes_of)
                    .collect();
                assert!(kept.contains(&packets[wrong]), "{wrong} {family:?}");
            }
        }
    }
    let first = Build::tcp(Family::V4).payload(1000);
    let mut packets = [first.packet(), first.next().packet()];
    packets[1][10] ^= 1;
    assert_eq!(merge(&packets).len(), 2, "the IPv4 header's checksum");
}

#[test]
fn a_datagram_without_a_checksum_or_with_bytes_behind_it_is_passed_as_it_is() {
    let first = Build::udp(Family::V4).payload(1000);
    for change in [
        |packet: &mut Vec<u8>| packet[26..28].fill(0),
        |packet: &mut Vec<u8>| packet[25] -= 1,
    ] {
        let mut packets = [first.packet(), first.next().packet()];
        packets.iter_mut().for_each(change);
        assert_eq!(merge(&packets).len(), 2);
    }
}

#[test]
fn udp_is_merged_only_for_kernels_that_know_it() {
    let first = Build::udp(Family::V4).payload(1000);
    let mut merger = Merger::new(false);
    merger.push(first.packet());
    merger.push(first.next().packet());
    let tcp = Build::tcp(Family::V4).payload(1000);
    merger.push(tcp.packet());
    merger.push(tcp.next().packet());

    let parts: Vec<usize> = merger.drain().map(|merged| merged.parts()).collect();

    assert_eq!(parts, [1, 1, 2]);
    assert!(merger.is_empty());
}

#[test]
fn super_packets_are_no_longer_than_an_ip_packet_and_no_more_datagrams_than_the_kernel_takes() {
    let mut packet = Build::tcp(Family::V4).payload(1400);
    let mut packets = Vec::new();
    for _ in 0..100 {
        packets.push(packet.packet());
        packet = packet.next();
    }
    let merged = merge(&packets);
    assert_eq!(merged.len(), 3);
    assert!(merged.iter().all(|m| bytes_of(m).len() <= 65_535));

    let datagrams: Vec<Vec<u8>> = (0..100)
        .map(|at| {
            Build::udp(Family::V6)
                .payload(10)
                .with(|packet| packet.id = at)
                .packet()
        })
        .collect();
    let parts: Vec<usize> = merge(&datagrams)
        .iter()
        .map(super::SuperPacket::parts)
        .collect();
    assert_eq!(parts, [64, 36]);
}

#[test]
fn two_flows_that_alternate_are_two_super_packets() {
    let (mut a, mut b) = (
        Build::tcp(Family::V4).payload(1000),
        Build::tcp(Family::V4).payload(900).with(|b| b.port = 6),
    );
    let mut packets = Vec::new();
    for _ in 0..10 {
        packets.extend([a.packet(), b.packet()]);
        (a, b) = (a.next(), b.next());
    }

    let merged = merge(&packets);

    let sizes: Vec<Option<Gso>> = merged.iter().map(|merged| merged.vnet.gso).collect();
    let size = |size| {
        Some(Gso {
            kind: GsoKind::Tcp4,
            size,
        })
    };
    assert_eq!(sizes, [size(1000), size(900)]);
}

/// A packet like those of the others, or unlike them in one of many ways.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let shape = (any::<bool>(), any::<bool>(), 0..2_u16, 0..3_u8, 0..4_u32);
    let oddity = 0..24_u8;
    let len = prop_oneof![Just(100_usize), Just(99), 0..120_usize];
    (shape, oddity, len).prop_map(|((is_ipv6, is_tcp, port, id, step), oddity, len)| {
        let family = if is_ipv6 { Family::V6 } else { Family::V4 };
        let build = if is_tcp {
            Build::tcp(family)
        } else {
            Build::udp(family)
        };
        let mut build = build.payload(len);
        build.port = port;
        build.id = u16::from(id);
        build.sequence = step * 100;
        match oddity {
            0 => build.flags = ACK | PSH,
            1 => build.flags = ACK | FIN,
            2 => build.flags = ACK | CWR,
            3 => build.flags = SYN,
            4 => build.flags = ACK | ECE,
            5 => build.fragment = 0,
            6 => build.fragment = MORE_FRAGMENTS,
            7 => build.ip_options = vec![1, 1, 1, 0],
            8 => build.extension = vec![if is_tcp { 6 } else { 17 }, 0, 1, 4, 0, 0, 0, 0],
            9 => build.options.clear(),
            10 => build.class = 1,
            11 => build.fragment = DONT_FRAGMENT | 0x8000,
            _ => {}
        }
        let mut packet = build.packet();
        match oddity {
            12 => *packet.last_mut().unwrap() ^= 0x10,
            13 => packet[10] ^= 0x10,
            14 => packet.push(0),
            15 => packet.truncate(packet.len() - 1),
            16 => packet.truncate(25),
            _ => {}
        }
        packet
    })
}

/// Which flow a packet is of; what is no whole plain packet, such as a fragment, is of none.
fn flow(packet: &[u8]) -> Vec<u8> {
    let (is_plain, protocol, ends) = match packet[0] {
        0x45 => (packet[6] & 0x3f == 0 && packet[7] == 0, 9, 12..24),
        first => (first >> 4 == 6, 6, 8..44),
    };
    let is_whole = InnerPacket::parse(packet).is_ok_and(|inner| inner.len == packet.len());
    let is_plain = is_plain && is_whole;
    let ends = packet.get(ends).unwrap_or_default();
    [&[packet[0], u8::from(is_plain), packet[protocol]], ends].concat()
}

/// The packet without IPv4's identification where it means nothing.
fn without_idle_id(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] == 0x45 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_is_merged_is_cut_into_the_same_packets_again_in_each_flows_order(
        packets in proptest::collection::vec(any_packet(), 0..40),
    ) {
        let mut before: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut after = before.clone();
        for packet in &packets {
            before.entry(flow(packet)).or_default().push(without_idle_id(packet.clone()));
        }

        for merged in merge(&packets) {
            for packet in cut(&merged.vnet, &bytes_of(&merged)) {
                after.entry(flow(&packet)).or_default().push(without_idle_id(packet));
            }
        }

        prop_assert_eq!(before, after);
    }
}
