//! Which ports the later fragments of a datagram have, key and value of `FRAGMENTS`: only the first carries them.

use crate::{
    address::{Address, Port},
    flow::Hook,
};

/// The fragments of one datagram, at one hook.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentKey {
    source: Address,
    destination: Address,
    id: u32,
    protocol: u8,
    hook: u8,
    _pad: [u8; 2],
}

const _: () = assert!(size_of::<FragmentKey>() == 40);

impl FragmentKey {
    /// The datagram that the sender gave the number `id`.
    #[inline(always)]
    pub fn new(source: Address, destination: Address, id: u32, protocol: u8, hook: Hook) -> Self {
        Self {
            source,
            destination,
            id,
            protocol,
            hook: hook as u8,
            _pad: [0; 2],
        }
    }
}

/// The ports.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentValue {
    /// The port it comes from.
    pub source_port: Port,
    /// The port it goes to.
    pub destination_port: Port,
}

const _: () = assert!(size_of::<FragmentValue>() == 4);
