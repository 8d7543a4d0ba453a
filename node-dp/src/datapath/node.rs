//! Tells the programs what the node's addresses are.

use std::{collections::BTreeSet, net::IpAddr};

use node_dp_common::{Address, NodeValue};

use super::{
    Datapath,
    contents::{ApplyError, changed, removed},
};

/// The node's addresses, as the programs on devices need them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeAddresses {
    /// All of them: node ports are served there.
    pub local: BTreeSet<IpAddr>,
    /// Those that stand for clients whose backend is on another node, at most one per family.
    pub masquerade: BTreeSet<IpAddr>,
    /// Those that stand for clients whose backend is in another cluster, at most one per family.
    pub tunnel: BTreeSet<IpAddr>,
}

/// No more addresses are served.
const MOST_ADDRESSES: u32 = 1_024;

impl Datapath {
    /// Sets the node's addresses.
    pub fn set_node(&mut self, node: &NodeAddresses) -> Result<(), ApplyError> {
        let mut value = NodeValue::default();
        for address in &node.masquerade {
            value = value.with_address(*address);
        }
        for address in &node.tunnel {
            value = value.with_tunnel_address(*address);
        }
        changed("NODE", 1, self.node.set(0, value, 0))?;

        let wanted: BTreeSet<Address> = node.local.iter().copied().map(Address::from).collect();
        for address in &wanted {
            let inserted = self.local_addresses.insert(address, 1, 0);
            changed("LOCAL_ADDRESSES", MOST_ADDRESSES, inserted)?;
        }
        let there: Vec<Address> = self.local_addresses.keys().filter_map(Result::ok).collect();
        for address in there.iter().filter(|address| !wanted.contains(address)) {
            removed("LOCAL_ADDRESSES", self.local_addresses.remove(address))?;
        }
        Ok(())
    }
}
