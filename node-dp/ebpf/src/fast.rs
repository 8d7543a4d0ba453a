//! The fast path: forwards packets of flows that are under way as their device's driver receives them.
//!
//! It decides nothing. The programs that come later open flows, end them, and see every packet with which one begins or ends;
//! what is forwarded here comes out as if they and the kernel between them had done it. Whatever is not plain goes on to them.
//!
//! A flow's next hop is remembered with it for a second, so that the kernel's routes and neighbours are asked once a second
//! and direction and not for each packet. In one of sixteen seconds the packet that would ask goes on to the kernel instead,
//! which so sees that its neighbour is in use, asks whether it is still there, and forgets it if it is not.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext,
    bindings::{
        BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup,
        xdp_action::{XDP_PASS, XDP_TX},
    },
    helpers::{self, bpf_redirect},
    macros::xdp,
    programs::XdpContext,
};
use node_dp_common::{
    DeviceValue, FlowKey, FlowValue, Hook, Port, Tuple,
    flow::Role,
    next_hop::{EthernetAddress, is_turn},
};

use crate::{
    flows,
    frame::{Frame, Ip, Seen, Segment, Turn, Visitor, visit},
    maps::{DEVICES, FLOWS, count_forwarded},
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

#[xdp]
fn isthmus_fast(context: XdpContext) -> u32 {
    // Not even zeroed: that would cost as much as a look-up.
    let (mut seen, mut turn) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    let forward = Forward {
        context: &context,
        seen: &mut seen,
        turn: &mut turn,
    };
    visit(&context, forward).unwrap_or(XDP_PASS)
}

/// What the program works on, once on its stack for all kinds of frames.
struct Forward<'a> {
    context: &'a XdpContext,
    seen: &'a mut MaybeUninit<Seen>,
    turn: &'a mut MaybeUninit<Turn>,
}

impl Visitor for Forward<'_> {
    #[inline(always)]
    fn visit<I: Ip, S: Segment>(self, frame: &mut Frame<I, S>, room: u32) -> Option<u32> {
        if !frame.see(room, self.seen) {
            return None;
        }
        // SAFETY: it has been written.
        let seen = unsafe { self.seen.assume_init_ref() };
        if !decide(self.context, seen, self.turn) {
            return None;
        }
        // SAFETY: as above.
        let turn = unsafe { self.turn.assume_init_ref() };
        frame.turn(&seen.tuple, turn);
        count_forwarded();
        Some(send(self.context, turn.device))
    }
}

#[inline(always)]
fn send(context: &XdpContext, device: u32) -> u32 {
    if device == context.ingress_ifindex() as u32 {
        return XDP_TX;
    }
    // SAFETY: the helper takes numbers.
    unsafe { bpf_redirect(device, 0) as u32 }
}

/// Writes what the packet becomes and where it goes; false if that is not for the fast path to say.
///
/// In a frame of its own, as are the entries that a reply is looked up by: not all fit on the stack of one function.
#[inline(never)]
fn decide(context: &XdpContext, seen: &Seen, turn: &mut MaybeUninit<Turn>) -> bool {
    turn_of(context, seen, turn).is_some()
}

#[inline(always)]
fn turn_of(context: &XdpContext, seen: &Seen, turn: &mut MaybeUninit<Turn>) -> Option<()> {
    let key = FlowKey::new(seen.tuple, seen.protocol, Hook::Ingress);
    let found = find(&key)?;
    let now = flows::now();
    match found.role()? {
        Role::Origin => {
            if found.hop().is_stale(now) {
                arrive(context, seen)?;
                settle(found, now)?;
                refresh(context, seen, found, now);
                yield_turn(now, seen.tuple.source_port)?;
            }
            leave(context, seen, found)?;
            write(turn, found.sent(), found);
            Some(())
        }
        Role::Masquerade => back(context, (seen, found.tuple_in_place()), now, turn),
        // What comes in has no such entry.
        Role::Reply => None,
    }
}

/// The same for a packet from a backend, whose second half is an entry of its own.
#[inline(always)]
fn back(
    context: &XdpContext,
    (seen, routed): (&Seen, &Tuple),
    now: u32,
    turn: &mut MaybeUninit<Turn>,
) -> Option<()> {
    let reply = find(&FlowKey::new(*routed, seen.protocol, Hook::Egress))?;
    if reply.hop().is_stale(now) {
        arrive(context, seen)?;
        let origin = FlowKey::new(
            reply.tuple_in_place().reverse(),
            seen.protocol,
            Hook::Ingress,
        );
        settle(find(&origin)?, now)?;
        refresh(context, seen, reply, now);
        yield_turn(now, reply.tuple_in_place().destination_port)?;
    }
    leave(context, seen, reply)?;
    write(turn, reply.tuple(), reply);
    Some(())
}

#[inline(always)]
fn write(turn: &mut MaybeUninit<Turn>, tuple: Tuple, holder: &FlowValue) {
    turn.write(Turn {
        tuple,
        device: holder.hop().device(),
        addresses: holder.hop().addresses(),
    });
}

