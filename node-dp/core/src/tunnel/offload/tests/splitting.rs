//! What a cut makes of a super-packet.

use proptest::prelude::*;

use super::{
    super::{GsoKind, PartialChecksum, SplitError, VnetHeader, split},
    build::{ACK, Build, CWR, DONT_FRAGMENT, ECE, FIN, Family, PSH, URG, verify},
    bytes_of, cut, merge,
};

fn number(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

proptest! {
    #[test]
    fn parts_have_the_sizes_and_checksums_that_the_kernel_would_give_them(
        is_ipv6: bool,
        is_tcp: bool,
        size in 1..1500_u16,
        len in 1..9000_usize,
        timestamps: bool,
        class: u8,
    ) {
        let family = if is_ipv6 { Family::V6 } else { Family::V4 };
        let packet = if is_tcp { Build::tcp(family) } else { Build::udp(family) }.payload(len).with(|packet| {
            packet.class = class;
            if !timestamps {
                packet.options.clear();
            }
        });
        let headers = packet.packet().len() - len;
        let (vnet, bytes) = packet.super_packet(Some(size));

        let parts = cut(&vnet, &bytes);

        prop_assert_eq!(parts.len(), len.div_ceil(usize::from(size)));
        let (last, others) = parts.split_last().unwrap();
        prop_assert!(others.iter().all(|part| part.len() == headers + usize::from(size)));
        prop_assert!(last.len() > headers && last.len() <= headers + usize::from(size));
        for part in &parts {
            verify(part, 0);
        }
        let payloads: Vec<u8> = parts.iter().flat_map(|part| part[headers..].to_vec()).collect();
        prop_assert_eq!(payloads, packet.payload);
    }

    #[test]
    fn a_cut_super_packet_is_merged_to_itself(
        is_ipv6: bool,
        is_tcp: bool,
        size in 1000..1400_u16,
        len in 1..60_000_usize,
        ending in prop_oneof![Just(0), Just(PSH), Just(FIN | PSH), Just(FIN)],
        ece: bool,
        fragmentable: bool,
        id: u16,
    ) {
        let family = if is_ipv6 { Family::V6 } else { Family::V4 };
        let packet = if is_tcp { Build::tcp(family) } else { Build::udp(family) }.payload(len).with(|packet| {
            packet.flags = ACK | ending | if ece { ECE } else { 0 };
            packet.fragment = if fragmentable { 0 } else { DONT_FRAGMENT };
            packet.id = id;
        });
        let (vnet, bytes) = packet.super_packet(Some(size));

        let parts = cut(&vnet, &bytes);
        let merged = merge(&parts);

        prop_assert_eq!(merged.len(), 1);
        prop_assert_eq!(merged[0].parts(), parts.len());
        if parts.len() > 1 {
            prop_assert_eq!(merged[0].vnet, vnet);
            prop_assert_eq!(bytes_of(&merged[0]), bytes);
        } else {
            prop_assert_eq!(merged[0].vnet, VnetHeader::default());
            prop_assert_eq!(bytes_of(&merged[0]), packet.packet());
        }
    }
}

#[test]
fn sequence_identification_and_flags_are_those_of_single_packets() {
    let packet = Build::tcp(Family::V4)
        .payload(2500)
        .with(|packet| packet.flags = ACK | PSH | FIN | CWR | ECE);
    let (vnet, bytes) = packet.super_packet(Some(1000));

    let parts = cut(&vnet, &bytes);

    let ids: Vec<u16> = parts.iter().map(|part| number(part, 4)).collect();
    assert_eq!(ids, [0x1234, 0x1235, 0x1236]);
    let sequences: Vec<u32> = parts
        .iter()
        .map(|part| u32::from_be_bytes(part[24..28].try_into().unwrap()))
        .collect();
    assert_eq!(sequences, [0xffff_ff00, 0x0000_02e8, 0x0000_06d0]);
    let flags: Vec<u8> = parts.iter().map(|part| part[33]).collect();
    assert_eq!(flags, [ACK | CWR | ECE, ACK | ECE, ACK | PSH | FIN | ECE]);
}

#[test]
fn the_urgent_flag_and_pointer_are_on_every_part() {
    let packet = Build::tcp(Family::V6).payload(30).with(|packet| {
        packet.flags = ACK | URG;
        packet.urgent = 5;
    });
    let (vnet, bytes) = packet.super_packet(Some(10));

    for part in cut(&vnet, &bytes) {
        assert_eq!(part[40 + 13], ACK | URG);
        assert_eq!(number(&part, 40 + 18), 5);
        verify(&part, 0);
    }
}

#[test]
fn extension_headers_and_options_are_on_every_part() {
    let destination_options = vec![6, 0, 1, 4, 0, 0, 0, 0];
    let v6 = Build::tcp(Family::V6)
        .payload(30)
        .with(|packet| packet.extension = destination_options.clone());
    let (vnet, bytes) = v6.super_packet(Some(10));
    for part in cut(&vnet, &bytes) {
        assert_eq!(part[40..48], destination_options);
        verify(&part, destination_options.len());
    }

    let v4 = Build::udp(Family::V4)
        .payload(30)
        .with(|packet| packet.ip_options = vec![1, 1, 1, 0]);
    let (vnet, bytes) = v4.super_packet(Some(10));
    for part in cut(&vnet, &bytes) {
        assert_eq!(part[20..24], [1, 1, 1, 0]);
        verify(&part, 0);
    }
}

#[test]
fn a_begun_checksum_is_completed_and_a_whole_packet_is_left_alone() {
    for family in [Family::V4, Family::V6] {
        for packet in [Build::tcp(family), Build::udp(family)] {
            for len in [0, 1, 2, 1371] {
                let packet = packet.clone().payload(len);
                let (vnet, bytes) = packet.super_packet(None);

                assert_eq!(cut(&vnet, &bytes), [packet.packet()]);
                let untouched = cut(&VnetHeader::default(), &bytes);
                assert_eq!(untouched, [bytes]);
            }
        }
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let (good, bytes) = Build::tcp(Family::V4).payload(100).super_packet(Some(10));
    let refusal = |change: fn(&mut VnetHeader, &mut Vec<u8>)| {
        let (mut vnet, mut bytes) = (good, bytes.clone());
        change(&mut vnet, &mut bytes);
        split(&vnet, &mut bytes).map(|_| ()).unwrap_err()
    };
    let malformed = SplitError::Malformed(GsoKind::Tcp4);

    assert_eq!(
        refusal(|vnet, _| vnet.checksum = None),
        SplitError::NoTransport
    );
    assert_eq!(
        refusal(|vnet, _| vnet.gso.as_mut().unwrap().size = 0),
        SplitError::NoSize
    );
    assert_eq!(refusal(|_, bytes| bytes[0] = 0x65), malformed);
    // A TCP header shorter than one can be, and one longer than the packet.
    assert_eq!(refusal(|_, bytes| bytes[32] = 0x40), malformed);
    assert_eq!(
        refusal(|_, bytes| {
            bytes.truncate(60);
            bytes[32] = 0xf0;
        }),
        malformed
    );
    assert_eq!(refusal(|_, bytes| bytes.truncate(30)), malformed);
    let outside = refusal(|vnet, _| {
        vnet.gso = None;
        vnet.checksum = Some(PartialChecksum {
            start: 20,
            offset: 131,
        });
    });
    assert_eq!(
        outside,
        SplitError::ChecksumOutside {
            start: 20,
            offset: 131,
            len: 152
        }
    );
}
