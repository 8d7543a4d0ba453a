//! What serves a frontend: key and value of `BACKENDS`.

use core::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use crate::address::{Address, Port};

/// Where a backend stands: its service, its cluster and its place among that cluster's backends.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendKey {
    service_id: u32,
    cluster: u16,
    slot: u16,
}

const _: () = assert!(size_of::<BackendKey>() == 8);

impl BackendKey {
    /// The key of slot `slot` of a service's group.
    #[inline(always)]
    pub fn new(service_id: u32, cluster: u16, slot: u16) -> Self {
        Self {
            service_id,
            cluster,
            slot,
        }
    }

    /// The id of its service.
    pub fn service_id(&self) -> u32 {
        self.service_id
    }

    /// The index of its cluster.
    pub fn cluster(&self) -> u16 {
        self.cluster
    }

    /// Its place in its group.
    pub fn slot(&self) -> u16 {
        self.slot
    }
}

/// The backend runs on this node.
const LOCAL: u8 = 1;

/// A backend: address and port that serve.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BackendValue {
    address: Address,
    port: Port,
    flags: u8,
    _pad: u8,
}

const _: () = assert!(size_of::<BackendValue>() == 20);

impl BackendValue {
    /// A backend at an address and port.
    pub fn new(address: impl Into<Address>, port: u16) -> Self {
        Self {
            address: address.into(),
            port: port.into(),
            flags: 0,
            _pad: 0,
        }
    }

    /// The same backend, on this node.
    #[must_use]
    pub fn local(mut self) -> Self {
        self.flags |= LOCAL;
        self
    }

    /// The same backend, be it on this node or not.
    #[must_use]
    pub fn anywhere(mut self) -> Self {
        self.flags &= !LOCAL;
        self
    }

    /// Whether it runs on this node.
    #[inline(always)]
    pub fn is_local(&self) -> bool {
        self.flags & LOCAL != 0
    }

    /// The address.
    pub fn address(&self) -> IpAddr {
        self.address.into()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Address and port.
    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address(), self.port())
    }

    /// Address and port as maps hold them.
    #[inline(always)]
    pub fn parts(self) -> (Address, Port) {
        (self.address, self.port)
    }
}

impl fmt::Display for BackendValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket_address().fmt(f)
    }
}

impl fmt::Debug for BackendValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
