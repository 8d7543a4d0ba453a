//! What all sessions of a process have in common.

use std::{sync::Arc, time::Duration};

use certs::credentials::Credentials;
use cluster_registry::name::ClusterName;

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
    /// Whether this process is a node's agent, which takes other clusters' resources from its own cluster's gateway.
    pub is_node: bool,
    /// Who this process is.
    pub credentials: Arc<Credentials>,
    /// The time between two heartbeats.
    pub heartbeat_interval: Duration,
    /// The number of silent intervals after which a peer is down.
    pub detect_multiplier: u32,
}
