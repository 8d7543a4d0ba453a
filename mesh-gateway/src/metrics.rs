//! What the gateway counts, as `/metrics` shows it.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// A linked cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PeerLabels {
    pub(crate) peer: String,
}

/// A linked cluster, and why something of its was refused or ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    pub(crate) peer: String,
    pub(crate) reason: &'static str,
}

/// A DNS answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DnsLabels {
    pub(crate) kind: &'static str,
    pub(crate) outcome: &'static str,
}

/// What the gateway counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    pub(crate) peer_connected: Family<PeerLabels, Gauge>,
    pub(crate) peer_rtt: Family<PeerLabels, Gauge<f64, AtomicU64>>,
    pub(crate) sessions: Family<PeerLabels, Counter>,
    pub(crate) sessions_ended: Family<ReasonLabels, Counter>,
    pub(crate) updates_accepted: Family<PeerLabels, Counter>,
    pub(crate) updates_refused: Family<ReasonLabels, Counter>,
    pub(crate) nodes_connected: Gauge,
    pub(crate) source_synced: Gauge,
    pub(crate) source_problems: Gauge,
    pub(crate) exports_revision: Gauge,
    pub(crate) feed_revision: Gauge,
    pub(crate) dns_answers: Family<DnsLabels, Counter>,
}

impl Metrics {
    /// Puts all of them into a registry, under the prefix `isthmus_gateway`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("isthmus_gateway");
        self.register_sessions(registry);
        self.register_state(registry);
    }

    fn register_sessions(&self, registry: &mut Registry) {
        registry.register(
            "peer_connected",
            "Whether a session with the linked cluster is up",
            self.peer_connected.clone(),
        );
        registry.register_with_unit(
            "peer_rtt",
            "The newest round trip to the linked cluster",
            Unit::Seconds,
            self.peer_rtt.clone(),
        );
        registry.register(
            "sessions",
            "Sessions that came up with the linked cluster",
            self.sessions.clone(),
        );
        registry.register(
            "sessions_ended",
            "Sessions that ended with the linked cluster, by reason",
            self.sessions_ended.clone(),
        );
        registry.register(
            "updates_accepted",
            "Updates taken from the linked cluster",
            self.updates_accepted.clone(),
        );
        registry.register(
            "updates_refused",
            "Updates refused from the linked cluster, by reason",
            self.updates_refused.clone(),
        );
        registry.register(
            "nodes_connected",
            "Nodes of this cluster whose agents are connected",
            self.nodes_connected.clone(),
        );
    }

    fn register_state(&self, registry: &mut Registry) {
        registry.register(
            "source_synced",
            "Whether the cluster's complete state was read once",
            self.source_synced.clone(),
        );
        registry.register(
            "source_problems",
            "Objects that do not count as they stand",
            self.source_problems.clone(),
        );
        registry.register(
            "exports_revision",
            "The newest change that peers may know",
            self.exports_revision.clone(),
        );
        registry.register(
            "feed_revision",
            "The newest change that nodes must know",
            self.feed_revision.clone(),
        );
        registry.register(
            "dns_answers",
            "DNS questions answered, by record type and outcome",
            self.dns_answers.clone(),
        );
    }
}

/// A revision as a gauge shows it.
pub(crate) fn gauge_value(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
