//! Two clusters that believe each other: their registries, and what carries one's exports to the other.

use std::{net::IpAddr, sync::Arc, time::Duration};

use cluster_registry::{
    dns::{Answer, RecordKind, lookup},
    endpoint::{Conditions, Endpoint, EndpointPort},
    link::LinkSpec,
    mcs::{ConflictReason, Export, Import, NamespaceSharing, addresses::Allocator},
    name::{ClusterName, PortName, ServiceName},
    registry::Registry,
    resource::{Resource, ResourceId},
    service::{Protocol, Service, ServicePort, Timestamp},
    store::{Cursor, Epoch},
    traffic::{IpFamilies, IpFamily, IpFamilyPolicy, SessionAffinity},
    view::{MergedService, View},
};

/// The labels of the service's name.
pub(crate) const HELLO: &[&str] = &["hello", "conformance", "svc"];

/// The clusterset.
pub(crate) struct World {
    clusters: Vec<Cluster>,
}

struct Cluster {
    name: ClusterName,
    registry: Registry,
    /// How far the other has read this one's exports.
    read: Option<Cursor>,
}

impl World {
    /// Clusters `c1` and `c2`, in which the namespace exists.
    pub(crate) fn new() -> Self {
        let cluster = |own: &str, other: &str, number: u8| {
            let mut registry = Registry::new(name(own), Epoch(1), Epoch(2));
            registry.add_peer(&LinkSpec {
                trust_timestamps: true,
                ..LinkSpec::new(name(other))
            });
            let pools = [
                format!("10.{}.0.0/16", 100 + number),
                format!("fd{number:02}::/112"),
            ];
            let pools = pools.map(|pool| pool.parse().unwrap());
            registry.allocate_from(Allocator::try_new(pools).unwrap());
            let sharing = Resource::Namespace(NamespaceSharing::Allowed);
            let namespace = ResourceId::Namespace(service_name().namespace);
            registry.apply_local(&namespace, Some(sharing), None);
            Cluster {
                name: name(own),
                registry,
                read: None,
            }
        };
        Self {
            clusters: vec![cluster("c1", "c2", 1), cluster("c2", "c1", 2)],
        }
    }

    /// Sets what a cluster's service says.
    pub(crate) fn put(&mut self, cluster: &str, service: Service) {
        self.apply(cluster, &service_id(), Some(service.into()));
    }

    /// Deletes a cluster's service.
    pub(crate) fn delete(&mut self, cluster: &str) {
        self.apply(cluster, &service_id(), None);
    }

    /// Adds a ready endpoint, which serves the service's ports at 8080.
    pub(crate) fn put_endpoint(&mut self, cluster: &str, address: &str, hostname: Option<&str>) {
        let endpoint = Endpoint {
            hostname: hostname.map(Arc::from),
            ..endpoint()
        };
        self.apply(cluster, &endpoint_id(address), Some(endpoint.into()));
    }

    /// Adds an endpoint that is not ready.
    pub(crate) fn put_unready(&mut self, cluster: &str, address: &str) {
        let endpoint = Endpoint {
            conditions: Conditions {
                ready: false,
                ..Conditions::READY
            },
            ..endpoint()
        };
        self.apply(cluster, &endpoint_id(address), Some(endpoint.into()));
    }

    /// The import of the service in a cluster.
    pub(crate) fn import(&mut self, cluster: &str) -> Option<Import> {
        let view = self.view(cluster);
        let service = view.services.get(&service_name())?;
        service.import.as_deref().cloned()
    }

    /// The addresses of the import in a cluster.
    pub(crate) fn ips(&mut self, cluster: &str) -> Vec<IpAddr> {
        let view = self.view(cluster);
        let service = view.services.get(&service_name());
        service
            .map(|s| s.clusterset_ips.clone())
            .unwrap_or_default()
    }

