//! What merging and cutting must keep, whatever the packets are.

use proptest::prelude::*;

use super::{checksum::Sum, *};

mod build;
mod merging;
mod splitting;

use build::{Build, Family, naive_checksum};

proptest! {
    #[test]
    fn the_fast_sum_is_the_plain_one(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(Sum::default().bytes(&bytes).checksum(), naive_checksum(&[&bytes]));
    }

    #[test]
    fn sums_of_pieces_add_up(a in proptest::collection::vec(any::<u8>(), 0..40), b in proptest::collection::vec(any::<u8>(), 0..99)) {
        let even = &a[..a.len() / 2 * 2];
        let pieces = Sum::default().bytes(even).bytes(&b);
        prop_assert_eq!(pieces.checksum(), naive_checksum(&[even, &b]));
    }

    #[test]
    fn random_bytes_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        gso in proptest::option::of((0..3_u8, any::<u16>())),
        start in prop_oneof![Just(20_u16), Just(40), 0..220_u16],
        offset in prop_oneof![Just(16_u16), Just(6), 0..220_u16],
        first in any::<u8>(),
    ) {
        if let Some(byte) = bytes.first_mut() {
            *byte = [0x45, 0x60, 0x46, first][usize::from(first % 4)];
        }
        let kinds = [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp];
        let vnet = VnetHeader {
            gso: gso.map(|(kind, size)| Gso { kind: kinds[usize::from(kind)], size }),
            checksum: Some(PartialChecksum { start, offset }),
            headers_len: 0,
        };
        let mut merger = Merger::new(true);
        merger.push(bytes.clone());
        merger.push(bytes.clone());
        for merged in merger.drain() {
            prop_assert!(merged.slices().map(<[u8]>::len).sum::<usize>() <= 2 * bytes.len());
        }
        prop_assert!(InnerPacket::parse(&bytes).is_ok_and(|inner| inner.len <= bytes.len()) || InnerPacket::parse(&bytes).is_err());
        if let Ok(mut segments) = split(&vnet, &mut bytes) {
            let most = segments.max_bytes();
            let mut all = 0;
            while let Some(segment) = segments.next_segment() {
                all += segment.len();
            }
            prop_assert!(all <= most);
        }
        drop(VnetHeader::parse(&mut bytes));
    }

    #[test]
    fn a_vnet_header_is_read_as_it_was_written(gso in proptest::option::of((0..3_u8, any::<u16>())), checksum in proptest::option::of(any::<(u16, u16)>()), headers_len: u16) {
        let kinds = [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp];
        let header = VnetHeader {
            gso: gso.map(|(kind, size)| Gso { kind: kinds[usize::from(kind)], size }),
            checksum: checksum.map(|(start, offset)| PartialChecksum { start, offset }),
            headers_len,
        };
        let mut bytes = header.to_bytes();
        let (read, packet) = VnetHeader::parse(&mut bytes).unwrap();
        prop_assert_eq!(read, header);
        prop_assert!(packet.is_empty());
    }
}

#[test]
fn a_vnet_header_of_a_kind_that_nobody_asked_for_is_refused() {
    let mut fragmented_udp = [0, 3, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        VnetHeader::parse(&mut fragmented_udp),
        Err(ParseVnetError::Kind(3))
    );
    assert_eq!(
        VnetHeader::parse(&mut [0; 9]),
        Err(ParseVnetError::Short(9))
    );
}

#[test]
fn an_inner_packet_ends_where_its_header_says() {
    for family in [Family::V4, Family::V6] {
        let packet = Build::udp(family).payload(5).packet();
        let mut padded = packet.clone();
        padded.resize(packet.len() + 11, 0);

        let inner = InnerPacket::parse(&padded).unwrap();

        assert_eq!(inner.len, packet.len());
        let cut_off = &packet[..packet.len() - 1];
        assert_eq!(InnerPacket::parse(cut_off), Err(ParseInnerError::Truncated));
    }
    assert_eq!(InnerPacket::parse(&[]), Err(ParseInnerError::NotIp));
    assert_eq!(InnerPacket::parse(&[0x50; 64]), Err(ParseInnerError::NotIp));
    let mut shorter_than_its_header = [0; 40];
    shorter_than_its_header[0] = 0x45;
    assert_eq!(
        InnerPacket::parse(&shorter_than_its_header),
        Err(ParseInnerError::Truncated)
    );
}

/// All packets of a super-packet.
fn cut(vnet: &VnetHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    let mut packet = packet.to_vec();
    let mut segments = split(vnet, &mut packet).unwrap();
    let mut all = Vec::new();
    while let Some(segment) = segments.next_segment() {
        all.push([segment.headers, segment.payload].concat());
    }
    all
}

/// What the kernel would be given for these packets.
fn merge(packets: &[Vec<u8>]) -> Vec<SuperPacket<Vec<u8>>> {
    let mut merger = Merger::new(true);
    for packet in packets {
        merger.push(packet.clone());
    }
    merger.drain().collect()
}

fn bytes_of(merged: &SuperPacket<Vec<u8>>) -> Vec<u8> {
    merged.slices().flatten().copied().collect()
}
