//! How long a change is on its way from one cluster's source to the maps of another's nodes, by the traces of all daemons on
//! it: they run on one machine, so that their clocks are one.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use multicluster::{
    BETWEEN_NODES, Lab, Options, Topology,
    collector::{Collector, Span},
    wait_for,
};

/// OTLP's port for gRPC.
const OTLP_PORT: u16 = 4317;

/// How long anything may take; daemons send their spans every five seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time between two changes: the source leaves a file alone for 20 ms after each.
const PAUSE: Duration = Duration::from_millis(50);

/// The first of the ports that the endpoint has in turn.
const FIRST_PORT: usize = 20_000;

/// The manifest of the service whose endpoint changes.
const FILE: &str = "bench.yaml";

/// The milliseconds of each change to each of east's two nodes.
pub(super) struct Delays {
    /// From the word of west's source.
    pub(super) from_source: Vec<f64>,
    /// From the writing of the file that it reads.
    pub(super) from_file: Vec<f64>,
}

/// Makes so many changes in west's manifests, one after the other.
pub(super) fn delays(programs: &Path, changes: usize) -> anyhow::Result<Delays> {
    let endpoint = format!("http://{BETWEEN_NODES}:{OTLP_PORT}");
    let traced = vec!["--otlp-endpoint".to_owned(), endpoint];
    let mut topology = Topology::demo()?.named("benchsync");
    for cluster in &mut topology.clusters {
        cluster.gateway_args = traced.clone();
        cluster.agent_args = traced.clone();
    }
    let options = Options {
        bin_dir: Some(programs.to_owned()),
        ..Options::default()
    };
    let lab = Lab::up(&topology, &options)?;
    let collector = Collector::start(lab.listen_between_nodes(OTLP_PORT)?)?;
    lab.write_manifest("east", FILE, &service("10.101.0.99"))?;
    let mut written = Vec::with_capacity(changes);
    for number in 0..=changes {
        let west = service("10.102.0.99") + &slice(FIRST_PORT + number);
        written.push(since_1970()?);
        lab.write_manifest("west", FILE, &west)?;
        std::thread::sleep(PAUSE);
    }
    // The first one brings the service, and is no change of an endpoint.
    let found = wait_for(PATIENCE, "all changes are in the maps", || {
        let ways = ways(&collector.spans());
        let last = written.last().copied().unwrap_or_default();
        let has_last = ways.iter().filter(|way| way.source_ns >= last).count() >= 2;
        ensure!(
            has_last,
            "{} of {changes} changes were heard of",
            ways.len() / 2
        );
        Ok(Some(ways))
    })?;
    lab.down()?;
    Ok(delays_of(&found, &written))
}

fn delays_of(ways: &[Way], written: &[u128]) -> Delays {
    let mut delays = Delays {
        from_source: Vec::new(),
        from_file: Vec::new(),
    };
    for way in ways {
        let writings = written.iter().enumerate();
        let of_this = writings.rev().find(|(_, at)| **at <= way.source_ns);
        if let Some((number, at)) = of_this
            && number > 0
        {
            let millis = |from: u128| way.written_ns.saturating_sub(from) as f64 / 1e6;
            delays.from_source.push(millis(way.source_ns));
            delays.from_file.push(millis(*at));
        }
    }
    delays
}

/// One change on its way to one node.
struct Way {
    /// When west's source told of it.
    source_ns: u128,
    /// When the node's maps had it.
    written_ns: u128,
}

/// The ways of which all spans have arrived.
fn ways(spans: &[Span]) -> Vec<Way> {
    let by_id: BTreeMap<(&[u8], &[u8]), &Span> = spans
        .iter()
        .map(|span| ((span.trace_id.as_slice(), span.id.as_slice()), span))
        .collect();
    let parent = |span: &Span| {
        by_id
            .get(&(span.trace_id.as_slice(), span.parent_id.as_slice()))
            .copied()
    };
    let applied = spans
        .iter()
        .filter(|span| span.cluster == "east" && span.name == "apply change" && span.ops > Some(0));
    let ways = applied.filter_map(|applied| {
        let import = parent(applied).filter(|span| span.name == "gateway.import")?;
        let local = parent(import).filter(|span| span.name == "gateway.apply_local")?;
        let source = parent(local).filter(|span| span.cluster == "west")?;
        Some(Way {
            source_ns: source.started_at_unix_ns,
            written_ns: applied.ended_at_unix_ns,
        })
    });
    ways.collect()
}

fn since_1970() -> anyhow::Result<u128> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(now.context("the clock is before 1970")?.as_nanos())
}

fn service(cluster_ip: &str) -> String {
    format!(
        r#"apiVersion: v1
kind: Service
metadata:
  name: bench
  namespace: shop
  annotations:
    isthmus.io/global: "true"
spec:
  clusterIP: {cluster_ip}
  clusterIPs: [{cluster_ip}]
  ipFamilies: [IPv4]
  ports:
    - name: http
      protocol: TCP
      port: 80
"#
    )
}

fn slice(port: usize) -> String {
    format!(
        r#"---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: bench-1
  namespace: shop
  labels:
    kubernetes.io/service-name: bench
addressType: IPv4
ports:
  - name: http
    protocol: TCP
    port: {port}
endpoints:
  - addresses: [10.2.0.99]
    nodeName: n1
    conditions:
      ready: true
"#
    )
}
