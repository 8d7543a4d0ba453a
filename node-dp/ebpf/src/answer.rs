//! Tells a client at once that nobody serves: a reset for TCP, an ICMP error for UDP, made from its own packet.

use aya_ebpf::bindings::TC_ACT_SHOT;
use node_dp_common::{
    Tuple,
    checksum::{Sum, pseudo_header},
    conntrack::TcpFlags,
};

use crate::{
    layers::{Fragment, ICMP_V4, ICMP_V6, Ipv4Header, Ipv6Header, Layers, TCP, TcpHeader, UDP},
    packet::Packet,
};

/// How far an answer may travel.
const HOPS: u8 = 64;

const TCP_LENGTH: u32 = 20;
const UDP_LENGTH: u32 = 8;
const ICMP_LENGTH: u32 = 8;

/// "Port unreachable": type and code of each family.
const UNREACHABLE_V4: [u8; 2] = [3, 3];
const UNREACHABLE_V6: [u8; 2] = [1, 4];

/// The head of an ICMP error of either family.
#[repr(C)]
#[derive(Clone, Copy)]
struct IcmpHeader {
    kind: [u8; 2],
    checksum: u16,
    unused: u32,
}

const _: () = assert!(size_of::<IcmpHeader>() as u32 == ICMP_LENGTH);

/// Sends an answer in place of the packet; returns what the program must return.
///
/// The first fragment of a datagram is dropped without one: it is the whole that is refused, and it will not become whole.
#[inline(always)]
pub(crate) fn refuse(packet: &Packet, layers: &Layers) -> i32 {
    if layers.fragment != Fragment::Whole {
        return TC_ACT_SHOT as i32;
    }
    let answered = match layers.protocol {
        TCP => reset(packet, layers),
        _ => unreachable(packet, layers),
    };
    match answered {
        Some(()) => packet.send_back(),
        None => TC_ACT_SHOT as i32,
    }
}

/// Turns a segment into its reset, as RFC 9293 3.10.7.1 has it for a port that nobody listens at.
#[inline(never)]
fn reset(packet: &Packet, layers: &Layers) -> Option<()> {
    let asked: TcpHeader = packet.load(layers.transport)?;
    let has = |flag: u8| u32::from(asked.flags & flag != 0);
    let header_length = u32::from(asked.length >> 4) * 4;
    let payload = layers
        .end
        .checked_sub(layers.transport + header_length)
        .unwrap_or_default();
    let taken = payload + has(TcpFlags::SYN) + has(TcpFlags::FIN);
    let is_acknowledging = asked.flags & TcpFlags::ACK != 0;
    let mut reset = TcpHeader {
        source: asked.destination,
        destination: asked.source,
        sequence: 0,
        acknowledged: 0,
        length: 5 << 4,
        flags: TcpFlags::RST,
        window: 0,
        checksum: 0,
        urgent: 0,
    };
    if is_acknowledging {
        reset.sequence = asked.acknowledged;
    } else {
        reset.acknowledged = u32::from_be(asked.sequence).wrapping_add(taken).to_be();
        reset.flags |= TcpFlags::ACK;
    }

    let is_unfinished = packet.is_unfinished(layers.transport + 16)?;
    let pseudo = pseudo_header(&between(layers), TCP_LENGTH as u16, TCP);
    reset.checksum = if is_unfinished {
        pseudo.fold()
    } else {
        pseudo.plus(sum(&reset)).checksum()
    };
    packet.cut(layers.transport + TCP_LENGTH).ok()?;
    packet.store(layers.transport, &reset).ok()?;
    turn_ip(packet, layers)?;
    packet.turn_link().ok()
}

/// Turns the IP header of a segment that has been cut to its header round.
#[inline(always)]
fn turn_ip(packet: &Packet, layers: &Layers) -> Option<()> {
    let length = (layers.transport - layers.ip + TCP_LENGTH) as u16;
    if layers.is_v4 {
        let old: Ipv4Header = packet.load(layers.ip)?;
        let new = Ipv4Header {
            total_length: length.to_be(),
            hops: HOPS,
            source: old.destination,
            destination: old.source,
            ..old
        };
        packet.store(layers.ip, &new).ok()?;
        let change = sum_of_ipv4(&new).minus(sum_of_ipv4(&old));
        return packet.mend_ip(layers.ip, change).ok();
    }
    let old: Ipv6Header = packet.load(layers.ip)?;
    let new = Ipv6Header {
        length: (length - 40).to_be(),
        hops: HOPS,
        source: old.destination,
        destination: old.source,
        ..old
    };
    packet.store(layers.ip, &new).ok()
}

