//! Opens and closes flows: enters and removes all entries of one.

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_ktime_get_ns};
use node_dp_common::{
    DropReason, Flow, FlowKey, FlowState, FlowValue,
    port_range::{ATTEMPTS, candidate},
};

use crate::{device::Work, maps::FLOWS};

const EEXIST: i32 = -17;

const NS_PER_S: u64 = 1_000_000_000;

/// Seconds since boot.
#[inline(always)]
pub(crate) fn now() -> u32 {
    // SAFETY: the helper takes nothing.
    (unsafe { bpf_ktime_get_ns() } / NS_PER_S) as u32
}

/// Enters the flow that a packet opens, and says what the packet becomes.
///
/// The flow keeps its client's port if that is free towards the backend, the client is outside of the clusters and no other
/// address stands for it; else it gets one that is.
#[inline(always)]
pub(crate) fn open(work: &mut Work, state: FlowState) -> Result<(), DropReason> {
    reserve(&mut work.flow)?;
    work.new = work.flow.routed;
    match enter_origin(&work.flow, state as u32) {
        0 => Ok(()),
        error => {
            release(&work.flow);
            if error != EEXIST {
                return Err(DropReason::FlowTableFull);
            }
            // Another CPU has opened it for another packet meanwhile.
            // SAFETY: the value is copied at once, and its tuple is never written in place.
            let winner = unsafe { FLOWS.get(&work.key) };
            work.new = winner.ok_or(DropReason::FlowTableFull)?.tuple();
            Ok(())
        }
    }
}

/// Removes a flow whose client begins a new one.
#[inline(always)]
pub(crate) fn close(flow: &Flow) {
    release(flow);
    remove_origin(flow);
}

/// Finds a port that makes the flow the only one of its kind, and enters all but its origin.
#[inline(always)]
fn reserve(flow: &mut Flow) -> Result<(), DropReason> {
    if !flow.is_masqueraded() && !flow.wants_port() {
        match enter_reply(flow) {
            0 => return Ok(()),
            EEXIST => {}
            _ => return Err(DropReason::FlowTableFull),
        }
    }
    let hash = flow.dialled.hash(flow.protocol);
    for attempt in 0..ATTEMPTS {
        flow.routed.source_port = candidate(hash, attempt);
        match enter(flow) {
            0 => return Ok(()),
            EEXIST => {}
            _ => return Err(DropReason::FlowTableFull),
        }
    }
    Err(DropReason::NoSourcePort)
}

/// Enters all but the origin, or nothing; returns zero, or the error of the map.
#[inline(always)]
fn enter(flow: &Flow) -> i32 {
    if !flow.is_masqueraded() {
        return enter_reply(flow);
    }
    let error = enter_unmasquerading(flow);
    if error != 0 {
        return error;
    }
    let mut error = enter_reply(flow);
    if error == 0 {
        error = enter_masquerading(flow);
        if error != 0 {
            remove_reply(flow);
        }
    }
    if error != 0 {
        remove_unmasquerading(flow);
    }
    error
}

#[inline(always)]
fn release(flow: &Flow) {
    if flow.is_masqueraded() {
        remove_masquerading(flow);
        remove_unmasquerading(flow);
    }
    remove_reply(flow);
}

// Functions of their own, each with one entry on its stack: all four at once would not fit.

#[inline(never)]
fn enter_origin(flow: &Flow, state: u32) -> i32 {
    insert(flow.origin(FlowState::from_number(state as u8), now()))
}

#[inline(never)]
fn enter_reply(flow: &Flow) -> i32 {
    insert(flow.reply())
}

#[inline(never)]
fn enter_masquerading(flow: &Flow) -> i32 {
    insert(flow.masquerading())
}

#[inline(never)]
fn enter_unmasquerading(flow: &Flow) -> i32 {
    insert(flow.unmasquerading())
}

#[inline(never)]
fn remove_origin(flow: &Flow) {
    remove(flow.origin(FlowState::Reset, 0));
}

#[inline(never)]
fn remove_reply(flow: &Flow) {
    remove(flow.reply());
}

#[inline(never)]
fn remove_masquerading(flow: &Flow) {
    remove(flow.masquerading());
}

#[inline(never)]
fn remove_unmasquerading(flow: &Flow) {
    remove(flow.unmasquerading());
}

#[inline(always)]
fn insert((key, value): (FlowKey, FlowValue)) -> i32 {
    match FLOWS.insert(key, value, BPF_NOEXIST.into()) {
        Ok(()) => 0,
        Err(error) => error,
    }
}

#[inline(always)]
fn remove((key, _): (FlowKey, FlowValue)) {
    // It is gone already when two CPUs close the flow.
    let _: Result<(), i32> = FLOWS.remove(key);
}
