//! Gives nodes and pods their addresses, by their places in the topology.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use ipnet::IpNet;

/// Hosts are numbered from 11, so that none is taken for a router or a network's address.
const FIRST_HOST: u16 = 10;

/// The same for IPv6, where the digits look alike.
const FIRST_HOST_V6: u16 = 0x10;

/// The IPv4 address of a cluster's node between the nodes; both are counted from 1.
pub(crate) fn node_ipv4(cluster: usize, node: usize) -> Result<Ipv4Addr> {
    let cluster = u8::try_from(cluster).context("numbering the cluster")?;
    let host = u8::try_from(usize::from(FIRST_HOST) + node).context("numbering the node")?;
    Ok(Ipv4Addr::new(172, 18, cluster, host))
}

/// The same for IPv6.
pub(crate) fn node_ipv6(cluster: usize, node: usize) -> Result<Ipv6Addr> {
    let cluster = u16::try_from(cluster).context("numbering the cluster")?;
    let node = u16::try_from(node).context("numbering the node")?;
    let host = FIRST_HOST_V6 + node;
    Ok(Ipv6Addr::new(0xfd00, 0x18, cluster, 0, 0, 0, 0, host))
}

/// The range of a cluster's `number`th node: a /24 or a /64, as most networks of pods have.
pub(crate) fn node_cidr(cluster: &IpNet, number: usize) -> Result<IpNet> {
    let range = match cluster {
        IpNet::V4(net) => net.subnets(24)?.nth(number).map(IpNet::V4),
        IpNet::V6(net) => net.subnets(64)?.nth(number).map(IpNet::V6),
    };
    range.with_context(|| format!("the pod CIDR {cluster} has no room for node {number}"))
}

/// The address of a node's `number`th pod.
pub(crate) fn pod_address(node: &IpNet, number: u16) -> Result<IpAddr> {
    Ok(match node {
        IpNet::V4(net) => {
            let host = u8::try_from(FIRST_HOST + number).context("numbering the pod")?;
            let [a, b, c, _] = net.network().octets();
            Ipv4Addr::new(a, b, c, host).into()
        }
        IpNet::V6(net) => {
            let mut segments = net.network().segments();
            segments[7] = FIRST_HOST_V6 + number;
            Ipv6Addr::from(segments).into()
        }
    })
}
