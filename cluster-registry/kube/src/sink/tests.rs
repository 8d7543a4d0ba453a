//! Tests of the sink against API servers of two clusters whose registries hear of each other.

mod conformance;
mod exchange;
mod frontends;
mod links;
mod objects;
mod replicas;
mod waiting;
mod world;
mod writes;
