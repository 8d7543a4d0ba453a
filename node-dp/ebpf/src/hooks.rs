//! The entry points, one per hook; each is one expression.

use aya_ebpf::{
    helpers::generated::bpf_set_retval, macros::cgroup_sock_addr, programs::SockAddrContext,
};

use crate::{
    maps::count,
    socket::{Family, Socket},
    translate::{Verdict, connect, restore, send},
};

/// Whether the kernel lets a program choose the error (5.18); set at load, so that older ones never see the helper.
#[unsafe(no_mangle)]
static CAN_SET_RETVAL: u32 = 0;

const ECONNREFUSED: i32 = 111;

/// What a program returns: the call goes on, or fails.
const PASS: i32 = 1;
const FAIL: i32 = 0;

#[cgroup_sock_addr(connect4)]
fn connect4(context: SockAddrContext) -> i32 {
    act(connect(&Socket::new(context, Family::V4)))
}

#[cgroup_sock_addr(connect6)]
fn connect6(context: SockAddrContext) -> i32 {
    act(connect(&Socket::new(context, Family::V6)))
}

#[cgroup_sock_addr(sendmsg4)]
fn sendmsg4(context: SockAddrContext) -> i32 {
    act(send(&Socket::new(context, Family::V4)))
}

#[cgroup_sock_addr(sendmsg6)]
fn sendmsg6(context: SockAddrContext) -> i32 {
    act(send(&Socket::new(context, Family::V6)))
}

#[cgroup_sock_addr(recvmsg4)]
fn recvmsg4(context: SockAddrContext) -> i32 {
    pass(restore(&Socket::new(context, Family::V4)))
}

#[cgroup_sock_addr(recvmsg6)]
fn recvmsg6(context: SockAddrContext) -> i32 {
    pass(restore(&Socket::new(context, Family::V6)))
}

#[cgroup_sock_addr(getpeername4)]
fn getpeername4(context: SockAddrContext) -> i32 {
    pass(restore(&Socket::new(context, Family::V4)))
}

#[cgroup_sock_addr(getpeername6)]
fn getpeername6(context: SockAddrContext) -> i32 {
    pass(restore(&Socket::new(context, Family::V6)))
}

/// Hooks that only translate back have one possible return value.
#[inline(always)]
fn pass((): ()) -> i32 {
    PASS
}

#[inline(always)]
fn act(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Pass => PASS,
        Verdict::Refuse(reason) => {
            count(reason);
            // SAFETY: a plain read of a constant; volatile because the loader changes it behind the compiler's back.
            if unsafe { (&raw const CAN_SET_RETVAL).read_volatile() } != 0 {
                // SAFETY: the helper takes a number.
                unsafe { bpf_set_retval(-ECONNREFUSED) };
            }
            FAIL
        }
    }
}
