//! What the registry costs, measured in a process of its own whose memory nothing else touches; prints one number a line.

use std::{
    hint::black_box,
    io::Write,
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use anyhow::Context;
use cluster_registry::{
    cluster::Control,
    digest::KeyRange,
    endpoint::{Conditions, Endpoint, EndpointPort},
    link::LinkSpec,
    name::{ClusterName, NodeName, PortName, ServiceName},
    registry::Registry,
    resource::{Key, Resource, ResourceId},
    service::{Protocol, Service, ServicePort, Sharing},
    store::{Epoch, Store},
};

use crate::task::load::usage::resident_bytes;

/// The cluster whose registry it is.
const OWN: &str = "local";

/// Changes whose cost is measured one by one.
const CHANGES: usize = 5_000;

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Measure {
    /// The seconds from the first resource to a view of all.
    LoadSeconds,
    /// The bytes of memory that they take.
    LoadBytes,
    /// The nanoseconds of each of many changes of one endpoint, from the change to the view.
    MergeOne,
    /// The bytes by which memory grows while a subscriber reads nothing.
    SlowWatcher,
}

/// What the registry holds.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Size {
    /// Clusters that share services.
    #[arg(long, default_value_t = 1)]
    clusters: u32,
    /// Services of each cluster, of the same names in all.
    #[arg(long, default_value_t = 1)]
    services: u32,
    /// Endpoints of each service in each cluster.
    #[arg(long, default_value_t = 1)]
    backends: u32,
}

/// Measures, and prints what it found.
pub(crate) fn run(measure: Measure, size: Size) -> anyhow::Result<()> {
    let found = match measure {
        Measure::LoadSeconds => vec![load_seconds(size)?],
        Measure::LoadBytes => vec![load_bytes(size)?],
        Measure::MergeOne => merge_one(size)?,
        Measure::SlowWatcher => vec![slow_watcher(size)?],
    };
    let mut out = std::io::stdout().lock();
    for number in found {
        writeln!(out, "{number}").context("printing")?;
    }
    Ok(())
}

fn load_seconds(size: Size) -> anyhow::Result<f64> {
    let mut registry = registry(size)?;
    let clusters: Vec<(ClusterName, Vec<(Key, Resource)>)> = (0..size.clusters)
        .map(|n| Ok((peer(n)?, resources(n, size)?)))
        .collect::<anyhow::Result<_>>()?;
    let started = Instant::now();
    for (cluster, resources) in clusters {
        import(&mut registry, &cluster, resources)?;
    }
    let view = registry.view();
    let took = started.elapsed();
    black_box(view);
    Ok(took.as_secs_f64())
}

fn load_bytes(size: Size) -> anyhow::Result<f64> {
    let before = resident_bytes()?;
    let mut registry = registry(size)?;
    for n in 0..size.clusters {
        import(&mut registry, &peer(n)?, resources(n, size)?)?;
        // Readers keep the newest view, as the gateway's do.
        black_box(registry.view());
    }
    let after = resident_bytes()?;
    black_box(registry);
    Ok(after - before)
}

fn merge_one(size: Size) -> anyhow::Result<Vec<f64>> {
    let mut registry = registry(size)?;
    for n in 0..size.clusters {
        import(&mut registry, &peer(n)?, resources(n, size)?)?;
    }
    let cluster = peer(0)?;
    let mut kept = registry.view();
    registry.take_touched();
    let mut took = Vec::with_capacity(CHANGES);
    for n in 0..CHANGES {
        let number = u32::try_from(n)?.wrapping_mul(7919) % size.backends;
        let key = Key {
            cluster: cluster.clone(),
            id: ResourceId::Endpoint(service_name(0)?, address(0, 0, number)),
        };
        // Each visit of an endpoint finds it the other way.
        let is_ready = u32::try_from(n)? / size.backends % 2 == 1;
        let value = endpoint(number, is_ready)?;
        let started = Instant::now();
        registry.handle_import(&cluster, key, Some(value), None)?;
        let touched = registry.take_touched();
        let view = registry.view();
        took.push(started.elapsed().as_nanos() as f64);
        black_box(touched);
        kept = view;
    }
    black_box(kept);
    Ok(took)
}

