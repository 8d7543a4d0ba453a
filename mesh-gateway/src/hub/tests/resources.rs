//! Some names, links and resources.

use cluster_registry::{
    endpoint::Endpoint,
    import::Namespaces,
    link::{Dial, LinkSpec},
    name::{ClusterName, Namespace, NodeName, ServiceName},
    node::{Node, PublicKey, Tunnel},
    resource::{Resource, ResourceId},
    service::{Service, Sharing},
};

/// A resource of some cluster.
pub(super) type Said = (ResourceId, Resource);

/// A node of which nothing else is known.
pub(super) fn node(name: &str) -> Said {
    let name = NodeName::parse(name).unwrap();
    (ResourceId::Node(name), Resource::from(Node::default()))
}

/// Some tunnel end.
pub(super) fn tunnel() -> Tunnel {
    Tunnel {
        public_key: PublicKey([7; 32]),
        port: 51872,
        probe_port: 4701,
        probe_address: "fd00::7".parse().unwrap(),
        next_public_key: None,
        within_cluster: false,
    }
}

pub(super) fn name(text: &str) -> ClusterName {
    ClusterName::parse(text).unwrap()
}

pub(super) fn shop(service_name: &str) -> ServiceName {
    ServiceName::parse("shop", service_name).unwrap()
}

pub(super) fn bank() -> Namespaces {
    Namespaces::Only([Namespace::parse("bank").unwrap()].into())
}

/// A link that the other side dials.
pub(super) fn link(cluster: &str) -> LinkSpec {
    LinkSpec {
        dial: Dial::Never,
        ..LinkSpec::new(name(cluster))
    }
}

/// A service that is global and shared.
pub(super) fn service(namespace: &str, service_name: &str) -> Said {
    let service = Service {
        sharing: Sharing {
            global: true,
            shared: true,
            ..Sharing::default()
        },
        ..Service::default()
    };
    let name = ServiceName::parse(namespace, service_name).unwrap();
    (ResourceId::Service(name), Resource::from(service))
}

/// A ready endpoint.
pub(super) fn endpoint(namespace: &str, service_name: &str, address: &str) -> Said {
    let name = ServiceName::parse(namespace, service_name).unwrap();
    let id = ResourceId::Endpoint(name, address.parse().unwrap());
    (id, Resource::from(Endpoint::ready([])))
}