#[inline(always)]
fn find(key: &FlowKey) -> Option<&'static mut FlowValue> {
    let found = FLOWS.get_ptr_mut(key)?;
    // SAFETY: an element that is removed stays as it is until the program ends (RCU). Its tuple is never written in place; of
    // its state and its next hop the last writer wins, and a next hop that is read while another CPU replaces it is at worst
    // mixed of two that were right within two seconds.
    Some(unsafe { &mut *found })
}

/// `None` if the packet is meant for another host.
#[inline(always)]
fn arrive(context: &XdpContext, seen: &Seen) -> Option<()> {
    let device = device(context.ingress_ifindex() as u32)?;
    (device.address() == seen.arrival).then_some(())
}

#[inline(always)]
fn device(index: u32) -> Option<&'static DeviceValue> {
    // SAFETY: a replaced value stays readable until the program ends (RCU), and is never written in place.
    unsafe { DEVICES.get(index) }
}

/// Notes that the flow is alive; `None` unless both ends have spoken and neither is done.
///
/// Until then whatever the kernel has to say of the flow, such as by its packet filter, it says to each packet.
#[inline(always)]
fn settle(origin: &mut FlowValue, now: u32) -> Option<()> {
    let state = origin.state();
    if !state.is_settled() {
        return None;
    }
    origin.note(state, now);
    Some(())
}

/// Gives the packet to the kernel where it is its turn.
#[inline(always)]
fn yield_turn(now: u32, client: Port) -> Option<()> {
    (!is_turn(now, client.number())).then_some(())
}

/// Notes where the kernel would send what it routes, for a second.
#[inline(always)]
fn refresh(context: &XdpContext, seen: &Seen, holder: &mut FlowValue, now: u32) {
    holder.hop_mut().clear(now);
    ask(context, seen, holder);
}

/// Whether there is a way and the packet fits: what is larger than all before is asked for by itself.
#[inline(always)]
fn leave(context: &XdpContext, seen: &Seen, holder: &mut FlowValue) -> Option<()> {
    if !holder.hop().is_for(seen.arrival) {
        return None;
    }
    if !holder.hop().fits(seen.length) {
        ask(context, seen, holder);
        if !holder.hop().fits(seen.length) {
            return None;
        }
    }
    Some(())
}

/// What the kernel is asked, and what it answers: `struct bpf_fib_lookup`.
#[repr(C)]
struct Question {
    family: u8,
    protocol: u8,
    source_port: u16,
    destination_port: u16,
    length: u16,
    /// By which device the packet came; then by which it leaves.
    device: u32,
    class: u32,
    source: [u32; 4],
    destination: [u32; 4],
    vlan: [u16; 2],
    from: EthernetAddress,
    to: EthernetAddress,
}

const _: () = assert!(size_of::<Question>() == size_of::<bpf_fib_lookup>());

/// Asks the kernel where it would send the packet as it routes it, and notes the way if it is one that the fast path can take.
///
/// That is between the two halves, `client:s > backend:b` or back: only the destination's address has been turned, and there the
/// ports.
#[inline(never)]
fn ask(context: &XdpContext, seen: &Seen, holder: &mut FlowValue) {
    let came_by = context.ingress_ifindex() as u32;
    let turned = holder.tuple_in_place();
    let ports = match holder.role() == Some(Role::Origin) {
        true => turned,
        false => &seen.tuple,
    };
    let mut question = Question {
        family: AF_INET6,
        protocol: seen.protocol,
        source_port: ports.source_port.to_network(),
        destination_port: ports.destination_port.to_network(),
        length: seen.length,
        device: came_by,
        class: seen.class,
        source: seen.tuple.source.to_words(),
        destination: turned.destination.to_words(),
        vlan: [0; 2],
        from: [0; 6],
        to: [0; 6],
    };
    if seen.tuple.source.is_v4() {
        question.family = AF_INET;
        question.source[0] = question.source[3];
        question.destination[0] = question.destination[3];
    }
    let size = size_of::<Question>() as i32;
    // SAFETY: the question is as large as what the helper takes, and laid out like it.
    let answer = unsafe {
        helpers::bpf_fib_lookup(
            context.as_ptr(),
            (&raw mut question).cast::<bpf_fib_lookup>(),
            size,
            0,
        )
    };
    if answer != i64::from(BPF_FIB_LKUP_RET_SUCCESS) {
        return;
    }
    let leaves_by = question.device;
    if can_leave(came_by, leaves_by).is_none() {
        return;
    }
    let addresses = [&question.to, &question.from];
    let hop = holder.hop_mut();
    hop.lead(leaves_by, seen.length, &seen.arrival, addresses);
}

/// `None` if what came by a device cannot leave by another.
#[inline(always)]
fn can_leave(came_by: u32, leaves_by: u32) -> Option<()> {
    let here = device(came_by)?;
    let can_leave = match came_by == leaves_by {
        true => here.returns(),
        false => here.reaches(device(leaves_by)?),
    };
    can_leave.then_some(())
}
