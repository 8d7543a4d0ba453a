//! ICMP errors: they quote a packet of a flow, and reach who sent it with the addresses that it knows.

use node_dp_common::{DropReason, FlowKey, Hook, Tuple, checksum::Change};

use crate::{
    device::{Verdict, Work},
    layers::{Fragment, ICMP_V4, Layers, TCP, UDP},
    maps::FLOWS,
    packet::{Checksum, Packet},
};

/// The types that quote a packet: unreachable (with "fragmentation needed"), time exceeded, bad parameter; and for IPv6
/// the same four, "too big" being one of its own.
#[inline(always)]
fn quotes(layers: &Layers, kind: u8) -> bool {
    if layers.is_v4 {
        matches!(kind, 3 | 11 | 12)
    } else {
        matches!(kind, 1..=4)
    }
}

/// Translates an error about a packet of a known flow; everything else passes.
#[inline(always)]
pub(crate) fn translate(packet: &Packet, work: &mut Work, hook: Hook) -> Verdict {
    if !is_about_flow(packet, work, hook) {
        return Verdict::Pass;
    }
    match rewrite(packet, work) {
        0 => Verdict::Pass,
        _ => Verdict::Drop(DropReason::NotRewritable),
    }
}

/// Whether the packet is an error and quotes one of a known flow; finds the key of its replies and what they become.
///
/// In a frame of its own, for the same reason as `device::rewrite`.
#[inline(never)]
fn is_about_flow(packet: &Packet, work: &mut Work, hook: Hook) -> bool {
    let layers = &work.layers;
    if layers.is_v4 != (layers.protocol == ICMP_V4) || layers.fragment != Fragment::Whole {
        return false;
    }
    let Some(kind) = packet.load::<u8>(layers.transport) else {
        return false;
    };
    quotes(layers, kind) && find_quoted(packet, work, hook).is_some()
}

#[inline(always)]
fn find_quoted(packet: &Packet, work: &mut Work, hook: Hook) -> Option<()> {
    let begin = work.layers.transport + 8;
    let quoted = &mut work.quoted;
    if work.layers.is_v4 {
        packet.find_v4(begin, quoted)?;
    } else {
        packet.find_v6(begin, quoted)?;
    }
    if !matches!(quoted.protocol, TCP | UDP) || quoted.fragment == Fragment::Later {
        return None;
    }
    let (source_port, destination_port) = packet.ports(quoted.transport)?;
    let sent = Tuple {
        source: quoted.source,
        destination: quoted.destination,
        source_port,
        destination_port,
    };
    work.key = FlowKey::new(sent.reverse(), quoted.protocol, hook);
    // SAFETY: the value is copied at once, and its tuple is never written in place.
    work.new = unsafe { FLOWS.get(&work.key) }?.tuple();
    Some(())
}

/// Rewrites the quoted packet as its sender sent it, and the addresses around it where they are the flow's.
///
/// An error may come from a router on the way, whose address stays. Returns zero if all went well.
#[inline(never)]
fn rewrite(packet: &Packet, work: &Work) -> i32 {
    let quoted = rewrite_quoted(packet, work);
    i32::from(quoted.and_then(|()| rewrite_around(packet, work)).is_err())
}

#[inline(always)]
fn rewrite_quoted(packet: &Packet, work: &Work) -> Result<(), DropReason> {
    let checksum = Checksum::of_icmp(&work.layers);
    let sent = work.new.reverse();
    let change = Change::between(&work.key.tuple().reverse(), &sent);
    packet.set_ports(work.quoted.transport, &sent)?;
    packet.set_addresses(&work.quoted, &sent, change.addresses, false)?;
    packet.mend(checksum, change.ports)?;
    if !work.layers.is_v4 {
        // An IPv6 header has no checksum of its own that would make up for its addresses.
        packet.mend(checksum, change.addresses)?;
    }
    Ok(())
}

#[inline(always)]
fn rewrite_around(packet: &Packet, work: &Work) -> Result<(), DropReason> {
    let layers = &work.layers;
    let flow = work.key.tuple();
    let before = Tuple {
        source: layers.source,
        destination: layers.destination,
        ..Tuple::default()
    };
    let mut after = before;
    if before.source == flow.source {
        after.source = work.new.source;
    }
    if before.destination == flow.destination {
        after.destination = work.new.destination;
    }
    let change = Change::between(&before, &after).addresses;
    if !layers.is_v4 {
        packet.mend_pseudo(Checksum::of_icmp(layers), change)?;
    }
    packet.set_addresses(layers, &after, change, !layers.is_v4)
}
