//! Clusters of real sessions and real registries in one process, under virtual time and faults that one seed decides.
//!
//! What is simulated is the network, the clocks and the processes; the registries, sessions, codecs, positions, leads and
//! backoffs are those of the gateway. What the clusters must see is said by a naive model of its own.

#![forbid(unsafe_code)]

use std::time::Duration;

mod clock;
mod connection;
mod cuts;
mod drive;
mod flood;
mod gateway;
mod hijack;
mod history;
mod pipe;
mod plan;
mod scenery;
mod truth;
mod victim;
mod world;

pub use cuts::{Cuts, every_step};
pub use flood::{Flood, flood};
pub use hijack::matrix;
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

/// Lets the world of a seed live to its end.
pub fn run(seed: u64) -> Result<Stats, Failure> {
    World::new(seed, Plan::of_seed(seed)).run()
}

/// Lets the world of a seed live to its end, and keeps what happened last for a failure to show.
///
/// Of what happens, as much is left out as can be while the world still fails.
pub fn trace(seed: u64) -> Result<Stats, Failure> {
    let plan = plan::shrunk(Plan::of_seed(seed), |plan| {
        World::new(seed, plan).run().is_err()
    });
    let mut world = World::new(seed, plan);
    world.keep_trail();
    world.run()
}
