//! The lab: clusters, nodes and pods as network namespaces on one machine, with real programs and real traffic.
//!
//! [`Lab::up`] builds what a [`Topology`] describes, and dropping the [`Lab`] removes it; a watcher process does so even
//! if the owner is killed. Nothing in a lab can reach the machine's own network, nor another lab.

#![forbid(unsafe_code)]

mod address;
mod apiserver;
pub mod capture;
mod cgroup;
mod claim;
pub mod client;
pub mod collector;
mod controller;
mod cut;
mod daemon;
mod faults;
mod following;
mod hints;
pub mod http;
mod ip;
mod lab;
mod mode;
mod netns;
mod network;
mod objects;
pub mod plan;
pub mod preflight;
mod process;
mod slices;
mod sweep;
mod target;
pub mod topology;
mod wait;

pub use client::{Client, Family};
pub use cut::{Cut, Direction};
pub use daemon::{AGENT_PROGRAM, GATEWAY_PROGRAM};
pub use hints::{hints, kubectl};
pub use lab::{Lab, Options};
pub use mode::Mode;
pub use network::BETWEEN_NODES;
pub use plan::Plan;
pub use process::Process;
pub use sweep::{labs, sweep};
pub use target::Target;
pub use topology::Topology;
pub use wait::{wait_for, wait_until};
