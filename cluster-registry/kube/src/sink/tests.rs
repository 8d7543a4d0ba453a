//! Tests of the sink against API servers of two clusters whose registries hear of each other.

mod conformance;
mod links;
mod replicas;
mod world;
