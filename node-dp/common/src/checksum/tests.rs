//! Changing a checksum by what was rewritten gives what a fresh sum over everything gives.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::address::Port;

#[test]
fn the_sum_of_the_rfcs_example_is_as_it_says() {
    // RFC 1071, section 3: 0001 f203 f4f5 f6f7 add up to ddf2.
    let sum = sum_of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);

    assert_eq!(u16::from_be(sum.fold()), 0xddf2);
}

proptest! {
    #[test]
    fn an_ipv4_headers_checksum_changes_as_if_computed_anew(
        mut header in prop::array::uniform20(any::<u8>()),
        source: u32,
        destination: u32,
    ) {
        header[0] = 0x45;
        header[10..12].fill(0);
        let before = sum_of(&header).checksum();
        let old = tuple(v4(&header[12..16]), v4(&header[16..20]), 0, 0);
        let new = tuple(source.into(), destination.into(), 0, 0);
        header[12..16].copy_from_slice(&source.to_be_bytes());
        header[16..20].copy_from_slice(&destination.to_be_bytes());

        let change = Change::between(&old, &new).addresses;
        let changed = replaced(before, change);

        prop_assert_eq!(normal(change.applied_to(before)), normal(changed));
        prop_assert_eq!(normal(changed), normal(sum_of(&header).checksum()));
    }

    #[test]
    fn a_segments_checksum_changes_as_if_computed_anew(
        (old, new) in prop_oneof![(any_v4(), any_v4()), (any_v6(), any_v6())],
        payload in prop::collection::vec(any::<u8>(), 0..64),
        protocol in prop::sample::select(&[6u8, 17][..]),
    ) {
        let before = full(&old, &payload, protocol);
        let change = Change::between(&old, &new);

        let change = change.addresses.plus(change.ports);
        let changed = replaced(before, change);

        prop_assert_eq!(normal(change.applied_to(before)), normal(changed));
        prop_assert_eq!(normal(changed), normal(full(&new, &payload, protocol)));
    }

    #[test]
    fn a_hop_changes_an_ipv4_headers_checksum_as_if_computed_anew(
        mut header in prop::array::uniform20(any::<u8>()),
    ) {
        header[0] = 0x45;
        header[8] = header[8].max(1);
        header[10..12].fill(0);
        let before = sum_of(&header).checksum();
        header[8] -= 1;

        prop_assert_eq!(
            normal(Sum::of_hop().applied_to(before)),
            normal(sum_of(&header).checksum())
        );
    }

    #[test]
    fn taking_away_undoes_adding(a: u32, b: u32) {
        let sum = Sum::ZERO.plus_word(a).plus_word(b).minus(Sum::ZERO.plus_word(b));

        prop_assert_eq!(normal(sum.fold()), normal(Sum::ZERO.plus_word(a).fold()));
    }
}

/// What the kernel's helpers do with a difference.
fn replaced(checksum: u16, difference: Sum) -> u16 {
    Sum::ZERO
        .plus_half(!checksum)
        .plus_word(difference.fold_to_word())
        .checksum()
}

/// One's complement has two zeros, which say the same in a checksum; UDP sends the one of all ones.
fn normal(checksum: u16) -> u16 {
    if checksum == 0xffff { 0 } else { checksum }
}

fn full(tuple: &Tuple, payload: &[u8], protocol: u8) -> u16 {
    let mut segment = Vec::new();
    segment.extend(tuple.source_port.number().to_be_bytes());
    segment.extend(tuple.destination_port.number().to_be_bytes());
    segment.extend(payload);
    let length = u16::try_from(segment.len()).unwrap();
    pseudo_header(tuple, length, protocol)
        .plus(sum_of(&segment))
        .checksum()
}

/// Word by word as RFC 1071 has it.
fn sum_of(bytes: &[u8]) -> Sum {
    bytes.chunks(2).fold(Sum::ZERO, |sum, pair| {
        sum.plus_half(u16::from_ne_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))
    })
}

fn any_v4() -> impl Strategy<Value = Tuple> {
    any::<(u32, u32, u16, u16)>().prop_map(|(source, destination, from, to)| {
        tuple(source.into(), destination.into(), from, to)
    })
}

fn any_v6() -> impl Strategy<Value = Tuple> {
    any::<(u128, u128, u16, u16)>().prop_map(|(source, destination, from, to)| {
        // Outside of the mapped addresses, which no packet carries.
        let ip = |bits: u128| IpAddr::V6(Ipv6Addr::from_bits(bits | 0xfd00 << 112));
        Tuple {
            source: ip(source).into(),
            destination: ip(destination).into(),
            source_port: from.into(),
            destination_port: to.into(),
        }
    })
}

fn tuple(source: Ipv4Addr, destination: Ipv4Addr, from: u16, to: u16) -> Tuple {
    Tuple {
        source: source.into(),
        destination: destination.into(),
        source_port: Port::from(from),
        destination_port: Port::from(to),
    }
}

fn v4(bytes: &[u8]) -> Ipv4Addr {
    Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])
}
