//! The agent of a node: programs the kernel's maps, tunnels and routes from the cluster's view.
//!
//! What to program is decided by `node-dp-core`; here is what carries it out: sockets, netlink and the kernel's maps.

pub mod agent;
mod announce;
pub mod config;
pub mod datapath;
mod departures;
mod device;
mod filter;
mod health;
mod metrics;
pub mod probe;
mod reconcile;
mod status;
pub mod tunnel;
mod upkeep;
