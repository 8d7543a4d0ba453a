//! What all sessions of a process have in common.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, SystemTime},
};

use certs::credentials::Credentials;
use cluster_registry::name::ClusterName;
use mesh_gateway_core::instance::{BadReplica, Incarnation, Instance, InstanceId};

/// The default time between two heartbeats.
pub const DEFAULT_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(100);

/// The default number of silent intervals after which a peer is down.
pub const DEFAULT_DETECT_MULTIPLIER: u32 = 3;

/// The default longest time between the starts of two attempts to dial.
pub const DEFAULT_MAX_BACKOFF: Duration = Duration::from_secs(2);

/// What all sessions of a process have in common.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cluster that this process belongs to.
    pub cluster: ClusterName,
    /// The process that this is.
    pub instance: Instance,
    /// Whether this process is a node's agent, which takes other clusters' resources from its own cluster's gateway.
    pub is_node: bool,
    /// Who this process is.
    pub credentials: Arc<Credentials>,
    /// The time between two heartbeats.
    pub heartbeat_interval: Duration,
    /// The number of silent intervals after which a peer is down.
    pub detect_multiplier: u32,
}

/// The process that starts now, as a life of a replica; call it once.
pub fn start_instance(replica: &str) -> Result<Instance, BadReplica> {
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let incarnation = u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX);
    // Its keys are random, which is enough to tell processes apart.
    let random = RandomState::new();
    let (high, low) = (random.hash_one(0), random.hash_one(1));
    let number = (u128::from(high) << 64) | u128::from(low);
    let id = InstanceId(number.to_be_bytes());
    Instance::try_new(id, Incarnation(incarnation), replica)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_of_a_replica_is_another_instance() {
        let (one, next) = (start_instance("a").unwrap(), start_instance("a").unwrap());

        assert_ne!(one.id(), next.id());
        assert!(one.incarnation() <= next.incarnation());
        assert_eq!(one.replica(), next.replica());
    }
}
