//! Clusters of real sessions and real registries in one process, under virtual time and faults that one seed decides.
//!
//! What is simulated is the network, the clocks and the processes; the registries, sessions, codecs, positions, seats and
//! backoffs are those of the gateway. What the clusters must see is said by a naive model of its own.

#![forbid(unsafe_code)]

use std::time::Duration;

mod clock;
mod connection;
mod drive;
mod gateway;
mod history;
mod pipe;
mod plan;
mod scenery;
mod truth;
mod world;

pub use world::{Failure, Stats};

use crate::{plan::Plan, world::World};

/// The time between two heartbeats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(100);

/// The delay after the first failure to dial.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// The longest delay between attempts to dial.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// How many tombstones a store keeps; few, so that readers come too late.
const TOMBSTONES: usize = 12;

/// Lets the world of a seed live to its end, and keeps what happened last for a failure to show.
pub fn trace(seed: u64) -> Result<Stats, Failure> {
    let mut world = World::new(seed, Plan::of_seed(seed));
    world.keep_trail();
    world.run()
}

/// Lets the world of a seed live to its end.
pub fn run(seed: u64) -> Result<Stats, Failure> {
    World::new(seed, Plan::of_seed(seed)).run()
}
