//! The messages as they stand on the wire (Protocol Buffers 3).
//!
//! Nothing here is checked: [`crate::convert`] does that. Field numbers are never reused, fields are only added, and
//! what an older version must not ignore is announced as a required feature in HELLO. `docs/protocol.md` has the same
//! messages as a `.proto` schema.

mod range;
mod service;

use prost::{Message, Oneof};

pub use range::{Differing, Part, Range, RangeKey, Summaries, Summary};
pub use service::{Endpoint, Export, Exposure, Hints, LoadBalancerIp, Port, Service};

/// One frame; a body that the receiver does not know is `None` and ignored.
#[derive(Clone, PartialEq, Message)]
pub struct Frame {
    /// The message in it.
    #[prost(oneof = "Body", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12")]
    pub body: Option<Body>,
}

/// The message in a frame: up to 7 on the control stream, from 8 on the state streams.
#[derive(Clone, PartialEq, Oneof)]
pub enum Body {
    /// See [`Hello`].
    #[prost(message, tag = "1")]
    Hello(Hello),
    /// See [`Welcome`].
    #[prost(message, tag = "2")]
    Welcome(Welcome),
    /// See [`Heartbeat`].
    #[prost(message, tag = "3")]
    Heartbeat(Heartbeat),
    /// See [`Subscribe`].
    #[prost(message, tag = "4")]
    Subscribe(Subscribe),
    /// See [`Subscribed`].
    #[prost(message, tag = "5")]
    Subscribed(Subscribed),
    /// See [`Summaries`].
    #[prost(message, tag = "6")]
    Summaries(Summaries),
    /// See [`Differing`].
    #[prost(message, tag = "7")]
    Differing(Differing),
    /// See [`SnapshotBegin`].
    #[prost(message, tag = "8")]
    SnapshotBegin(SnapshotBegin),
    /// See [`Updates`].
    #[prost(message, tag = "9")]
    Updates(Updates),
    /// See [`SnapshotEnd`].
    #[prost(message, tag = "10")]
    SnapshotEnd(SnapshotEnd),
    /// See [`Progress`].
    #[prost(message, tag = "11")]
    Progress(Progress),
    /// See [`Packed`].
    #[prost(message, tag = "12")]
    Packed(Packed),
}

/// The first message of each side.
#[derive(Clone, PartialEq, Message)]
pub struct Hello {
    /// Features without which the sender cannot have a session.
    #[prost(string, repeated, tag = "1")]
    pub required_features: Vec<String>,
    /// Features that the sender has.
    #[prost(string, repeated, tag = "2")]
    pub optional_features: Vec<String>,
    /// How far the sender knows what the receiver publishes.
    #[prost(message, optional, tag = "3")]
    pub resume: Option<Position>,
    /// The time between two of the sender's heartbeats.
    #[prost(uint32, tag = "4")]
    pub heartbeat_interval_ms: u32,
    /// The 16 bytes of the sender's instance id; empty from a version that does not tell.
    #[prost(bytes = "vec", tag = "5")]
    pub instance: Vec<u8>,
    /// When the sender's process started, in microseconds since 1970.
    #[prost(fixed64, tag = "6")]
    pub incarnation_us: u64,
    /// The name of the replica that the sender is a life of.
    #[prost(string, tag = "7")]
    pub replica: String,
    /// Whether the sender is to be told nothing before it says SUBSCRIBE; then it offers no position here.
    #[prost(bool, tag = "8")]
    pub deferred: bool,
    /// Whether the sender knows something of what the receiver publishes, and can compare it.
    #[prost(bool, tag = "9")]
    pub compare: bool,
}

/// Accepts the other side's HELLO.
#[derive(Clone, PartialEq, Message)]
pub struct Welcome {
    /// Whether the updates continue from the position that the HELLO offered.
    #[prost(bool, tag = "1")]
    pub resumed: bool,
}

/// Asks for the receiver's state, after a HELLO that was deferred.
#[derive(Clone, PartialEq, Message)]
pub struct Subscribe {
    /// How far the sender knows what the receiver publishes.
    #[prost(message, optional, tag = "1")]
    pub resume: Option<Position>,
    /// Whether the sender knows something of what the receiver publishes, and can compare it.
    #[prost(bool, tag = "2")]
    pub compare: bool,
}

