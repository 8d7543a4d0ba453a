//! Turns a view into what the kernel must hold: a plan, and the ordered operations that lead to it.
//!
//! Pure: time comes in as an argument, and nothing here touches a map, a socket or a device. The agent's shell reads
//! sessions and answers into these machines and carries out what they say.

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests need one real instant to count from"
    )
)]

mod allocate;
pub mod departure;
pub mod diff;
pub mod expiry;
pub mod health;
pub mod image;
pub mod lost;
pub mod plan;
mod prefix;
pub mod probe;
pub mod probe_address;
pub mod replica;
pub mod tunnel;
pub mod verdict;
