//! What the maps need from time to time: that silent flows go, and that the node's addresses are known.

use std::{collections::BTreeSet, io, net::IpAddr};

use aya::maps::{Array, HashMap, MapData};
use node_dp_common::{Address, NodeValue};
use node_dp_core::expiry::expired;

use super::{
    contents::{ApplyError, changed, removed},
    flows::{BATCH, Flows, SweepError},
    interfaces,
};

/// No more addresses are served.
const MOST_ADDRESSES: u32 = 1_024;

/// The node's addresses, as the programs need them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeAddresses {
    /// All of them: node ports are served there.
    pub local: BTreeSet<IpAddr>,
    /// Those that stand for clients whose backend is on another node, at most one per family.
    pub masquerade: BTreeSet<IpAddr>,
    /// Those that stand for clients whose backend is in another cluster, at most one per family.
    pub tunnel: BTreeSet<IpAddr>,
}

impl NodeAddresses {
    /// Reads the addresses of the network namespace; those of `device` stand for clients, but towards other clusters those
    /// of `tunnel` do.
    pub fn read(device: Option<&str>, tunnel: &BTreeSet<IpAddr>) -> io::Result<Self> {
        let all = interfaces::addresses()?;
        let own = all.iter().filter(|(name, _)| Some(&**name) == device);
        let mut masquerade: BTreeSet<IpAddr> = BTreeSet::new();
        for (_, ip) in own.filter(|(_, ip)| is_routable(*ip)) {
            if masquerade
                .iter()
                .all(|other| other.is_ipv4() != ip.is_ipv4())
            {
                masquerade.insert(*ip);
            }
        }
        let local = all.into_iter().map(|(_, ip)| ip);
        Ok(Self {
            local: local.filter(|ip| is_routable(*ip)).collect(),
            masquerade,
            tunnel: tunnel.clone(),
        })
    }
}

/// Whether other hosts can reply to an address.
fn is_routable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

/// The maps that are kept up.
pub struct Upkeep {
    pub(super) node: Array<MapData, NodeValue>,
    pub(super) local_addresses: HashMap<MapData, Address, u32>,
    pub(super) flows: Flows,
    /// How many entries their table can hold.
    pub(super) flows_capacity: u32,
    /// Where the next look at the flows goes on; `None` to begin anew.
    pub(super) cursor: Option<u32>,
}

impl Upkeep {
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

    /// Looks at the next entries of the table of flows, about a thousand of them, and removes the flows that have been
    /// silent for too long; returns how many. `now` is in seconds since boot.
    pub fn sweep(&mut self, now: u32) -> Result<usize, SweepError> {
        let (count, next) = self
            .flows
            .remove_some(self.cursor, |key, value| expired(key, value, now))?;
        self.cursor = next;
        Ok(count)
    }

    /// How many sweeps it takes to look at all entries of a full table.
    pub fn batches(&self) -> usize {
        usize::try_from(self.flows_capacity).map_or(usize::MAX, |entries| entries.div_ceil(BATCH))
    }

    /// Whether the last sweep came to the end of the table.
    pub fn is_through(&self) -> bool {
        self.cursor.is_none()
    }
}
