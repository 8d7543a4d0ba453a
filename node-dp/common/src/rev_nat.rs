//! How a reply gets its frontend address back.
//!
//! A backend's address alone does not tell which frontend was meant, so the socket's cookie is part of the key. A UDP socket
//! carries its last conversation itself, as a [`PeerValue`]; only former ones are looked up.

use core::fmt;

use crate::{
    address::{Address, Port},
    backend::BackendValue,
    frontend::FrontendKey,
};

/// Which traffic belongs to a frontend: that between a socket and a backend. The key of `REV_NAT`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevNatKey {
    cookie: u64,
    address: Address,
    port: Port,
    protocol: u8,
    _pad: [u8; 5],
}

const _: () = assert!(size_of::<RevNatKey>() == 32);

impl RevNatKey {
    /// The key of a socket, by its cookie, and a backend's address.
    #[inline(always)]
    pub fn new(cookie: u64, address: Address, port: Port, protocol: u8) -> Self {
        Self {
            cookie,
            address,
            port,
            protocol,
            _pad: [0; 5],
        }
    }
}

/// The frontend address that a reply must seem to come from, the value of `REV_NAT`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevNatValue {
    address: Address,
    port: Port,
    _pad: [u8; 2],
}

const _: () = assert!(size_of::<RevNatValue>() == 20);

impl RevNatValue {
    /// The address and port of a frontend.
    #[inline(always)]
    pub fn new(frontend: FrontendKey) -> Self {
        let (address, port) = frontend.parts();
        Self {
            address,
            port,
            _pad: [0; 2],
        }
    }

    /// Address and port as maps hold them.
    #[inline(always)]
    pub fn parts(self) -> (Address, Port) {
        (self.address, self.port)
    }
}

impl fmt::Debug for RevNatValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address, self.port.number())
    }
}

/// What a UDP socket remembers: the frontend it last dialled or sent to, and the backend it got. The value of `PEERS`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerValue {
    frontend: RevNatValue,
    backend: Address,
    backend_port: Port,
    _pad: [u8; 2],
}

const _: () = assert!(size_of::<PeerValue>() == 40);

impl PeerValue {
    /// Joins a frontend and the backend selected for it.
    #[inline(always)]
    pub fn new(frontend: FrontendKey, backend: BackendValue) -> Self {
        let (address, port) = backend.parts();
        Self {
            frontend: RevNatValue::new(frontend),
            backend: address,
            backend_port: port,
            _pad: [0; 2],
        }
    }

    /// The key under which this conversation is found once the socket has another.
    #[inline(always)]
    pub fn key(&self, cookie: u64, protocol: u8) -> RevNatKey {
        RevNatKey::new(cookie, self.backend, self.backend_port, protocol)
    }

    /// The frontend.
    #[inline(always)]
    pub fn frontend(&self) -> RevNatValue {
        self.frontend
    }

    /// The frontend, if the socket's peer is the backend that stands for it.
    #[inline(always)]
    pub fn frontend_of(&self, peer: Address, port: Port) -> Option<RevNatValue> {
        (self.backend == peer && self.backend_port == port).then_some(self.frontend)
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn only_the_selected_backend_stands_for_the_frontend() {
        let backend = BackendValue::new(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)), 8080);
        let frontend = FrontendKey::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1)), 80, 6);
        let peer = PeerValue::new(frontend, backend);
        let (address, port) = backend.parts();

        assert_eq!(
            peer.frontend_of(address, port),
            Some(RevNatValue::new(frontend))
        );
        assert_eq!(peer.frontend_of(address, 1.into()), None);
        assert_eq!(peer.frontend_of(Address::default(), port), None);
    }
}
