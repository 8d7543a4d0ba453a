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
    name::{ClusterName, NodeName, ServiceName},
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
    for service in 0..size.services {
        let mut value = Service::default();
        value.sharing.global = true;
        value.sharing.shared = true;
        let id = ResourceId::Service(service_name(service)?);
        registry.apply_local(&id, Some(value.into()), None);
        for backend in 0..size.backends {
            let id = endpoint_id(number, service, backend, size)?;
            registry.apply_local(&id, Some(endpoint(service * 7 + backend, 8080)?), None);
        }
    }
    Ok(registry)
}

/// Pods land anywhere: neighbours' addresses are of different nodes, and no two clusters have the same.
pub(super) fn endpoint_id(
    cluster: u32,
    service: u32,
    backend: u32,
    size: Size,
) -> anyhow::Result<ResourceId> {
    let number = (cluster * size.services + service) * size.backends + backend;
    let scattered = number.wrapping_mul(40_503) & 0xf_ffff;
    let address = IpAddr::from(Ipv4Addr::from(0x0b00_0000 + scattered));
    Ok(ResourceId::Endpoint(service_name(service)?, address))
}

/// An endpoint on one of many nodes.
pub(super) fn endpoint(number: u32, port: u16) -> anyhow::Result<Resource> {
    let node = number.wrapping_mul(2_654_435_761) >> 20;
    Ok(Resource::from(Endpoint {
        ports: vec![EndpointPort {
            name: None,
            protocol: Protocol::Tcp,
            port,
        }]
        .into(),
        conditions: Conditions::READY,
        node: Some(NodeName::parse(&format!("node-{node}"))?),
        zone: Some(format!("zone-{}", node % 3).into()),
        hostname: None,
        hints: None,
    }))
}

fn service_name(number: u32) -> anyhow::Result<ServiceName> {
    Ok(ServiceName::parse("shop", &format!("service-{number}"))?)
}

fn validity() -> Validity {
    Validity::starting(SystemTime::now(), Duration::from_secs(3600))
}
