//! What the programs on devices do with a packet: rewrite it by its flow, open a flow for it, or answer it.

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    macros::classifier,
    programs::TcContext,
};
use node_dp_common::{
    DropReason, Flow, FlowKey, FlowState, FlowValue, FragmentKey, FragmentValue, Hook, Tuple,
    checksum::Change,
    conntrack::{Direction, TcpFlags},
    flow::Role,
};

use crate::{
    affinity::Affinity,
    answer, flows, icmp,
    layers::{Fragment, ICMP_V4, ICMP_V6, Layers, TCP, UDP},
    maps::{FLOWS, FRAGMENTS, WORK, count},
    packet::{Checksum, Packet},
    service,
};

/// The length of an Ethernet header; devices such as tunnels have none.
const ETHERNET: u32 = 14;
const NO_LINK: u32 = 0;

/// What happens to a packet.
#[must_use]
pub(crate) enum Verdict {
    /// It goes on, rewritten or not.
    Pass,
    /// It is dropped.
    Drop(DropReason),
    /// It is dropped, and its sender is told.
    Refuse(DropReason),
}

/// What a program works on.
pub(crate) struct Work {
    /// The packet's headers.
    pub(crate) layers: Layers,
    /// The headers of the packet that it quotes.
    pub(crate) quoted: Layers,
    /// Its key in the table of flows.
    pub(crate) key: FlowKey,
    /// The key of the flow's origin, for a reply; of the datagram, for a fragment.
    origin: FlowKey,
    datagram: FragmentKey,
    /// The flow that it opens.
    pub(crate) flow: Flow,
    /// Its client, where that keeps a backend.
    affinity: Affinity,
    /// What its tuple becomes.
    pub(crate) new: Tuple,
}

#[classifier]
fn isthmus_in(context: TcContext) -> i32 {
    run(&Packet::new(&context, ETHERNET), Hook::Ingress)
}

#[classifier]
fn isthmus_out(context: TcContext) -> i32 {
    run(&Packet::new(&context, ETHERNET), Hook::Egress)
}

#[classifier]
fn isthmus_in_l3(context: TcContext) -> i32 {
    run(&Packet::new(&context, NO_LINK), Hook::Ingress)
}

#[classifier]
fn isthmus_out_l3(context: TcContext) -> i32 {
    run(&Packet::new(&context, NO_LINK), Hook::Egress)
}

#[inline(always)]
fn run(packet: &Packet, hook: Hook) -> i32 {
    let Some(work) = WORK.get_ptr_mut(0) else {
        return TC_ACT_UNSPEC;
    };
    // SAFETY: the slot is this CPU's, and no other program on a device begins there before this one ends. It holds zeros or
    // what a program wrote, both valid values.
    let work = unsafe { &mut *work };
    if packet.find(&mut work.layers).is_none() {
        return TC_ACT_UNSPEC;
    }
    let verdict = match work.layers.protocol {
        TCP | UDP => segment(packet, work, hook),
        ICMP_V4 | ICMP_V6 => icmp::translate(packet, work, hook),
        _ => Verdict::Pass,
    };
    match verdict {
        // The next program on the device decides, or else the packet goes on.
        Verdict::Pass => TC_ACT_UNSPEC,
        Verdict::Drop(reason) => {
            count(reason);
            TC_ACT_SHOT as i32
        }
        Verdict::Refuse(reason) => {
            count(reason);
            answer::refuse(packet, &work.layers)
        }
    }
}

#[inline(always)]
fn segment(packet: &Packet, work: &mut Work, hook: Hook) -> Verdict {
    if work.layers.fragment != Fragment::Whole {
        work.datagram = datagram(&work.layers, hook);
    }
    let Some(tuple) = tuple_of(packet, work) else {
        return Verdict::Pass;
    };
    let Some(flags) = flags_of(packet, &work.layers) else {
        return Verdict::Pass;
    };
    work.key = FlowKey::new(tuple, work.layers.protocol, hook);
    if !is_known(work, flags) {
        if hook == Hook::Egress {
            return Verdict::Pass;
        }
        match open(work, flags) {
            Ok(true) => {}
            Ok(false) => return Verdict::Pass,
            // What a service's owner wants to keep out gets no answer, as from kube-proxy.
            Err(DropReason::SourceRefused) => return Verdict::Drop(DropReason::SourceRefused),
            Err(reason) => return Verdict::Refuse(reason),
        }
    }
    if work.layers.fragment == Fragment::First {
        remember_ports(work);
    }
    match rewrite(packet, work) {
        0 => Verdict::Pass,
        _ => Verdict::Drop(DropReason::NotRewritable),
    }
}

/// The packet's addresses and ports; `None` if its ports cannot be known.
#[inline(always)]
fn tuple_of(packet: &Packet, work: &Work) -> Option<Tuple> {
    let layers = &work.layers;
    let (source_port, destination_port) = match layers.fragment {
        Fragment::Whole | Fragment::First => packet.ports(layers.transport)?,
        Fragment::Later => {
            // SAFETY: the value is copied at once; one that is replaced meanwhile belongs to another datagram of the same
            // number, whose fragments cannot be told apart anyway.
            let ports = unsafe { FRAGMENTS.get(&work.datagram) }?;
            (ports.source_port, ports.destination_port)
        }
    };
    Some(Tuple {
        source: layers.source,
        destination: layers.destination,
        source_port,
        destination_port,
    })
}

