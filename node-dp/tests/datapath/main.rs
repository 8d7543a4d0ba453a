//! The real programs in the real kernel: what sockets in a cgroup and packets at devices see of services.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it leaves"
)]

mod accelerated;
mod affinity;
mod devices;
mod fixture;
mod forgotten;
mod life;
mod maps;
mod network;
mod node_port;
mod packets;
mod stale;
mod tcp;
mod udp;
mod wait;
