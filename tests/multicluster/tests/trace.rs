//! One trace leads from a change in one cluster to the map writes of the nodes of another.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use multicluster::{
    BETWEEN_NODES, Client, Family, Lab, Options, Target, Topology,
    collector::{Collector, Span},
    wait_for,
};

/// Daemons send their spans every five seconds.
const SOON: Duration = Duration::from_secs(30);

/// OTLP's port for gRPC.
const OTLP_PORT: u16 = 4317;

#[test]
#[ignore = "needs root"]
fn the_end_of_a_pod_in_west_is_one_trace_up_to_the_maps_of_easts_nodes() {
    let endpoint = format!("http://{BETWEEN_NODES}:{OTLP_PORT}");
    let traced = || vec!["--otlp-endpoint".to_owned(), endpoint.clone()];
    let mut topology = Topology::demo().unwrap().named("trace");
    for cluster in &mut topology.clusters {
        cluster.gateway_args = traced();
        cluster.agent_args = traced();
    }
    let lab = Lab::up(&topology, &Options::default()).unwrap();
    let collector = Collector::start(lab.listen_between_nodes(OTLP_PORT).unwrap()).unwrap();
    let client = Client::new(&lab, "east/client");
    client
        .wait_for_clusters(&["east", "west"], SOON, |c| {
            c.http("10.101.0.10", 80, Family::V4)
        })
        .unwrap();

    let pod: Target = "west/web-2".parse().unwrap();
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    lab.kill(&pod).unwrap();

    let chain = wait_for(SOON, "a trace reaches the maps", || {
        let mut spans = collector.spans();
        spans.retain(|span| span.started_at_unix_ns >= before.as_nanos());
        chain_to_the_maps(&spans).map(Some)
    });
    let [source, local, import, first, second] = chain.unwrap();
    assert_eq!(source.cluster, "west");
    assert_eq!(local.cluster, "west");
    assert_eq!(import.cluster, "east");
    assert!(source.parent_id.is_empty(), "{source:?}");
    for applied in [&first, &second] {
        assert_eq!(applied.cluster, "east");
        assert!(applied.ops.is_some_and(|ops| ops > 0), "{applied:?}");
    }
}

/// The spans from the source to the maps of east's two nodes, each the parent of the next, or of both the last.
fn chain_to_the_maps(spans: &[Span]) -> anyhow::Result<[Span; 5]> {
    let imports = named(spans, "isthmus-gateway", "gateway.import");
    let mut broken = "no gateway has sent an import".to_owned();
    for import in imports {
        let applied: Vec<_> = named(spans, "isthmus-agent", "apply change")
            .filter(|span| span.is_child_of(import))
            .collect();
        let [first, second] = applied.as_slice() else {
            broken = format!("{import:?} has the applications {applied:?}");
            continue;
        };
        let local = parent_of(spans, import)?;
        let source = parent_of(spans, local)?;
        let is_in_order = local.name == "gateway.apply_local" && source.name == "source.change";
        anyhow::ensure!(is_in_order, "{local:?} comes from {source:?}");
        return Ok([source, local, import, first, second].map(Clone::clone));
    }
    anyhow::bail!("{broken}; all spans: {spans:#?}")
}

fn named<'a>(spans: &'a [Span], service: &str, name: &str) -> impl Iterator<Item = &'a Span> {
    let spans = spans.iter();
    spans.filter(move |span| span.service == service && span.name == name)
}

fn parent_of<'a>(spans: &'a [Span], child: &Span) -> anyhow::Result<&'a Span> {
    let parent = spans.iter().find(|span| child.is_child_of(span));
    parent.with_context(|| format!("the parent of {child:?} has not been sent"))
}
