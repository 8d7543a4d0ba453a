//! The addresses of the node, values of `NODE` and keys of `LOCAL_ADDRESSES`.

use core::net::IpAddr;

use crate::address::Address;

/// The addresses that stand for clients whose backend is elsewhere, so that replies come back to this node.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeValue {
    v4: Address,
    v6: Address,
    tunnel_v4: Address,
    tunnel_v6: Address,
}

const _: () = assert!(size_of::<NodeValue>() == 64);

impl NodeValue {
    /// Adds an address of the node that the nodes and pods of its own cluster can reply to.
    #[must_use]
    pub fn with_address(mut self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => self.v4 = address.into(),
            IpAddr::V6(_) => self.v6 = address.into(),
        }
        self
    }

    /// Adds an address of the node that other clusters can reply to through the tunnels: one of its pod prefixes.
    #[must_use]
    pub fn with_tunnel_address(mut self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => self.tunnel_v4 = address.into(),
            IpAddr::V6(_) => self.tunnel_v6 = address.into(),
        }
        self
    }

    /// The address that stands for clients of a backend; `None` if the node has none of its family.
    #[inline(always)]
    pub fn masquerade(&self, is_v4: bool, is_tunnelled: bool) -> Option<Address> {
        let address = match (is_v4, is_tunnelled) {
            (true, false) => self.v4,
            (false, false) => self.v6,
            (true, true) => self.tunnel_v4,
            (false, true) => self.tunnel_v6,
        };
        (address != Address::default()).then_some(address)
    }
}