    /// The endpoints behind the import in a cluster.
    pub(crate) fn behind_import(&mut self, cluster: &str) -> Vec<String> {
        let view = self.view(cluster);
        let service = view.services.get(&service_name());
        let endpoints = service
            .into_iter()
            .flat_map(|s| s.import_endpoints.values());
        let addresses = endpoints.flat_map(|endpoints| endpoints.keys());
        addresses.map(ToString::to_string).collect()
    }

    /// What a cluster's DNS answers.
    pub(crate) fn ask(&mut self, cluster: &str, labels: &[&str], kind: RecordKind) -> Answer {
        lookup(&self.view(cluster), labels, kind)
    }

    /// What a cluster sees.
    pub(crate) fn view(&mut self, cluster: &str) -> Arc<View> {
        self.cluster(cluster).registry.view()
    }

    /// The service in a view.
    pub(crate) fn service<'a>(&self, view: &'a View) -> &'a MergedService {
        &view.services[&service_name()]
    }

    fn apply(&mut self, cluster: &str, id: &ResourceId, value: Option<Resource>) {
        let cluster = self.cluster(cluster);
        cluster.registry.apply_local(id, value, None);
        self.carry();
        for cluster in &mut self.clusters {
            cluster.registry.settle_imports();
            cluster.registry.take_touched();
        }
    }

    /// Brings each cluster's exports to the other.
    fn carry(&mut self) {
        for (from, to) in [(0, 1), (1, 0)] {
            let (name, batch) = {
                let cluster = &mut self.clusters[from];
                let exports = cluster.registry.exports();
                let batch = exports.changes_after(cluster.read, usize::MAX).unwrap();
                cluster.read = Some(batch.cursor);
                (cluster.name.clone(), batch)
            };
            for change in batch.changes {
                let registry = &mut self.clusters[to].registry;
                let taken = registry.handle_import(&name, change.key, change.value, None);
                taken.unwrap();
            }
        }
    }

    fn cluster(&mut self, name: &str) -> &mut Cluster {
        let mut clusters = self.clusters.iter_mut();
        clusters.find(|c| c.name.as_str() == name).unwrap()
    }
}

/// The suite's service: 42 over TCP and UDP, client affinity of 10 s, both families.
pub(crate) fn hello() -> Service {
    let port =
        |name: &str, protocol| ServicePort::new(Some(PortName::parse(name).unwrap()), protocol, 42);
    Service {
        cluster_ips: vec!["10.96.0.1".parse().unwrap(), "fd96::1".parse().unwrap()],
        ports: vec![port("tcp", Protocol::Tcp), port("udp", Protocol::Udp)],
        session_affinity: SessionAffinity::ClientIp {
            timeout: Duration::from_secs(10),
        },
        ip_families: IpFamilies::new(
            [IpFamily::V4, IpFamily::V6],
            IpFamilyPolicy::PreferDualStack,
        ),
        ..Service::default()
    }
}

/// A service with a valid ServiceExport.
pub(crate) fn exported(created: u64, service: Service) -> Service {
    Service {
        export: Some(Box::new(Export {
            created: Timestamp(created),
            ..Export::default()
        })),
        ..service
    }
}

pub(crate) fn reasons(import: &Import) -> Vec<ConflictReason> {
    import.conflicts.iter().map(|c| c.reason).collect()
}

fn endpoint() -> Endpoint {
    let ports = hello().ports.into_iter().map(|port| EndpointPort {
        name: port.name,
        protocol: port.protocol,
        port: 8080,
    });
    Endpoint::ready(ports.collect::<Vec<_>>())
}

fn service_name() -> ServiceName {
    ServiceName::parse("conformance", "hello").unwrap()
}

fn service_id() -> ResourceId {
    ResourceId::Service(service_name())
}

fn endpoint_id(address: &str) -> ResourceId {
    ResourceId::Endpoint(service_name(), address.parse().unwrap())
}

fn name(text: &str) -> ClusterName {
    ClusterName::parse(text).unwrap()
}
