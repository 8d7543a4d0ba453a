//! The lies: what a hostile peer announces, as what it is refused, and by which rule.

use cluster_registry::{
    cluster::{Cluster, Control},
    endpoint::Endpoint,
    mcs::ImportAddresses,
    name::{NodeName, ServiceName},
    node::{Node, PublicKey, Tunnel},
    resource::{Resource, ResourceId},
    service::Service,
};

use crate::{
    scenery,
    victim::{HONEST, HOSTILE, OWN},
};

use super::SHARED;

/// One lie.
pub(super) struct Lie {
    /// What is said.
    pub(super) says: &'static str,
    /// Of which cluster it is said.
    pub(super) of: usize,
    pub(super) what: Said,
    /// Whether the link names what the peer may announce; else it grants whatever is not forbidden.
    pub(super) is_restricted: bool,
    /// As what it is refused.
    pub(super) refused: &'static str,
    /// The rule that refuses it.
    pub(super) rule: &'static str,
}

/// What is announced.
type Said = (ResourceId, Resource);

/// Lies that are refused alike.
fn alike<const N: usize>(
    refused: &'static str,
    rule: &'static str,
    lies: [(&'static str, Said); N],
) -> impl Iterator<Item = Lie> {
    lies.into_iter().map(move |(says, what)| Lie {
        says,
        of: HOSTILE,
        what,
        is_restricted: false,
        refused,
        rule,
    })
}

/// All lies.
pub(super) fn all() -> Vec<Lie> {
    let identity = of_others().chain(wrong_kinds());
    let forbidden = unroutable().chain(reserved());
    identity
        .chain(forbidden)
        .chain(not_granted())
        .chain(own())
        .chain(held())
        .collect()
}

const ITSELF: &str = "a peer speaks for the cluster of its certificate only";
const NEVER: &str = "nobody may announce it";
const OURS: &str = "this cluster's own ranges are its own";
const LINK: &str = "the link must grant it";
const FIRST: &str = "the first holder keeps it";

fn of_others() -> impl Iterator<Item = Lie> {
    let lies = alike(
        "foreign_cluster",
        ITSELF,
        [
            ("a service as this cluster's", web()),
            ("a third cluster's service, in transit", web()),
        ],
    );
    lies.zip([OWN, HONEST]).map(|(lie, of)| Lie { of, ..lie })
}

fn wrong_kinds() -> impl Iterator<Item = Lie> {
    let lost = Cluster {
        control: Control::Lost,
    };
    let import = ImportAddresses {
        ips: vec![[10, 2, 0, 1].into()],
    };
    alike(
        "wrong_kind",
        ITSELF,
        [
            (
                "that its own session is lost",
                (ResourceId::Cluster, Resource::Cluster(lost)),
            ),
            (
                "the addresses of this cluster's import",
                (
                    ResourceId::Import(name("shop", "web")),
                    Resource::from(import),
                ),
            ),
        ],
    )
}

fn unroutable() -> impl Iterator<Item = Lie> {
    let lies = alike(
        "unroutable",
        NEVER,
        [
            ("pods at 0.0.0.0/0", node("0.0.0.0/0")),
            ("pods at ::/0", node("::/0")),
            (
                "an endpoint at 169.254.169.254",
                endpoint("169.254.169.254"),
            ),
            ("an endpoint at 127.0.0.1", endpoint("127.0.0.1")),
            ("an endpoint at ::1", endpoint("::1")),
            ("an endpoint at 224.0.0.1", endpoint("224.0.0.1")),
        ],
    );
    let wide = [(
        "pods in an eighth of the Internet, 32.0.0.0/3",
        node("32.0.0.0/3"),
    )];
    let mapped = [(
        "an endpoint at ::ffff:10.1.0.9, this cluster's in disguise",
        endpoint("::ffff:10.1.0.9"),
    )];
    lies.chain(alike("too_wide", NEVER, wide))
        .chain(alike("malformed_address", NEVER, mapped))
}

fn reserved() -> impl Iterator<Item = Lie> {
    let lies = alike(
        "reserved_service",
        NEVER,
        [(
            "the service default/kubernetes",
            service("default", "kubernetes"),
        )],
    );
    let system = [(
        "a service of kube-system",
        service("kube-system", "kube-dns"),
    )];
    lies.chain(alike("namespace_not_granted", LINK, system))
}

fn not_granted() -> impl Iterator<Item = Lie> {
    let namespaces = alike(
        "namespace_not_granted",
        LINK,
        [(
            "a service of a namespace that is not granted",
            service("bank", "web"),
        )],
    );
    let ranges = alike(
        "range_not_granted",
        LINK,
        [
            (
                "an endpoint outside of its granted ranges",
                endpoint("10.77.0.1"),
            ),
            ("pods outside of its granted ranges", node("10.77.0.0/24")),
            ("pods in more than its granted range", node("10.0.0.0/14")),
        ],
    );
    namespaces.chain(ranges).map(|lie| Lie {
        is_restricted: true,
        ..lie
    })
}

fn own() -> impl Iterator<Item = Lie> {
    alike(
        "own_range",
        OURS,
        [
            ("pods at this cluster's pod range", node("10.1.0.0/24")),
            ("pods in a range around this cluster's", node("10.0.0.0/8")),
            (
                "pods around a database that this cluster's service has",
                node("10.50.0.0/16"),
            ),
            ("an endpoint at this cluster's pod", endpoint("10.1.0.1")),
            ("an endpoint at this cluster's node", endpoint("192.0.2.1")),
            (
                "an endpoint at this cluster's cluster IP",
                endpoint("172.16.0.1"),
            ),
            (
                "a node at this cluster's node's address",
                node_at("192.0.2.1"),
            ),
            ("a probe address in this cluster", tunnel(7, "10.1.0.1")),
        ],
    )
}

fn held() -> impl Iterator<Item = Lie> {
    let keys = alike(
        "key_held",
        FIRST,
        [
            ("this cluster's node's tunnel key", stolen_tunnel(OWN)),
            ("another peer's node's tunnel key", stolen_tunnel(HONEST)),
        ],
    );
    let ranges = alike(
        "range_held",
        FIRST,
        [
            ("pods at another peer's pod range", node("10.3.0.0/24")),
            ("pods in a range around another peer's", node("10.2.0.0/15")),
            ("an endpoint at another peer's pod", endpoint("10.3.0.1")),
        ],
    );
    keys.chain(ranges)
}

fn name(namespace: &str, name: &str) -> ServiceName {
    ServiceName::parse(namespace, name).expect("it is a name")
}

fn node_name() -> NodeName {
    NodeName::parse("evil").expect("it is a name")
}

fn service(namespace: &str, label: &str) -> (ResourceId, Resource) {
    let value = Service {
        sharing: SHARED,
        ..Service::default()
    };
    (
        ResourceId::Service(name(namespace, label)),
        Resource::from(value),
    )
}

fn web() -> (ResourceId, Resource) {
    service("shop", "web")
}

fn endpoint(address: &str) -> (ResourceId, Resource) {
    let address = address.parse().expect("it is an address");
    let id = ResourceId::Endpoint(name("shop", "web"), address);
    (id, Resource::from(Endpoint::ready([])))
}

fn node(range: &str) -> (ResourceId, Resource) {
    let node = Node {
        pod_cidrs: vec![range.parse().expect("it is a range")],
        ..Node::default()
    };
    (ResourceId::Node(node_name()), Resource::from(node))
}

fn node_at(address: &str) -> (ResourceId, Resource) {
    let node = Node {
        addresses: vec![address.parse().expect("it is an address")],
        ..Node::default()
    };
    (ResourceId::Node(node_name()), Resource::from(node))
}

fn tunnel(seed: u8, probe_address: &str) -> (ResourceId, Resource) {
    let tunnel = Tunnel {
        public_key: PublicKey([seed; 32]),
        port: 51872,
        probe_port: 4701,
        probe_address: probe_address.parse().expect("it is an address"),
        next_public_key: None,
        within_cluster: false,
    };
    (ResourceId::Tunnel(node_name()), Resource::from(tunnel))
}

fn stolen_tunnel(of: usize) -> (ResourceId, Resource) {
    let (_, value) = scenery::tunnel(of, 0, 1);
    (ResourceId::Tunnel(node_name()), value)
}