/// Accepts a SUBSCRIBE.
#[derive(Clone, PartialEq, Message)]
pub struct Subscribed {
    /// Whether the updates continue from the position that the SUBSCRIBE offered.
    #[prost(bool, tag = "1")]
    pub resumed: bool,
}

/// A sign of life.
#[derive(Clone, PartialEq, Message)]
pub struct Heartbeat {
    /// Its number, from 1.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// The number of the newest heartbeat heard; 0 before the first.
    #[prost(uint64, tag = "2")]
    pub echo_seq: u64,
    /// How long that one has waited.
    #[prost(uint64, tag = "3")]
    pub echo_delay_us: u64,
}

/// A position in a publisher's store.
#[derive(Clone, PartialEq, Message)]
pub struct Position {
    /// The life of the store.
    #[prost(fixed64, tag = "1")]
    pub epoch: u64,
    /// The revision within it.
    #[prost(uint64, tag = "2")]
    pub revision: u64,
}

/// Everything that the publisher has follows, or everything in some ranges of keys.
#[derive(Clone, PartialEq, Message)]
pub struct SnapshotBegin {
    /// Whether only what the ranges hold follows.
    #[prost(bool, tag = "1")]
    pub partial: bool,
    /// The ranges, in order.
    #[prost(message, repeated, tag = "2")]
    pub ranges: Vec<Range>,
}

/// The newest state of some keys.
#[derive(Clone, PartialEq, Message)]
pub struct Updates {
    /// One for each key.
    #[prost(message, repeated, tag = "1")]
    pub updates: Vec<Update>,
    /// On the stream of urgent updates: how many Progress messages the publisher had sent before.
    #[prost(uint64, tag = "2")]
    pub batch: u64,
}

/// Updates of a snapshot, compressed.
#[derive(Clone, PartialEq, Message)]
pub struct Packed {
    /// An [`Updates`] message as one frame of Zstandard (RFC 8878).
    #[prost(bytes = "vec", tag = "1")]
    pub zstd: Vec<u8>,
}

/// The publisher has said everything that it has, or that some ranges hold.
#[derive(Clone, PartialEq, Message)]
pub struct SnapshotEnd {
    /// Whether other ranges follow, so that no position counts yet.
    #[prost(bool, tag = "1")]
    pub more: bool,
}

/// The receiver has everything up to here.
#[derive(Clone, PartialEq, Message)]
pub struct Progress {
    /// Where.
    #[prost(message, optional, tag = "1")]
    pub position: Option<Position>,
    /// How many frames the publisher has sent on the stream of urgent updates, which belong before this.
    #[prost(uint64, tag = "2")]
    pub urgent_frames: u64,
}

/// The newest state of one key.
#[derive(Clone, PartialEq, Message)]
pub struct Update {
    /// What it is about; a kind that the receiver does not know is `None`.
    #[prost(oneof = "Id", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub id: Option<Id>,
    /// Whether the key is gone; without it, a value is missing only because its kind is unknown.
    #[prost(bool, tag = "8")]
    pub gone: bool,
    /// Its value.
    #[prost(oneof = "Value", tags = "9, 10, 11, 12, 13, 14, 15")]
    pub value: Option<Value>,
    /// The cluster that it belongs to, if that is not the sender's.
    #[prost(string, tag = "16")]
    pub origin: String,
    /// The trace that the change belongs to: 16 bytes of trace id, 8 of span id, 1 of flags (W3C Trace Context).
    #[prost(bytes = "vec", tag = "17")]
    pub trace: Vec<u8>,
}

/// What an update is about.
#[derive(Clone, PartialEq, Oneof)]
pub enum Id {
    /// The cluster itself.
    #[prost(message, tag = "1")]
    Cluster(ClusterId),
    /// A node, by name.
    #[prost(string, tag = "2")]
    Node(String),
    /// A node's tunnel end, by the node's name.
    #[prost(string, tag = "3")]
    Tunnel(String),
    /// A service.
    #[prost(message, tag = "4")]
    Service(ServiceId),
    /// An endpoint.
    #[prost(message, tag = "5")]
    Endpoint(EndpointId),
    /// A namespace, by name; only to the cluster's own nodes.
    #[prost(string, tag = "6")]
    Namespace(String),
    /// The import of a service; only to the cluster's own nodes.
    #[prost(message, tag = "7")]
    Import(ServiceId),
}

