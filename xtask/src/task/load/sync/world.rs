//! What the ends share: the clusters' names, what they hold, and the authority that lets them know each other.

use std::{
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use certs::{
    Credentials,
    authority::{Authority, Validity},
    credentials::{ANCHORS_FILE, CERTIFICATE_FILE, KEY_FILE},
    identity::{SpiffeId, TrustDomain},
};
use cluster_registry::{
    endpoint::{Conditions, Endpoint, EndpointPort},
    name::{ClusterName, NodeName, PortName, ServiceName},
    registry::Registry,
    resource::{Resource, ResourceId},
    service::{Protocol, Service},
    store::Epoch,
};
use mesh_link::settings::{
    DEFAULT_DETECT_MULTIPLIER, DEFAULT_HEARTBEAT_INTERVAL, Settings, start_instance,
};

use super::Size;

/// The cluster that takes what the others publish.
const EAST: &str = "east";

/// The one authority of all clusters.
pub(super) struct World {
    authority: Authority,
}

impl World {
    pub(super) fn create() -> anyhow::Result<Self> {
        let trust_domain = TrustDomain::parse("cluster.local")?;
        let authority = Authority::create(trust_domain, validity())?;
        Ok(Self { authority })
    }

    /// How a cluster's gateway shows itself, with the defaults of a gateway.
    pub(super) fn settings(&self, cluster: &ClusterName) -> anyhow::Result<Settings> {
        let id = gateway(cluster)?;
        let issued = self.authority.issue(&id, validity())?;
        let name = format!("isthmus-sync-{}-{cluster}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).context("making a directory for certificates")?;
        for (file, text) in [
            (ANCHORS_FILE, self.authority.certificate_pem()),
            (CERTIFICATE_FILE, &issued.certificate),
            (KEY_FILE, &issued.key),
        ] {
            let path = dir.join(file);
            std::fs::write(&path, text).context("writing a certificate")?;
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600))
                .context("protecting a certificate")?;
        }
        let credentials = Credentials::load(&dir);
        std::fs::remove_dir_all(&dir).context("removing the certificates")?;
        Ok(Settings {
            cluster: id.cluster,
            instance: start_instance("bench")?,
            is_node: false,
            credentials: Arc::new(credentials?),
            heartbeat_interval: DEFAULT_HEARTBEAT_INTERVAL,
            detect_multiplier: DEFAULT_DETECT_MULTIPLIER,
        })
    }
}

/// The cluster that subscribes.
pub(super) fn east() -> anyhow::Result<ClusterName> {
    Ok(ClusterName::parse(EAST)?)
}

/// A cluster that publishes.
pub(super) fn west(number: u32) -> anyhow::Result<ClusterName> {
    Ok(ClusterName::parse(&format!("west-{number}"))?)
}

/// Who a cluster's gateway is.
pub(super) fn gateway(cluster: &ClusterName) -> anyhow::Result<SpiffeId> {
    let trust_domain = TrustDomain::parse("cluster.local")?;
    Ok(SpiffeId::gateway(trust_domain, cluster.clone()))
}

/// A registry of one cluster that shares everything it holds.
pub(super) fn registry(number: u32, epoch: Epoch, size: Size) -> anyhow::Result<Registry> {
    let mut registry = Registry::new(west(number)?, epoch, epoch);
    for_each_resource(number, size, |id, value| {
        registry.apply_local(&id, Some(value), None);
    })?;
    Ok(registry)
}

/// All that a cluster shares, by service.
pub(super) fn for_each_resource(
    number: u32,
    size: Size,
    mut take: impl FnMut(ResourceId, Resource),
) -> anyhow::Result<()> {
    for service in 0..size.services {
        let mut value = Service::default();
        value.sharing.global = true;
        value.sharing.shared = true;
        let id = ResourceId::Service(service_name(service)?);
        take(id, value.into());
        for backend in 0..size.backends {
            let pod = Pod::new(number, service, backend, size);
            take(pod.id()?, pod.endpoint(None)?);
        }
    }
    Ok(())
}

/// The ports of services, as they are used most: by name and number.
const PORTS: [(Option<&str>, u16); 8] = [
    (Some("http"), 8080),
    (None, 80),
    (Some("https"), 8443),
    (Some("grpc"), 50051),
    (None, 3000),
    (Some("metrics"), 9090),
    (Some("postgres"), 5432),
    (Some("web"), 8000),
];

/// One pod behind a service, which landed anywhere: what is told of it follows from its number without a pattern that
/// compresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pod {
    service: u32,
    /// Where it is: no other pod of any cluster is there.
    host: u32,
}

impl Pod {
    pub(super) fn new(cluster: u32, service: u32, backend: u32, size: Size) -> Self {
        let number = (cluster * size.services + service) * size.backends + backend;
        Self {
            service,
            host: scatter(number),
        }
    }

    pub(super) fn id(self) -> anyhow::Result<ResourceId> {
        let address = IpAddr::from(Ipv4Addr::from(0x0b00_0000 + self.host));
        Ok(ResourceId::Endpoint(service_name(self.service)?, address))
    }

    /// Its endpoint: ready and at a port of its own, if there is one, else as its service has it, and seldom unready.
    pub(super) fn endpoint(self, port: Option<u16>) -> anyhow::Result<Resource> {
        // Each node has the pods of 256 addresses.
        let node = self.host >> 8;
        let [_, _, high, low] = scatter(node).to_be_bytes();
        let shape = scatter(self.service) as usize % PORTS.len();
        let (name, usual) = PORTS[shape];
        let is_ready = port.is_some() || !scatter(self.host).is_multiple_of(64);
        let mut conditions = Conditions::READY;
        conditions.ready = is_ready;
        conditions.serving = is_ready;
        Ok(Resource::from(Endpoint {
            ports: vec![EndpointPort {
                name: name.map(PortName::parse).transpose()?,
                protocol: Protocol::Tcp,
                port: port.unwrap_or(usual),
            }]
            .into(),
            conditions,
            node: Some(NodeName::parse(&format!(
                "ip-10-{}-{high}-{low}.ec2.internal",
                node % 16
            ))?),
            zone: Some(format!("eu-central-1{}", ["a", "b", "c"][node as usize % 3]).into()),
            hostname: None,
            hints: None,
        }))
    }
}

/// Another number of 20 bits for each of 20 bits, without a pattern.
fn scatter(number: u32) -> u32 {
    const MASK: u32 = 0xf_ffff;
    let number = (number ^ (number >> 11)).wrapping_mul(0x2_c1b3) & MASK;
    let number = (number ^ (number >> 9)).wrapping_mul(0x9_7297) & MASK;
    number ^ (number >> 10)
}

fn service_name(number: u32) -> anyhow::Result<ServiceName> {
    Ok(ServiceName::parse("shop", &format!("service-{number}"))?)
}

fn validity() -> Validity {
    Validity::starting(SystemTime::now(), Duration::from_secs(3600))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_pods_are_at_one_address() {
        let all: BTreeSet<u32> = (0..1 << 20).map(scatter).collect();

        assert_eq!(all.len(), 1 << 20);
    }
}