fn slow_watcher(size: Size) -> anyhow::Result<f64> {
    const CHANGES: u32 = 1_000_000;
    let mut store = Store::new(Epoch(1));
    let keys: Vec<Key> = resources(0, size)?
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    let keys: Vec<Key> = keys
        .into_iter()
        .filter(|key| matches!(key.id, ResourceId::Endpoint(..)))
        .collect();
    let values = [endpoint(0, true)?, endpoint(0, false)?];
    let watcher = store.cursor();
    let change = |store: &mut Store, count: u32| {
        for (n, key) in (0..count).zip(keys.iter().cycle()) {
            let turn = n as usize / keys.len() % values.len();
            store.put(key.clone(), values[turn].clone(), None);
        }
    };
    change(&mut store, CHANGES / 10);
    // The first look allocates for itself.
    resident_bytes()?;
    let before = resident_bytes()?;
    change(&mut store, CHANGES);
    let after = resident_bytes()?;
    let batch = store.changes_after(Some(watcher), usize::MAX)?;
    anyhow::ensure!(
        batch.changes.len() == keys.len(),
        "the watcher missed something"
    );
    Ok(after - before)
}

fn registry(size: Size) -> anyhow::Result<Registry> {
    let mut registry = Registry::new(ClusterName::parse(OWN)?, Epoch(1), Epoch(1));
    for n in 0..size.services {
        let id = ResourceId::Service(service_name(n)?);
        registry.apply_local(&id, Some(service()?), None);
    }
    for n in 0..size.clusters {
        registry.add_peer(&LinkSpec::new(peer(n)?));
        registry.set_control(&peer(n)?, Control::Connected);
    }
    Ok(registry)
}

fn import(
    registry: &mut Registry,
    cluster: &ClusterName,
    resources: Vec<(Key, Resource)>,
) -> anyhow::Result<()> {
    registry.handle_import_begin(cluster, &[KeyRange::default()]);
    for (key, value) in resources {
        registry.handle_import(cluster, key, Some(value), None)?;
    }
    registry.handle_import_end(cluster);
    Ok(())
}

/// All that a cluster shares; each name but the cluster's is a text of its own, as it is when it was decoded.
fn resources(cluster: u32, size: Size) -> anyhow::Result<Vec<(Key, Resource)>> {
    let mut resources = Vec::new();
    for n in 0..size.services {
        let id = ResourceId::Service(service_name(n)?);
        resources.push((id, service()?));
        for backend in 0..size.backends {
            let address = address(cluster, n, backend);
            let id = ResourceId::Endpoint(service_name(n)?, address);
            resources.push((id, endpoint(backend, true)?));
        }
    }
    let cluster = peer(cluster)?;
    let keyed = resources.into_iter().map(|(id, value)| {
        let cluster = cluster.clone();
        (Key { cluster, id }, value)
    });
    Ok(keyed.collect())
}

fn peer(number: u32) -> anyhow::Result<ClusterName> {
    Ok(ClusterName::parse(&format!("cluster-{number}"))?)
}

fn service_name(number: u32) -> anyhow::Result<ServiceName> {
    let namespace = format!("team-{}", number / 20);
    Ok(ServiceName::parse(
        &namespace,
        &format!("service-{number}"),
    )?)
}

/// No two are alike.
fn address(cluster: u32, service: u32, backend: u32) -> IpAddr {
    let number = (cluster << 16) + service * 64 + backend;
    IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + number))
}

fn service() -> anyhow::Result<Resource> {
    let http = ServicePort::new(Some(PortName::parse("http")?), Protocol::Tcp, 80);
    let service = Service {
        ports: vec![http],
        sharing: Sharing {
            global: true,
            shared: true,
            ..Sharing::default()
        },
        ..Service::default()
    };
    Ok(service.into())
}

fn endpoint(number: u32, is_ready: bool) -> anyhow::Result<Resource> {
    let ports = [EndpointPort {
        name: Some(PortName::parse("http")?),
        protocol: Protocol::Tcp,
        port: 8080,
    }];
    let endpoint = Endpoint {
        conditions: Conditions {
            ready: is_ready,
            ..Conditions::READY
        },
        node: Some(NodeName::parse(&format!("node-{}", number % 50))?),
        zone: Some(format!("zone-{}", number % 3).into()),
        ..Endpoint::ready(ports)
    };
    Ok(endpoint.into())
}
