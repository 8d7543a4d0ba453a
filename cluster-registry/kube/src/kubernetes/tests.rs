//! Tests of the source against an API server: a real one where there is one, and for what goes wrong the double.

mod following;
mod kinds;
mod outages;
mod world;
