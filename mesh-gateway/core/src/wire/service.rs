//! Services and endpoints as they stand on the wire; what is absent or has its default takes no bytes.

use std::collections::BTreeMap;

use prost::Message;

use super::Cidr;

/// A service.
#[derive(Clone, PartialEq, Message)]
pub struct Service {
    /// The cluster IPs: 4 or 16 bytes each, at most one per family.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub cluster_ips: Vec<Vec<u8>>,
    /// Whether it is headless; then `kind` is 0.
    #[prost(bool, tag = "2")]
    pub headless: bool,
    /// Its ports.
    #[prost(message, repeated, tag = "3")]
    pub ports: Vec<Port>,
    /// Whether it merges with those of the same name in other clusters.
    #[prost(bool, tag = "4")]
    pub global: bool,
    /// Whether other clusters see its backends.
    #[prost(bool, tag = "5")]
    pub shared: bool,
    /// 0 none, 1 local, 2 remote.
    #[prost(uint32, tag = "6")]
    pub affinity: u32,
    /// 0 ClusterIP or headless, 1 NodePort, 2 LoadBalancer, 3 ExternalName.
    #[prost(uint32, tag = "7")]
    pub kind: u32,
    /// The timeout of ClientIP session affinity; 0 for no affinity.
    #[prost(uint32, tag = "8")]
    pub session_affinity_timeout_s: u32,
    /// Whether the internal traffic policy is Local.
    #[prost(bool, tag = "9")]
    pub internal_local: bool,
    /// 0 none, 1 PreferSameZone, 2 PreferSameNode.
    #[prost(uint32, tag = "10")]
    pub traffic_distribution: u32,
    /// Whether endpoints count before they are ready.
    #[prost(bool, tag = "11")]
    pub publish_not_ready: bool,
    /// The families, the primary one first: 4 or 6 each.
    #[prost(uint32, repeated, tag = "12")]
    pub ip_families: Vec<u32>,
    /// 0 SingleStack, 1 PreferDualStack, 2 RequireDualStack.
    #[prost(uint32, tag = "13")]
    pub ip_family_policy: u32,
    /// When the object was made, in seconds since 1970.
    #[prost(uint64, tag = "14")]
    pub created_s: u64,
    /// Its ServiceExport, if there is a valid one.
    #[prost(message, optional, tag = "15")]
    pub export: Option<Export>,
    /// How it is reached from outside its cluster; only to the cluster's own nodes.
    #[prost(message, optional, tag = "16")]
    pub exposure: Option<Exposure>,
}

/// A valid ServiceExport.
#[derive(Clone, PartialEq, Message)]
pub struct Export {
    /// When it was made, in seconds since 1970.
    #[prost(uint64, tag = "1")]
    pub created_s: u64,
    /// The labels of the import.
    #[prost(btree_map = "string, string", tag = "2")]
    pub labels: BTreeMap<String, String>,
    /// The annotations of the import.
    #[prost(btree_map = "string, string", tag = "3")]
    pub annotations: BTreeMap<String, String>,
}

/// How a service is reached from outside its cluster.
#[derive(Clone, PartialEq, Message)]
pub struct Exposure {
    /// The external IPs: 4 or 16 bytes each.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub external_ips: Vec<Vec<u8>>,
    /// The addresses of its load balancer.
    #[prost(message, repeated, tag = "2")]
    pub load_balancer: Vec<LoadBalancerIp>,
    /// The address that was asked of the load balancer; empty for none.
    #[prost(bytes = "vec", tag = "3")]
    pub requested_ip: Vec<u8>,
    /// Who may use the load balancer's addresses, or may not; empty for everybody.
    #[prost(message, repeated, tag = "4")]
    pub source_ranges: Vec<Cidr>,
    /// Whether the load balancer needs no node ports.
    #[prost(bool, tag = "5")]
    pub omits_node_ports: bool,
    /// Where nodes tell of their local endpoints; 0 for nowhere.
    #[prost(uint32, tag = "6")]
    pub health_check_node_port: u32,
    /// Whether the external traffic policy is Local.
    #[prost(bool, tag = "7")]
    pub external_local: bool,
    /// Whether the source ranges are of those who may not.
    #[prost(bool, tag = "8")]
    pub denies_sources: bool,
}

/// An address of a load balancer.
#[derive(Clone, PartialEq, Message)]
pub struct LoadBalancerIp {
    /// The address: 4 or 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub ip: Vec<u8>,
    /// Whether the load balancer ends connections.
    #[prost(bool, tag = "2")]
    pub proxy: bool,
}

/// A port of a service or an endpoint.
#[derive(Clone, PartialEq, Message)]
pub struct Port {
    /// The name; empty for the unnamed one.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The protocol's number in an IP header; 0 stands for TCP.
    #[prost(uint32, tag = "2")]
    pub protocol: u32,
    /// The number.
    #[prost(uint32, tag = "3")]
    pub port: u32,
    /// Of a service: the nodes' port; 0 for none.
    #[prost(uint32, tag = "4")]
    pub node_port: u32,
    /// Of a service: the application's protocol; empty if unknown.
    #[prost(string, tag = "5")]
    pub app_protocol: String,
}

/// An endpoint.
#[derive(Clone, PartialEq, Message)]
pub struct Endpoint {
    /// The ports it serves.
    #[prost(message, repeated, tag = "1")]
    pub ports: Vec<Port>,
    /// 1 ready, 2 serving, 4 terminating; other bits are ignored.
    #[prost(uint32, tag = "2")]
    pub conditions: u32,
    /// The node it runs on; empty if none.
    #[prost(string, tag = "3")]
    pub node: String,
    /// The topology zone; empty if unknown.
    #[prost(string, tag = "4")]
    pub zone: String,
    /// Its own host name; empty if none.
    #[prost(string, tag = "5")]
    pub hostname: String,
    /// Where its clients should be, if Kubernetes says so.
    #[prost(message, optional, tag = "6")]
    pub hints: Option<Hints>,
}

/// Where an endpoint's clients should be.
#[derive(Clone, PartialEq, Message)]
pub struct Hints {
    /// The zones.
    #[prost(string, repeated, tag = "1")]
    pub zones: Vec<String>,
    /// The nodes.
    #[prost(string, repeated, tag = "2")]
    pub nodes: Vec<String>,
}
