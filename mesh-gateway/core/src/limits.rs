//! The limits of the protocol: what one peer can make another hold, and why each number is what it is.

use std::time::Duration;

/// The longest frame.
///
/// Two bytes of an encoded list can become one empty message of a few hundred bytes in memory, so this bounds what a
/// hostile frame costs to about 10 MiB for a moment.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;

/// The size at which a publisher closes a frame of updates and begins the next.
///
/// Half of the longest frame, so that an update of the longest size still fits behind others.
pub const TARGET_FRAME_BYTES: usize = 32 * 1024;

/// The longest update: a service or endpoint with [`MAX_PORTS`] ports takes about 20 KiB.
pub const MAX_UPDATE_BYTES: usize = 30 * 1024;

/// The most bytes that a packed frame may unpack to, as more of a hostile one would cost more than a plain one by as much.
pub const MAX_UNPACKED_BYTES: usize = 128 * 1024;

/// The size at which a publisher closes a packed frame; an update of the longest size still fits behind others.
pub const TARGET_UNPACKED_BYTES: usize = 96 * 1024;

/// How many times its size a packed frame may unpack to; honest ones reach about 20.
pub const MAX_PACKING_RATIO: usize = 100;

/// The most updates in a frame: the smallest useful one, a tombstone, takes about 8 bytes.
pub const MAX_UPDATES_PER_FRAME: usize = 4096;

/// The most names of nodes, and of zones, that are remembered while a snapshot is read: clusters have up to 5,000 nodes.
pub const MAX_KNOWN_NAMES: usize = 8192;

/// The most parts that one summary of a range says in a frame; the longest names make each about 400 bytes.
pub const MAX_PARTS_OF_SUMMARY: usize = 64;

/// The most urgent updates that are remembered while the stream of ordinary ones is behind them.
///
/// Beyond it the urgent stream is not read until the other has come up, so that a peer costs no more.
pub const MAX_URGENT_AHEAD: usize = 4096;

/// The most keys that are remembered as said during a snapshot; beyond it only the snapshot is read until it ends.
pub const MAX_SAID_IN_SNAPSHOT: usize = 64 * 1024;

/// The most changes that one fetch asks the store for; some frames' worth, so that a store's owner is soon free again.
pub const FETCH_LIMIT: usize = 1024;

/// The most ports of a service or an endpoint; sources leave out what is more.
pub const MAX_PORTS: usize = cluster_registry::service::MAX_PORTS;

/// The longest application protocol: a qualified name of Kubernetes, 253 and 63 bytes with a slash between them.
pub const MAX_APP_PROTOCOL_BYTES: usize = 317;

/// The most zones, and the most nodes, that an endpoint's hints name.
pub const MAX_HINTS: usize = cluster_registry::endpoint::MAX_HINTS;

/// The most addresses of a node; there are seldom more than one per family.
pub const MAX_NODE_ADDRESSES: usize = 32;

/// The most pod CIDRs of a node; some IPAMs hand out many small blocks.
pub const MAX_POD_CIDRS: usize = 256;

/// The longest topology zone: it is the value of a Kubernetes label.
pub const MAX_ZONE_BYTES: usize = 63;

/// The most features that a HELLO may name.
pub const MAX_FEATURES: usize = 64;

/// The longest name of a feature.
pub const MAX_FEATURE_BYTES: usize = 64;

/// The shortest heartbeat interval that a peer may announce: below it, heartbeats are load and not a signal.
pub const MIN_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(10);

/// The longest heartbeat interval that a peer may announce, so that nobody can make itself undetectable.
pub const MAX_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

/// The longest detection time, whatever is configured: beyond it a session says nothing about life.
pub const MAX_DETECTION: Duration = Duration::from_secs(3600);

/// How long a session may take from the connection to being up: a round trip and the answer of the store's owner.
pub const OPENING_TIMEOUT: Duration = Duration::from_secs(3);

/// The most replicas of one cluster that sessions are held with: one more than the three that survive an upgrade and a fault.
pub const MAX_REPLICAS: usize = 4;