/// Turns a datagram into the error that quotes its headers.
#[inline(never)]
fn unreachable(packet: &Packet, layers: &Layers) -> Option<()> {
    if layers.protocol != UDP {
        return None;
    }
    // Asking spoils the checksum, and the sender shall find its own in the quote.
    let before: u16 = packet.load(layers.transport + 6)?;
    let is_unfinished = packet.is_unfinished(layers.transport + 6)?;
    packet.store(layers.transport + 6, &before).ok()?;
    let quoted_segment = if is_unfinished {
        // Once the checksum is there, all the segment adds up to the complement of the pseudo header's sum.
        Sum::ZERO.plus_half(!before)
    } else {
        sum_of_words(&packet.load::<[u32; 2]>(layers.transport)?)
    };
    packet.cut(layers.transport + UDP_LENGTH).ok()?;
    let quoted_length = layers.transport - layers.ip + UDP_LENGTH;
    if layers.is_v4 {
        // A correct IPv4 header adds up to nothing.
        return error_v4(packet, layers, quoted_length, quoted_segment);
    }
    error_v6(packet, layers, quoted_length, quoted_segment)
}

#[inline(always)]
fn error_v4(packet: &Packet, layers: &Layers, quoted_length: u32, quoted: Sum) -> Option<()> {
    let around = size_of::<Ipv4Header>() as u32 + ICMP_LENGTH;
    packet.make_room(around as i32).ok()?;
    let answer = between(layers);
    let mut ip = Ipv4Header {
        version_and_length: 4 << 4 | 5,
        class: 0,
        total_length: ((around + quoted_length) as u16).to_be(),
        id: 0,
        fragment: 0x4000_u16.to_be(),
        hops: HOPS,
        protocol: ICMP_V4,
        checksum: 0,
        source: answer.source.to_words()[3],
        destination: answer.destination.to_words()[3],
    };
    ip.checksum = sum_of_ipv4(&ip).checksum();
    packet.store(packet.link(), &ip).ok()?;
    let icmp = error(UNREACHABLE_V4, quoted);
    let offset = packet.link() + size_of::<Ipv4Header>() as u32;
    packet.store(offset, &icmp).ok()?;
    packet.turn_link().ok()
}

#[inline(always)]
fn error_v6(packet: &Packet, layers: &Layers, quoted_length: u32, quoted: Sum) -> Option<()> {
    // Extension headers would have to be added up too; no client of a service sends them.
    if layers.transport - layers.ip != size_of::<Ipv6Header>() as u32 {
        return None;
    }
    let quoted_ip: [u32; 10] = packet.load(layers.ip)?;
    let around = size_of::<Ipv6Header>() as u32 + ICMP_LENGTH;
    packet.make_room(around as i32).ok()?;
    let answer = between(layers);
    let length = (ICMP_LENGTH + quoted_length) as u16;
    let ip = Ipv6Header {
        version_and_class: (6_u32 << 28).to_be(),
        length: length.to_be(),
        next: ICMP_V6,
        hops: HOPS,
        source: answer.source.to_words(),
        destination: answer.destination.to_words(),
    };
    packet.store(packet.link(), &ip).ok()?;
    let covered = pseudo_header(&answer, length, ICMP_V6)
        .plus(sum_of_words(&quoted_ip))
        .plus(quoted);
    let icmp = error(UNREACHABLE_V6, covered);
    let offset = packet.link() + size_of::<Ipv6Header>() as u32;
    packet.store(offset, &icmp).ok()?;
    packet.turn_link().ok()
}

#[inline(always)]
fn error(kind: [u8; 2], covered: Sum) -> IcmpHeader {
    IcmpHeader {
        kind,
        checksum: covered.plus_half(u16::from_ne_bytes(kind)).checksum(),
        unused: 0,
    }
}

/// From the frontend to the client.
#[inline(always)]
fn between(layers: &Layers) -> Tuple {
    Tuple {
        source: layers.destination,
        destination: layers.source,
        ..Tuple::default()
    }
}

#[inline(always)]
fn sum(header: &TcpHeader) -> Sum {
    Sum::ZERO
        .plus_half(header.source)
        .plus_half(header.destination)
        .plus_word(header.sequence)
        .plus_word(header.acknowledged)
        .plus_half(u16::from_ne_bytes([header.length, header.flags]))
        .plus_half(header.window)
}

#[inline(always)]
fn sum_of_ipv4(header: &Ipv4Header) -> Sum {
    Sum::ZERO
        .plus_half(u16::from_ne_bytes([
            header.version_and_length,
            header.class,
        ]))
        .plus_half(header.total_length)
        .plus_half(header.id)
        .plus_half(header.fragment)
        .plus_half(u16::from_ne_bytes([header.hops, header.protocol]))
        .plus_word(header.source)
        .plus_word(header.destination)
}

#[inline(always)]
fn sum_of_words<const N: usize>(words: &[u32; N]) -> Sum {
    words
        .iter()
        .fold(Sum::ZERO, |sum, word| sum.plus_word(*word))
}