/// The cluster itself.
#[derive(Clone, PartialEq, Message)]
pub struct ClusterId {}

/// A service's name.
#[derive(Clone, PartialEq, Message)]
pub struct ServiceId {
    /// The namespace.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// The name within the namespace.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// An endpoint's service and address.
#[derive(Clone, PartialEq, Message)]
pub struct EndpointId {
    /// The service's namespace.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// The service's name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The address: 4 or 16 bytes in network order.
    #[prost(bytes = "vec", tag = "3")]
    pub address: Vec<u8>,
}

/// The value of an update.
#[derive(Clone, PartialEq, Oneof)]
pub enum Value {
    /// Of [`Id::Cluster`].
    #[prost(message, tag = "9")]
    Cluster(Cluster),
    /// Of [`Id::Node`].
    #[prost(message, tag = "10")]
    Node(Node),
    /// Of [`Id::Tunnel`].
    #[prost(message, tag = "11")]
    Tunnel(Tunnel),
    /// Of [`Id::Service`].
    #[prost(message, tag = "12")]
    Service(Service),
    /// Of [`Id::Endpoint`].
    #[prost(message, tag = "13")]
    Endpoint(Endpoint),
    /// Of [`Id::Namespace`].
    #[prost(message, tag = "14")]
    Namespace(NamespaceSharing),
    /// Of [`Id::Import`].
    #[prost(message, tag = "15")]
    Import(ImportAddresses),
}

/// Whether a gateway has a session with the cluster.
#[derive(Clone, PartialEq, Message)]
pub struct Cluster {
    /// Whether a session is up.
    #[prost(bool, tag = "1")]
    pub connected: bool,
}

/// A node.
#[derive(Clone, PartialEq, Message)]
pub struct Node {
    /// Its addresses: 4 or 16 bytes each.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub addresses: Vec<Vec<u8>>,
    /// The ranges of its pods' addresses.
    #[prost(message, repeated, tag = "2")]
    pub pod_cidrs: Vec<Cidr>,
    /// The topology zone; empty if unknown.
    #[prost(string, tag = "3")]
    pub zone: String,
}

/// A range of addresses.
#[derive(Clone, PartialEq, Message)]
pub struct Cidr {
    /// The first address: 4 or 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub address: Vec<u8>,
    /// The length of the prefix.
    #[prost(uint32, tag = "2")]
    pub prefix: u32,
}

/// The tunnel end of a node.
#[derive(Clone, PartialEq, Message)]
pub struct Tunnel {
    /// The 32 bytes of the WireGuard public key.
    #[prost(bytes = "vec", tag = "1")]
    pub public_key: Vec<u8>,
    /// The UDP port of the tunnel.
    #[prost(uint32, tag = "2")]
    pub port: u32,
    /// The UDP port of probes through the tunnel.
    #[prost(uint32, tag = "3")]
    pub probe_port: u32,
    /// The address of probes through the tunnel: 4 or 16 bytes.
    #[prost(bytes = "vec", tag = "4")]
    pub probe_address: Vec<u8>,
    /// The 32 bytes of the public key that will take the other's place; none where no other is to come.
    #[prost(bytes = "vec", tag = "5")]
    pub next_public_key: Vec<u8>,
    /// Whether the nodes of its own cluster shall use the tunnel too.
    #[prost(bool, tag = "6")]
    pub within_cluster: bool,
}

/// Whether a namespace's services may take part in the clusterset.
#[derive(Clone, PartialEq, Message)]
pub struct NamespaceSharing {
    /// Whether they may not.
    #[prost(bool, tag = "1")]
    pub excluded: bool,
}

/// The addresses of an import.
#[derive(Clone, PartialEq, Message)]
pub struct ImportAddresses {
    /// The addresses: 4 or 16 bytes each, at most one per family.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub ips: Vec<Vec<u8>>,
}
