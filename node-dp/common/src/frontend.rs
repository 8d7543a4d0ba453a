//! What a client dials, the key of `SERVICES`.

use core::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use crate::address::{Address, Port};

/// A frontend: address, port and protocol that a client dials.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendKey {
    address: Address,
    port: Port,
    protocol: u8,
    scope: u8,
}

/// Everybody sees the frontend.
const EVERYWHERE: u8 = 0;

/// Only packets that reach the node's devices see it: sockets do not look for it.
const OUTSIDE: u8 = 1;

/// Only sockets see it that dial an address of their own node.
const NODE: u8 = 2;

const _: () = assert!(size_of::<FrontendKey>() == 20);

impl FrontendKey {
    /// A frontend; `protocol` is the number in an IP header.
    pub fn new(address: impl Into<Address>, port: u16, protocol: u8) -> Self {
        Self::from_parts(address.into(), port.into(), protocol)
    }

    /// A frontend from the parts that maps hold.
    #[inline(always)]
    pub fn from_parts(address: Address, port: Port, protocol: u8) -> Self {
        Self {
            address,
            port,
            protocol,
            scope: EVERYWHERE,
        }
    }

    /// The frontend as those see it who come from outside: what they reach may differ.
    #[inline(always)]
    #[must_use]
    pub fn from_outside(mut self) -> Self {
        self.scope = OUTSIDE;
        self
    }

    /// Whether only those see it who come from outside.
    pub fn is_from_outside(&self) -> bool {
        self.scope == OUTSIDE
    }

    /// The frontend of the same port and protocol as sockets see it that dial any address of their own node, of this one's
    /// family.
    #[inline(always)]
    #[must_use]
    pub fn at_own_node(&self) -> Self {
        Self {
            scope: NODE,
            ..self.at_any_address()
        }
    }

    /// Whether only sockets see it that dial an address of their own node.
    pub fn is_at_own_node(&self) -> bool {
        self.scope == NODE
    }

    /// The frontend of the same port and protocol at every address of the node, of this one's family.
    #[inline(always)]
    #[must_use]
    pub fn at_any_address(&self) -> Self {
        Self {
            address: self.address.unspecified(),
            ..*self
        }
    }

    /// The address.
    pub fn address(&self) -> IpAddr {
        self.address.into()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The protocol's number in an IP header.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        self.protocol
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

impl fmt::Display for FrontendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.socket_address())?;
        match self.protocol {
            6 => f.write_str("TCP")?,
            17 => f.write_str("UDP")?,
            other => write!(f, "{other}")?,
        }
        f.write_str(match self.scope {
            OUTSIDE => " from outside",
            NODE => " from the node",
            _ => "",
        })
    }
}

impl fmt::Debug for FrontendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frontend_reads_as_people_write_it() {
        let v4: IpAddr = "10.0.0.1".parse().unwrap();
        let v6: IpAddr = "fd00::1".parse().unwrap();

        assert_eq!(FrontendKey::new(v4, 80, 6).to_string(), "10.0.0.1:80/TCP");
        assert_eq!(FrontendKey::new(v6, 53, 17).to_string(), "[fd00::1]:53/UDP");
    }

    #[test]
    fn any_address_is_of_the_same_family() {
        for (ip, any) in [("10.0.0.1", "0.0.0.0"), ("fd00::1", "::")] {
            let frontend = FrontendKey::new(ip.parse::<IpAddr>().unwrap(), 30_080, 6);

            let any = FrontendKey::new(any.parse::<IpAddr>().unwrap(), 30_080, 6);
            assert_eq!(frontend.at_any_address(), any);
        }
    }

    #[test]
    fn a_node_port_is_not_what_dials_the_unspecified_address() {
        let any: IpAddr = "0.0.0.0".parse().unwrap();
        let dialled = FrontendKey::new(any, 30_080, 6);

        let node_port = dialled.at_own_node();

        assert_ne!(node_port, dialled);
        assert_ne!(node_port, dialled.from_outside());
        assert_eq!(node_port.to_string(), "0.0.0.0:30080/TCP from the node");
    }

    #[test]
    fn frontends_sort_by_address_then_port() {
        let low: IpAddr = "10.0.0.1".parse().unwrap();
        let high: IpAddr = "10.0.1.0".parse().unwrap();

        assert!(FrontendKey::new(low, 443, 6) < FrontendKey::new(high, 80, 6));
        assert!(FrontendKey::new(low, 80, 6) < FrontendKey::new(low, 443, 6));
    }
}
