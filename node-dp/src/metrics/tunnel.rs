//! What is told of the tunnels: each cluster's path, what it carries, and what was not carried.

use std::sync::atomic::{AtomicU64, Ordering};

use isthmus_daemon::status;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::Labels;
use crate::tunnel::TunnelDrops;

/// A number that the kernel or the tunnel counts, and that is only shown.
type Counted = Family<Labels<1>, Counter<u64, AtomicU64>>;

type Measured = Family<Labels<1>, Gauge<f64, AtomicU64>>;

/// The metrics; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct TunnelMetrics {
    rtt: Measured,
    loss: Measured,
    last_handshake: Measured,
    peers: Family<Labels<1>, Gauge>,
    received: Counted,
    sent: Counted,
    drops: Counted,
    unrouted: Counted,
}

impl TunnelMetrics {
    /// Registers them all.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "path_rtt",
            "The shortest of the latest round trips of probes, by cluster",
            Unit::Seconds,
            self.rtt.clone(),
        );
        registry.register_with_unit(
            "path_loss",
            "The share of lost probes, of the latest 64 to each probed node, by cluster",
            Unit::Ratios,
            self.loss.clone(),
        );
        registry.register_with_unit(
            "tunnel_last_handshake",
            "When keys were last agreed on with any node, in seconds since 1970, by cluster",
            Unit::Seconds,
            self.last_handshake.clone(),
        );
        registry.register(
            "tunnel_peers",
            "Nodes that there is a tunnel to, by cluster",
            self.peers.clone(),
        );
        registry.register_with_unit(
            "tunnel_received",
            "Bytes received through tunnels, by cluster",
            Unit::Bytes,
            self.received.clone(),
        );
        registry.register_with_unit(
            "tunnel_sent",
            "Bytes sent through tunnels, by cluster",
            Unit::Bytes,
            self.sent.clone(),
        );
        registry.register(
            "tunnel_drops",
            "Packets that the tunnel device did not carry, by reason",
            self.drops.clone(),
        );
        registry.register(
            "unrouted_packets",
            "Packets to be sent on that no route led to, those to pods whose tunnel is away among them; by family",
            self.unrouted.clone(),
        );
    }

    /// The tunnel says this of itself.
    pub(crate) fn note(&self, status: &status::Tunnel, drops: &TunnelDrops) {
        // Clusters that are gone are shown no more.
        for family in [&self.rtt, &self.loss, &self.last_handshake] {
            family.clear();
        }
        self.peers.clear();
        self.received.clear();
        self.sent.clear();
        for cluster in &status.clusters {
            let labels = [("cluster", cluster.cluster.clone())];
            let measured = [
                (&self.rtt, cluster.rtt_us.map(|us| us as f64 / 1e6)),
                (
                    &self.loss,
                    cluster.loss_per_mille.map(|lost| f64::from(lost) / 1e3),
                ),
                (
                    &self.last_handshake,
                    cluster.last_handshake_unix_s.map(|at| at as f64),
                ),
            ];
            for (family, value) in measured {
                if let Some(value) = value {
                    family.get_or_create_owned(&labels).set(value);
                }
            }
            let peers = i64::try_from(cluster.peers).unwrap_or(i64::MAX);
            self.peers.get_or_create_owned(&labels).set(peers);
            show(&self.received, &labels, cluster.rx_bytes);
            show(&self.sent, &labels, cluster.tx_bytes);
        }
        for (reason, count) in drops.by_reason() {
            show(&self.drops, &[("reason", reason.to_owned())], count);
        }
    }

    /// The kernel has counted so many packets of a family without a route.
    pub(crate) fn note_unrouted(&self, family: &'static str, count: u64) {
        show(&self.unrouted, &[("family", family.to_owned())], count);
    }
}

fn show(family: &Counted, labels: &Labels<1>, count: u64) {
    let counter = family.get_or_create_owned(labels);
    counter.inner().store(count, Ordering::Relaxed);
}