/// The flags of a TCP segment; `None` if the packet ends before them.
#[inline(always)]
fn flags_of(packet: &Packet, layers: &Layers) -> Option<TcpFlags> {
    if layers.protocol != TCP {
        return Some(TcpFlags::NONE);
    }
    if layers.fragment == Fragment::Later {
        // It was sent in the middle of its connection.
        return Some(TcpFlags(TcpFlags::ACK));
    }
    packet.load(layers.transport + 13).map(TcpFlags)
}

/// Finds what a packet of a known flow becomes, and notes the packet in the flow's state; false if there is no such flow.
#[inline(always)]
fn is_known(work: &mut Work, flags: TcpFlags) -> bool {
    let Some(value) = FLOWS.get_ptr_mut(&work.key) else {
        return false;
    };
    // SAFETY: an element that is removed stays as it is until the program ends (RCU). Its tuple is never written in place;
    // of its state the last writer wins, and any of the states that two CPUs write is one that the flow has been in.
    let value: &mut FlowValue = unsafe { &mut *value };
    match value.role() {
        Some(Role::Origin) => {
            let state = value.state();
            if state.is_over() && flags.opens() {
                work.flow = Flow::from_origin(&work.key, value);
                flows::close(&work.flow);
                return false;
            }
            value.note(state.next(Direction::Original, flags), flows::now());
        }
        Some(Role::Reply) => {
            let dialled = value.tuple().reverse();
            work.origin = FlowKey::new(dialled, work.key.protocol(), Hook::Ingress);
            if let Some(origin) = FLOWS.get_ptr_mut(&work.origin) {
                // SAFETY: as above.
                let origin: &mut FlowValue = unsafe { &mut *origin };
                origin.note(origin.state().next(Direction::Reply, flags), flows::now());
            }
        }
        Some(Role::Masquerade) | None => {}
    }
    work.new = value.tuple();
    true
}

/// Opens a flow for a packet to a frontend; false if it is to none, or opens nothing.
#[inline(always)]
fn open(work: &Work, flags: TcpFlags) -> Result<bool, DropReason> {
    // What ends a connection that is not known here ends nothing.
    if work.layers.fragment == Fragment::Later || flags.has(TcpFlags::RST) {
        return Ok(false);
    }
    let is_routed = answer_of(isthmus_route())?;
    if is_routed {
        answer_of(isthmus_enter(FlowState::first(flags) as u32))?;
    }
    Ok(is_routed)
}

// Functions that the kernel verifies by themselves, whatever their callers have been through, or it would look at hundreds
// of thousands of instructions: hence their symbols, their numbers for results, and that they take no pointers, which
// kernels before 5.12 would refuse. Each works on this CPU's work.

/// Routes the flow that the packet opens.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn isthmus_route() -> i32 {
    let Some(work) = WORK.get_ptr_mut(0) else {
        return NO;
    };
    // SAFETY: as in `run`, whose own reference is not used before this function has ended.
    let work = unsafe { &mut *work };
    number_of(service::route(
        &work.key,
        &mut work.flow,
        &mut work.affinity,
    ))
}

/// Enters the routed flow, in a state.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn isthmus_enter(state: u32) -> i32 {
    let Some(work) = WORK.get_ptr_mut(0) else {
        return NO;
    };
    // SAFETY: as above.
    let work = unsafe { &mut *work };
    number_of(flows::open(work, FlowState::from_number(state as u8)).map(|()| true))
}

/// What such a function answers; a reason to refuse is its number.
const YES: i32 = -1;
const NO: i32 = -2;

#[inline(always)]
fn number_of(answer: Result<bool, DropReason>) -> i32 {
    match answer {
        Ok(true) => YES,
        Ok(false) => NO,
        Err(reason) => reason.number() as i32,
    }
}

#[inline(always)]
fn answer_of(number: i32) -> Result<bool, DropReason> {
    match number {
        YES => Ok(true),
        NO => Ok(false),
        reason => Err(DropReason::from_number(reason as u32)),
    }
}

/// Gives the packet its new tuple. Returns zero if all went well.
///
/// A function of its own, as those that route and enter a flow must fit on the stack below its caller: before 6.8 the kernel
/// rounds each function's part up to 32 bytes.
#[inline(never)]
fn rewrite(packet: &Packet, work: &Work) -> i32 {
    i32::from(rewrite_by(packet, &work.layers, &work.key.tuple(), &work.new).is_err())
}

#[inline(always)]
fn rewrite_by(
    packet: &Packet,
    layers: &Layers,
    old: &Tuple,
    new: &Tuple,
) -> Result<(), DropReason> {
    let change = Change::between(old, new);
    let has_transport = layers.fragment != Fragment::Later;
    if has_transport {
        let checksum = Checksum::of_segment(layers);
        packet.mend_pseudo(checksum, change.addresses)?;
        packet.mend(checksum, change.ports)?;
        packet.set_ports(layers.transport, new)?;
    }
    packet.set_addresses(layers, new, change.addresses, has_transport)
}

#[inline(always)]
fn remember_ports(work: &Work) {
    let tuple = work.key.tuple();
    let value = FragmentValue {
        source_port: tuple.source_port,
        destination_port: tuple.destination_port,
    };
    if FRAGMENTS.insert(&work.datagram, value, 0).is_err() {
        count(DropReason::NotRemembered);
    }
}

#[inline(always)]
fn datagram(layers: &Layers, hook: Hook) -> FragmentKey {
    FragmentKey::new(
        layers.source,
        layers.destination,
        layers.fragment_id,
        layers.protocol,
        hook,
    )
}
