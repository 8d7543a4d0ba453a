//! The real programs in the real kernel: what sockets in a cgroup see of services.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;
mod life;
mod maps;
mod tcp;
mod udp;
