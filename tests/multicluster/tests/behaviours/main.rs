//! Every behaviour that a proxy of services must have, in both families and with the backend on the client's node, on
//! another node and in another cluster; printed as a matrix.
//!
//! All rows are steps against one lab. A row has three services, one for each place of a backend, and a column passes when
//! all that is expected of it has come about.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod client;
mod matrix;
mod rows;
mod service;
mod world;

use world::World;

#[test]
#[ignore = "needs root"]
fn every_behaviour_of_services_holds_wherever_the_backend_is() {
    let mut world = World::new();

    rows::basics::all(&mut world);
    rows::kinds::all(&mut world);
    rows::ports::all(&mut world);
    rows::policies::all(&mut world);
    rows::affinity::all(&mut world);
    rows::changes::all(&mut world);

    println!("{}", world.matrix);
    let failures = world.matrix.failures();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
