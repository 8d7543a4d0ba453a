//! What each cluster offers and what that adds up to: pure, without clock, socket, environment or randomness.
//!
//! Facts flow one way: a source's objects and peers' announcements enter the [`registry::Registry`], which keeps two
//! revision-indexed [`store::Store`]s (what peers may know, what nodes must know) and the merged [`view::View`].

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests need one real instant to count from"
    )
)]

pub mod claims;
pub mod cluster;
pub mod digest;
pub mod dns;
pub mod endpoint;
pub mod frontend;
pub mod import;
mod intern;
pub mod link;
pub mod mcs;
pub mod merge;
pub mod name;
pub mod node;
pub mod registry;
pub mod resource;
pub mod service;
pub mod shared_map;
mod sorted;
pub mod store;
#[cfg(test)]
mod testing;
pub mod trace;
pub mod traffic;
pub mod view;
