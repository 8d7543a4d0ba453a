//! The agent's metrics.

mod tunnel;

use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use cluster_registry::name::ClusterName;
use node_dp_common::DropReason;
use node_dp_core::{image::Image, verdict::Verdict};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

pub(crate) use tunnel::TunnelMetrics;

type Labels<const N: usize> = [(&'static str, String); N];

/// The metrics; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    /// Map writes that succeeded.
    pub(crate) ops: Family<Labels<1>, Counter>,
    /// Map writes that failed.
    pub(crate) failures: Family<Labels<1>, Counter>,
    /// Map entries that a full compare found other than planned.
    pub(crate) drift: Counter,
    /// Sockets that were destroyed because their backend was gone.
    pub(crate) sockets_destroyed: Counter,
    /// Flows that were forgotten because their backend was gone.
    pub(crate) flows_forgotten: Counter,
    /// Whether the session with the gateway is up.
    pub(crate) gateway_connected: Gauge,
    clusters_up: Family<Labels<1>, Gauge>,
    verdicts: Family<Labels<2>, Counter>,
    services: Gauge,
    backends: Gauge,
    drops: Family<Labels<1>, Counter<u64, AtomicU64>>,
    /// Of the tunnels.
    pub(crate) tunnel: TunnelMetrics,
    forwarded: Counter<u64, AtomicU64>,
}

impl Metrics {
    /// Registers them all.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let mut add = registry.sub_registry_with_prefix("isthmus_agent");
        let registry = &mut add;
        registry.register("map_ops", "Map writes, by operation", self.ops.clone());
        registry.register(
            "map_failures",
            "Map writes that failed, by reason",
            self.failures.clone(),
        );
        registry.register(
            "map_drift",
            "Map entries that a full compare found other than planned",
            self.drift.clone(),
        );
        registry.register(
            "sockets_destroyed",
            "Sockets that were destroyed because their backend was gone",
            self.sockets_destroyed.clone(),
        );
        registry.register(
            "flows_forgotten",
            "Flows of datagrams that were forgotten because their backend was gone",
            self.flows_forgotten.clone(),
        );
        registry.register(
            "gateway_connected",
            "Whether the session with the gateway is up",
            self.gateway_connected.clone(),
        );
        registry.register(
            "cluster_up",
            "Whether a cluster takes new connections",
            self.clusters_up.clone(),
        );
        registry.register(
            "cluster_verdicts",
            "Changes of the verdict on a cluster, by reason",
            self.verdicts.clone(),
        );
        registry.register(
            "map_services",
            "Frontends in the maps",
            self.services.clone(),
        );
        registry.register(
            "map_backends",
            "Backends in the maps",
            self.backends.clone(),
        );
        registry.register(
            "drops",
            "Connections and datagrams that were not served in full, by reason",
            self.drops.clone(),
        );
        self.tunnel.register(registry);
        registry.register(
            "fast_path_packets",
            "Packets that XDP has forwarded",
            self.forwarded.clone(),
        );
    }

    /// A new verdict was given.
    pub(crate) fn note_verdict(&self, cluster: &ClusterName, verdict: Verdict) {
        let name = cluster.to_string();
        let labels = [
            ("cluster", name.clone()),
            ("reason", verdict.reason.label().to_owned()),
        ];
        self.verdicts.get_or_create(&labels).inc();
        let is_up = verdict.ruling == node_dp_core::verdict::Ruling::Up;
        let gauge = self.clusters_up.get_or_create_owned(&[("cluster", name)]);
        gauge.set(i64::from(is_up));
    }

    /// A cluster is gone.
    pub(crate) fn forget_cluster(&self, cluster: &ClusterName) {
        let labels = [("cluster", cluster.to_string())];
        self.clusters_up.remove(&labels);
    }

    /// The maps hold this.
    pub(crate) fn note_image(&self, image: &Image) {
        let as_gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.services.set(as_gauge(image.services.len()));
        self.backends.set(as_gauge(image.backends.len()));
    }

    /// The fast path has forwarded so many packets.
    pub(crate) fn note_forwarded(&self, packets: u64) {
        let counter = self.forwarded.inner();
        counter.store(packets, std::sync::atomic::Ordering::Relaxed);
    }

    /// The kernel has counted this.
    pub(crate) fn note_drops(&self, drops: &BTreeMap<DropReason, u64>) {
        for (reason, count) in drops {
            let labels = [("reason", reason.label().to_owned())];
            let counter = self.drops.get_or_create_owned(&labels);
            counter
                .inner()
                .store(*count, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// One label.
pub(crate) fn label(name: &'static str, value: &str) -> Labels<1> {
    [(name, value.to_owned())]
}
